// Exports the annotations of a task or a job to a file, and imports them, with progress.
import { ApiError, call } from "../api.js";

const state = document.getElementById("exchange-state");
const bar = document.getElementById("exchange-progress");
const pause = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// Waits for the end of a background request of the engine.
const follow = async (id) => {
  for (;;) {
    const found = await call("GET", `/api/requests/${encodeURIComponent(id)}`);
    if (found.status === "failed") throw new ApiError(found.message, 400, found);
    bar.value = found.status === "finished" ? 1 : found.progress ?? 0;
    if (found.status === "finished") return found;
    await pause(400);
  }
};

const handle = (id, work) => document.getElementById(id)?.addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target;
  const target = form.elements.target.selectedOptions[0].text;
  if (form.dataset.confirm && !window.confirm(form.dataset.confirm.replace("NAME", target))) return;
  const button = form.querySelector("button");
  button.disabled = true;
  bar.hidden = false;
  state.classList.remove("problem");
  state.textContent = "The server works …";
  try {
    await work(form.elements);
  } catch (error) {
    state.textContent = error.message;
    state.classList.add("problem");
  } finally {
    button.disabled = false;
    bar.hidden = true;
  }
});

handle("export", async ({ target, format, images }) => {
  const query = new URLSearchParams({ format: format.value, save_images: images.checked });
  const { rq_id: id } = await call("POST", `/api/${target.value}/dataset/export?${query}`);
  const done = await follow(id);
  const link = Object.assign(document.createElement("a"), { href: done.result_url, textContent: "Download the file", download: "" });
  state.replaceChildren(link, ` ${done.message}`);
  link.click();
});

handle("import", async ({ target, file }) => {
  const [chosen] = file.files;
  if (!chosen) throw new Error("Choose a file first.");
  const body = new FormData();
  body.append("annotation_file", chosen, chosen.name);
  const { rq_id: id } = await call("POST", `/api/${target.value}/annotations?format=COCO%201.0`, body);
  const done = await follow(id);
  state.textContent = `${done.message} `;
  location.reload();
});
