// The region of the frames that is sent: drawn on a frame of the preview, or typed.
import { svg } from "../drawing.js";

export const readRegion = (text) => {
  if (!text.trim()) return undefined;
  const numbers = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (numbers.length !== 4 || numbers.some(Number.isNaN)) throw new Error("A region is four numbers: left, top, right, bottom.");
  return numbers;
};

const LEAST = 4; // pixels of the frame: what is smaller is a click

export class RegionTool {
  constructor(field, place) {
    Object.assign(this, { field, place, from: null });
    place.addEventListener("pointerdown", (event) => this.down(event));
    place.addEventListener("pointermove", (event) => this.move(event));
    place.addEventListener("pointerup", () => this.up());
    place.addEventListener("pointercancel", () => this.show());
    field.addEventListener("change", () => this.show());
  }

  down(event) {
    const picture = event.target.closest("svg.picture");
    if (!picture || event.button !== 0) return;
    if (event.pointerType === "touch" && !this.place.classList.contains("drawing")) return; // scrolls the page
    event.preventDefault();
    picture.setPointerCapture(event.pointerId);
    [this.picture, this.from, this.box] = [picture, this.at(picture, event), null];
  }

  // The position in whole pixels of the frame.
  at(picture, event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(picture.getScreenCTM().inverse());
    const { width, height } = picture.viewBox.baseVal;
    return [Math.round(Math.min(width, Math.max(0, x))), Math.round(Math.min(height, Math.max(0, y)))];
  }

  move(event) {
    if (!this.from) return;
    const [[x1, y1], [x2, y2]] = [this.from, this.at(this.picture, event)];
    this.box = [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)];
    this.draw(this.box);
  }

  up() {
    if (!this.from) return;
    this.from = null;
    const { box } = this;
    if (box && box[2] - box[0] >= LEAST && box[3] - box[1] >= LEAST) this.set(box.join(", "));
    else this.show();
  }

  set(text) {
    this.place.classList.remove("drawing");
    this.field.value = text;
    this.field.dispatchEvent(new Event("change", { bubbles: true }));
  }

  // Draws the region of the field on all frames of the preview.
  show() {
    this.from = null;
    let box;
    try {
      box = readRegion(this.field.value);
    } catch {
      box = undefined;
    }
    this.draw(box);
  }

  draw(box) {
    for (const picture of this.place.querySelectorAll("svg.picture")) {
      picture.querySelector(".region")?.remove();
      if (box) picture.append(svg("rect", { class: "region", x: box[0], y: box[1], width: Math.max(0, box[2] - box[0]), height: Math.max(0, box[3] - box[1]) }));
    }
  }
}
