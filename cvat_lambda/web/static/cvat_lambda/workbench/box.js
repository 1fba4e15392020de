// Draws a box. As a tool of its own it keeps the box as a rectangle.
import { drawShape } from "../drawing.js";

export class BoxTool {
  constructor(view, store, options) {
    Object.assign(this, { view, store, ...options });
  }

  reset() {
    [this.from, this.points] = [null, null];
    this.view.draft();
  }

  down(event) {
    if (event.button !== 0) return;
    this.reset();
    this.from = this.view.inside(this.view.at(event));
  }

  move(event) {
    if (!this.from) return;
    const [x, y] = this.view.inside(this.view.at(event));
    this.points = [Math.min(this.from[0], x), Math.min(this.from[1], y), Math.max(this.from[0], x), Math.max(this.from[1], y)];
    const outline = drawShape({ type: "rectangle", points: this.points, rotation: 0 }, this.label(), this.view.size);
    outline.classList.replace("shape", "draft");
    this.view.draft(outline);
  }

  // Ends a drag without a result.
  cancel() {
    if (this.from) BoxTool.prototype.reset.call(this);
  }

  async up() {
    const { points } = this;
    this.from = null;
    if (points && points[2] - points[0] > 2 && points[3] - points[1] > 2) await this.finish(points);
  }

  async finish(points) {
    const item = { kind: "shape", type: "rectangle", points, frame: this.store.frame, label_id: this.label().id, group: 0, source: "manual", attributes: [], elements: [], occluded: false, outside: false, z_order: 0, rotation: 0, made_by: null };
    try {
      await this.store.add(item);
      this.reset();
      this.select(item);
    } catch (error) {
      this.fail(error);
    }
  }

  async keep() {}
}
