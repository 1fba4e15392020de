// Tries a detector on a picture of one's own or on a frame of a task, and draws the result.
import { call, json } from "./api.js";
import { applyThreshold, picture } from "./drawing.js";

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

  const draw = (url, found) => {
    result.replaceChildren(picture(url, found.width, found.height, found.shapes, labels, { alt: "The picture with what the function found" }));
    showThreshold();
    const tags = found.tags.map((tag) => labels.find((label) => label.id === tag.label_id)?.name);
    if (tags.length) state.textContent += ` Tags: ${tags.join(", ")}.`;
  };

  const tryPicture = async (file) => {
    const body = new FormData();
    body.append("picture", file);
    const found = await call("POST", form.dataset.url, body);
    draw(URL.createObjectURL(file), found);
  };

  // The picture goes to the function as it is, so that labels need not be those of the task.
  const tryFrame = async (task, frame) => {
    const answer = await fetch(`/api/tasks/${task}/data?type=frame&number=${frame}&quality=original`);
    if (!answer.ok) throw new Error(`Frame ${frame} of task ${task} was not found.`);
    await tryPicture(await answer.blob());
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
