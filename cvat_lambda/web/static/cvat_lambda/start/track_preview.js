// Draws what a tracker finds on the first ten frames. Nothing is written.
import { call, callLines } from "../api.js";
import { imageSize, picture } from "../drawing.js";

const FRAMES = 10;

export class TrackPreview {
  constructor(data, where) {
    this.where = where;
    this.labels = data.labels;
    this.place = document.getElementById("track-preview");
    this.state = document.getElementById("track-preview-state");
  }

  async run(functionId, first) {
    this.place.replaceChildren();
    const [annotations, described] = await Promise.all([
      call("GET", `${this.where.url(first)}/annotations`),
      call("GET", `/api/lambda/functions/${functionId}`),
    ]);
    const types = described.supported_shape_types ?? ["rectangle"];
    const starts = annotations.shapes.filter((shape) => shape.frame === first && types.includes(shape.type));
    if (!starts.length) throw new Error(`Frame ${first} has no ${types.join(" or ")} to track.`);
    const asked = { ...this.where.members(first), frame: first, frames: FRAMES, shapes: starts.map(({ type, points }) => ({ type, points })) };
    let drawn = 0;
    for await (const { frame, shapes, error } of callLines(`/api/lambda/functions/${functionId}`, asked)) {
      if (error) throw new Error(`Frame ${frame}: ${error.message}`);
      await this.draw(frame, shapes, starts);
      drawn += 1;
      this.state.textContent = `Frames ${first} to ${frame}. Nothing was written.`;
    }
    if (!drawn) this.state.textContent = "No frame was tracked.";
  }

  async draw(frame, shapes, starts) {
    const url = this.where.image(frame);
    const { width, height } = await imageSize(url);
    const shown = shapes.flatMap((shape, at) => (shape ? [{ ...shape, rotation: 0, label_id: starts[at].label_id, elements: [] }] : []));
    const figure = document.createElement("figure");
    const caption = document.createElement("figcaption");
    caption.textContent = `Frame ${frame}: ${shown.length} of ${starts.length} found`;
    figure.append(picture(url, width, height, shown, this.labels, { alt: `Frame ${frame} with the tracked objects` }), caption);
    this.place.append(figure);
  }
}
