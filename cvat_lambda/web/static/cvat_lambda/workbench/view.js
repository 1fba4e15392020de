// The canvas: a frame with its shapes, zoom and pan.
import { captionOf, drawShape, svg } from "../drawing.js";

export class View {
  constructor(place, labels) {
    this.place = place;
    this.labels = labels;
    this.picture = svg("image", { x: 0, y: 0 });
    this.shapes = svg("g");
    this.overlay = svg("g");
    this.root = svg("svg", { preserveAspectRatio: "xMidYMid meet" }, this.picture, this.shapes, this.overlay);
    place.replaceChildren(this.root);
    place.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
  }

  setFrame(url, width, height) {
    if (width !== this.width || height !== this.height) {
      [this.width, this.height] = [width, height];
      this.picture.setAttribute("width", width);
      this.picture.setAttribute("height", height);
      this.fit();
    }
    this.setPicture(url);
  }

  setPicture(url) {
    this.picture.setAttribute("href", url);
  }

  get size() {
    return Math.max(this.width, this.height);
  }

  fit() {
    this.box = [0, 0, this.width, this.height];
    this.apply();
  }

  apply() {
    this.root.setAttribute("viewBox", this.box.join(" "));
  }

  // The position of a mouse event in pixels of the frame.
  at(event) {
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(this.root.getScreenCTM().inverse());
    return [x, y];
  }

  inside([x, y]) {
    return [Math.min(this.width, Math.max(0, x)), Math.min(this.height, Math.max(0, y))];
  }

  wheel(event) {
    event.preventDefault();
    this.zoom(event, event.deltaY > 0 ? 1.2 : 1 / 1.2);
  }

  // Shows `factor` times as much of the frame; the position of the event stays where it is.
  zoom(event, factor) {
    const [x, y] = this.at(event);
    const [left, top, width, height] = this.box;
    const scale = Math.min(this.width * 2, Math.max(16, width * factor)) / width;
    this.box = [x - (x - left) * scale, y - (y - top) * scale, width * scale, height * scale];
    this.apply();
  }

  pan(dx, dy) {
    const scale = 1 / this.root.getScreenCTM().a;
    this.box[0] -= dx * scale;
    this.box[1] -= dy * scale;
    this.apply();
  }

  draw(items, selected) {
    const ordered = [...items].filter(({ kind }) => kind !== "tag").sort((one, two) => (one.type === "mask" ? 0 : 1) - (two.type === "mask" ? 0 : 1));
    this.shapes.replaceChildren(...ordered.map((item) => {
      const label = this.labels.get(item.label_id);
      const group = drawShape(item, label, this.size, { caption: captionOf(item, label) });
      group.classList.toggle("selected", item === selected);
      group.item = item;
      return group;
    }));
  }

  draft(...elements) {
    this.overlay.replaceChildren(...elements);
  }
}
