// Tries a detector on a picture of one's own or on a frame of a task, and draws the result.
import { call, json } from "./api.js";
import { applyThreshold, imageSize, picture } from "./drawing.js";

const form = document.getElementById("trial");

if (form) {
  const { labels } = json("trial-data");
  const state = document.getElementById("trial-state");
  const result = document.getElementById("trial-result");
  const threshold = form.elements.threshold;

  const showThreshold = () => {
    form.elements.threshold_text.value = Number(threshold.value).toFixed(2);
    if (!result.firstChild) return;
    const shown = applyThreshold(result, Number(threshold.value));
    state.textContent = `${shown} found at this confidence.`;
  };

  const draw = (url, size, found, known) => {
    result.replaceChildren(picture(url, size.width, size.height, found.shapes, known, { alt: "The picture with what the function found" }));
    showThreshold();
    const tags = found.tags.map((tag) => known.find((label) => label.id === tag.label_id)?.name);
    if (tags.length) state.textContent += ` Tags: ${tags.join(", ")}.`;
  };

  const tryPicture = async (file) => {
    const body = new FormData();
    body.append("picture", file);
    const found = await call("POST", form.dataset.url, body);
    draw(URL.createObjectURL(file), found, found, labels);
  };

  const tryFrame = async (task, frame) => {
    const url = `/api/tasks/${task}/data?type=frame&number=${frame}&quality=compressed`;
    const found = await call("POST", `/api/lambda/functions/${form.dataset.function}`, { task, frame, threshold: 0 });
    const known = (await call("GET", `/api/labels?task_id=${task}&page_size=500`)).results;
    draw(url, await imageSize(url), found, known);
  };

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    state.textContent = "The function works …";
    result.replaceChildren();
    try {
      const [file] = form.elements.picture.files;
      if (file) await tryPicture(file);
      else if (form.elements.task.value) await tryFrame(Number(form.elements.task.value), Number(form.elements.frame.value));
      else state.textContent = "Choose a picture, or name a task and a frame.";
    } catch (error) {
      state.textContent = error.message;
    }
  });
  threshold.addEventListener("input", showThreshold);
}
