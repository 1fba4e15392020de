// Draws what a detector finds on a few frames. Nothing is written.
import { call } from "../api.js";
import { applyThreshold, imageSize, picture } from "../drawing.js";
import { readRanges } from "./scope.js";

const MAX_FRAMES = 5;

const expand = (ranges) => ranges.flatMap((item) => (Array.isArray(item) ? Array.from({ length: Math.min(MAX_FRAMES, item[1] - item[0] + 1) }, (_, at) => item[0] + at) : [item])).slice(0, MAX_FRAMES);

// Up to three frames, spread over the task.
export const suggestion = (size) => [...new Set([0, Math.floor(size / 2), size - 1])].filter((frame) => frame >= 0).join(", ");

export class Preview {
  constructor(form, data) {
    this.form = form;
    this.task = data.task.id;
    this.labels = data.labels;
    this.place = document.getElementById("preview");
    this.state = document.getElementById("preview-state");
  }

  async run(functionId, body) {
    const frames = expand(readRanges(this.form.elements.preview_frames.value));
    this.place.replaceChildren();
    for (const [at, frame] of frames.entries()) {
      this.state.textContent = `Frame ${frame} (${at + 1} of ${frames.length}) …`;
      const url = `/api/tasks/${this.task}/data?type=frame&number=${frame}&quality=compressed`;
      const asked = { ...body, task: this.task, frame, threshold: 0 };
      const [found, size] = await Promise.all([call("POST", `/api/lambda/functions/${functionId}`, asked), imageSize(url)]);
      this.place.append(this.figure(frame, url, size, found));
      this.applyThreshold();
    }
    if (!frames.length) this.state.textContent = "Name at least one frame.";
  }

  figure(frame, url, size, found) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    figure.dataset.frame = frame;
    figure.append(picture(url, size.width, size.height, found.shapes, this.labels, { alt: `Frame ${frame} with what the function finds` }), caption);
    return figure;
  }

  applyThreshold() {
    const threshold = Number(this.form.elements.threshold.value);
    let total = 0;
    for (const figure of this.place.querySelectorAll("figure")) {
      const shown = applyThreshold(figure, threshold);
      total += shown;
      figure.querySelector("figcaption").textContent = `Frame ${figure.dataset.frame}: ${shown} found`;
    }
    const number = this.place.children.length;
    if (number) this.state.textContent = `${total} found on ${number} frame${number === 1 ? "" : "s"} at confidence ${threshold.toFixed(2)}. Nothing was written.`;
  }
}
