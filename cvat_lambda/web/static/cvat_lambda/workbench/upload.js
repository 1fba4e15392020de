// Uploads files to a task in requests of a limited size, and waits until the frames are ready.
import { ApiError, call } from "../api.js";

const BATCH_BYTES = 16 * 1024 * 1024; // a larger file is sent alone
const POLL_MS = 400;

const batches = (files) => {
  const found = [];
  let size = Infinity;
  for (const file of files) {
    if (size + file.size > BATCH_BYTES) {
      found.push([]);
      size = 0;
    }
    found.at(-1).push(file);
    size += file.size;
  }
  return found;
};

// XMLHttpRequest reports how much was sent; fetch does not.
const send = (url, files, progress) => new Promise((resolve, reject) => {
  const body = new FormData();
  files.forEach((file, at) => body.append(`client_files[${at}]`, file, file.name));
  const request = new XMLHttpRequest();
  request.open("POST", url);
  request.setRequestHeader("X-CSRFToken", document.body.dataset.csrf);
  request.setRequestHeader("Upload-Multiple", "true");
  request.upload.addEventListener("progress", ({ loaded }) => progress(loaded));
  request.addEventListener("load", () => {
    if (request.status < 300) return resolve();
    let body_ = null;
    try {
      body_ = JSON.parse(request.responseText);
    } catch {
      body_ = null;
    }
    return reject(new ApiError(body_?.message ?? `The upload was answered with status ${request.status}.`, request.status, body_));
  });
  request.addEventListener("error", () => reject(new ApiError("The upload was interrupted. Try again.", 0, null)));
  request.send(body);
});

const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

export const upload = async (taskId, files, say) => {
  const url = `/api/tasks/${taskId}/data`;
  const total = files.reduce((sum, { size }) => sum + size, 0) || 1;
  let before = 0;
  await call("POST", url, {}, { headers: { "Upload-Start": "true" } });
  for (const some of batches(files)) {
    await send(url, some, (sent) => say(Math.min(1, (before + sent) / total), `${Math.round((100 * Math.min(total, before + sent)) / total)} % sent`));
    before += some.reduce((sum, { size }) => sum + size, 0);
  }
  const { rq_id: id } = await call("POST", url, { image_quality: 95 }, { headers: { "Upload-Finish": "true" } });
  for (;;) {
    const state = await call("GET", `/api/requests/${encodeURIComponent(id)}`);
    if (state.status === "finished") return;
    if (state.status === "failed") throw new ApiError(state.message || "The files could not be used.", 400, state);
    say(1, state.message || "The server reads the files …");
    await pause(POLL_MS);
  }
};
