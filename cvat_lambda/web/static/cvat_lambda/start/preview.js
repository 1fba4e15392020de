// Draws what a detector finds on a few frames. Nothing is written.
import { call } from "../api.js";
import { applyThreshold, imageSize, picture } from "../drawing.js";
import { readRanges } from "./scope.js";

const MAX_FRAMES = 5;

const expand = (ranges) => ranges.flatMap((item) => (Array.isArray(item) ? Array.from({ length: Math.min(MAX_FRAMES, item[1] - item[0] + 1) }, (_, at) => item[0] + at) : [item])).slice(0, MAX_FRAMES);

export class Preview {
  constructor(form, data, where, region) {
    Object.assign(this, { form, where, region });
    this.labels = data.labels;
    this.place = document.getElementById("preview");
    this.state = document.getElementById("preview-state");
  }

  frames() {
    return expand(readRanges(this.form.elements.preview_frames.value));
  }

  // Shows the first frame without calling a function, so that a region can be drawn on it.
  async open() {
    const [frame] = this.frames();
    if (frame === undefined) throw new Error("Name at least one frame of the preview.");
    const url = this.where.image(frame);
    this.place.replaceChildren(this.figure(frame, url, await imageSize(url), { shapes: [] }));
    this.place.querySelector("figcaption").textContent = `Frame ${frame}`;
    this.place.classList.add("drawing");
    this.state.textContent = "Drag a region on the frame.";
    this.region.show();
    this.place.scrollIntoView({ block: "center" });
  }

  async run(functionId, { exemplars = [], ...body }) {
    // Without texts, a function looks only at the frames of the examples.
    const shown = exemplars.length && !body.text;
    const frames = shown ? [...new Set(exemplars.map(({ frame }) => frame))].slice(0, MAX_FRAMES) : this.frames();
    this.place.replaceChildren();
    for (const [at, frame] of frames.entries()) {
      this.state.textContent = `Frame ${frame} (${at + 1} of ${frames.length}) …`;
      const url = this.where.image(frame);
      const here = exemplars.filter((each) => each.frame === frame);
      const asked = { ...body, ...(here.length ? { exemplars: here } : {}), ...this.where.members(frame), frame, threshold: 0 };
      const [found, size] = await Promise.all([call("POST", `/api/lambda/functions/${functionId}`, asked), imageSize(url)]);
      this.place.append(this.figure(frame, url, size, found));
      this.applyThreshold();
      this.region.show();
    }
    if (!frames.length) this.state.textContent = "Name at least one frame.";
  }

  figure(frame, url, size, found) {
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    figure.dataset.frame = frame;
    figure.tags = (found.tags ?? []).map(({ label_id: id, score }) => ({ name: this.labels.find((label) => label.id === id)?.name ?? "?", score: score ?? 1 }));
    figure.append(picture(url, size.width, size.height, found.shapes, this.labels, { alt: `Frame ${frame} with what the function finds` }), caption);
    return figure;
  }

  applyThreshold() {
    const threshold = Number(this.form.elements.threshold.value);
    let total = 0;
    for (const figure of this.place.querySelectorAll("figure")) {
      const tags = figure.tags.filter(({ score }) => score >= threshold).map(({ name, score }) => `${name} ${score.toFixed(2)}`);
      const shown = applyThreshold(figure, threshold) + tags.length;
      total += shown;
      figure.querySelector("figcaption").textContent = `Frame ${figure.dataset.frame}: ${shown} found${tags.length ? `; tags: ${tags.join(", ")}` : ""}`;
    }
    const number = this.place.children.length;
    if (number) this.state.textContent = `${total} found on ${number} frame${number === 1 ? "" : "s"} at confidence ${threshold.toFixed(2)}. Nothing was written.`;
  }
}
