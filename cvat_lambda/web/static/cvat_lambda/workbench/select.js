// Selects, moves and resizes shapes. Rectangles have handles at two corners; all others move.
import { svg } from "../drawing.js";

const shift = (item, dx, dy) => {
  if (item.type === "mask") {
    const box = item.points.slice(-4);
    return { points: [...item.points.slice(0, -4), box[0] + Math.round(dx), box[1] + Math.round(dy), box[2] + Math.round(dx), box[3] + Math.round(dy)] };
  }
  const moved = (points) => points.map((value, at) => value + (at % 2 ? dy : dx));
  if (item.type === "skeleton") return { elements: item.elements.map((element) => ({ ...element, points: moved(element.points) })) };
  return { points: moved(item.points) };
};

export class Select {
  constructor(view, store, { selected, select, fail }) {
    Object.assign(this, { view, store, selected, select, fail });
  }

  down(event) {
    const handle = event.target.closest(".handle");
    const item = handle ? this.selected() : event.target.closest(".shape")?.item;
    this.select(item ?? null);
    if (item) this.drag = { item, from: this.view.at(event), corner: handle ? Number(handle.dataset.corner) : null, original: JSON.parse(JSON.stringify({ points: item.points, elements: item.elements })) };
  }

  move(event) {
    if (!this.drag) return;
    const { item, from, corner, original } = this.drag;
    const to = this.view.at(event);
    const [dx, dy] = [to[0] - from[0], to[1] - from[1]];
    this.drag.moved = this.drag.moved || Math.hypot(dx, dy) > this.view.size / 400;
    if (!this.drag.moved) return;
    if (corner === null) Object.assign(item, shift({ ...item, ...original }, dx, dy));
    else {
      const points = [...original.points];
      [points[2 * corner], points[2 * corner + 1]] = this.view.inside([points[2 * corner] + dx, points[2 * corner + 1] + dy]);
      item.points = points;
    }
    this.store.changed();
  }

  // Ends a drag without a result.
  cancel() {
    if (this.drag) Object.assign(this.drag.item, this.drag.original);
    this.drag = null;
    this.store.changed();
  }

  async up() {
    const { drag } = this;
    this.drag = null;
    if (!drag?.moved) return;
    const { item, original } = drag;
    let values = item.type === "skeleton" ? { elements: item.elements } : { points: item.points };
    if (item.type === "rectangle") {
      const [x1, y1, x2, y2] = item.points;
      values = { points: [Math.min(x1, x2), Math.min(y1, y2), Math.max(x1, x2), Math.max(y1, y2)] };
    }
    Object.assign(item, original);
    await this.save(item, values);
  }

  // Moves the selection by keys.
  async nudge(dx, dy) {
    const item = this.selected();
    if (item && item.kind !== "tag") await this.save(item, shift(item, dx, dy));
  }

  async save(item, values) {
    try {
      await this.store.change(item, values);
    } catch (error) {
      this.fail(error);
    }
  }

  handles() {
    const item = this.selected();
    if (!item || item.type !== "rectangle" || item.kind === "tag" || item.rotation) return [];
    const radius = this.view.box[2] / 110;
    return [0, 1].map((corner) => svg("circle", { class: "handle", "data-corner": corner, cx: item.points[2 * corner], cy: item.points[2 * corner + 1], r: radius }));
  }
}
