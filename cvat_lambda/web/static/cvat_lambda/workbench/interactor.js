// Clicks and a box become a mask. Further clicks refine it; Enter keeps it.
import { call } from "../api.js";
import { drawShape, svg } from "../drawing.js";
import { maskPoints } from "../geometry.js";

const SETTLED_MS = 200; // a frame that is shown for less is not prepared

export class Interactor {
  constructor(view, store, { functionId, keepsEmbedding, label, keepAs, takesAway, say, fail, ready }) {
    Object.assign(this, { view, store, functionId, keepsEmbedding, label, keepAs, takesAway, say, fail, ready });
    this.reset();
  }

  // Lets the server compute the embedding of the frame while the person aims: the first click then
  // takes as long as the others. A failure is shown by the click, which computes it again.
  prepare() {
    clearTimeout(this.settling);
    if (!this.keepsEmbedding()) return;
    this.settling = setTimeout(() => {
      call("POST", this.url(), { job: this.store.job, frame: this.store.frame, want: "embedding" }).catch(() => undefined);
    }, SETTLED_MS);
  }

  url() {
    return `/api/lambda/functions/${this.functionId()}`;
  }

  reset() {
    this.controller?.abort();
    clearTimeout(this.settling);
    [this.positive, this.negative, this.box, this.answer, this.from] = [[], [], null, null, null];
    this.view.draft();
    this.ready(false);
  }

  down(event) {
    if (event.button === 0) this.from = this.view.at(event);
    else if (event.button === 2) this.point(this.negative, event);
  }

  move(event) {
    if (!this.from) return;
    const to = this.view.at(event);
    if (Math.hypot(to[0] - this.from[0], to[1] - this.from[1]) > this.view.size / 100) this.dragged = this.view.inside(to);
    if (this.dragged) this.show(this.corners(this.from, this.dragged));
  }

  up(event) {
    if (!this.from || event.button !== 0) return;
    if (this.dragged) this.box = this.corners(this.from, this.dragged);
    const { dragged } = this;
    [this.from, this.dragged] = [null, null];
    if (dragged) this.ask();
    else this.point(this.takesAway() ? this.negative : this.positive, event);
  }

  // Ends a click or a drag without a result; earlier clicks stay.
  cancel() {
    [this.from, this.dragged] = [null, null];
    this.show(this.box);
  }

  corners([x1, y1], [x2, y2]) {
    return [[Math.min(x1, x2), Math.min(y1, y2)], [Math.max(x1, x2), Math.max(y1, y2)]];
  }

  point(list, event) {
    list.push(this.view.inside(this.view.at(event)).map(Math.round));
    this.show(this.box);
    if (this.positive.length || this.box) this.ask();
  }

  ask() {
    this.pending = this.request();
    return this.pending;
  }

  async request() {
    clearTimeout(this.settling); // the click computes the embedding
    this.controller?.abort();
    this.controller = new AbortController();
    const { signal } = this.controller;
    this.say("The function works …", true);
    const started = performance.now();
    try {
      const answer = await call("POST", this.url(), {
        job: this.store.job, frame: this.store.frame, pos_points: this.positive, neg_points: this.negative, want: "mask",
        ...(this.box ? { obj_bbox: this.box.map((corner) => corner.map(Math.round)) } : {}),
      }, { signal });
      this.answer = this.read(answer);
      this.say(this.answer ? `Mask in ${((performance.now() - started) / 1000).toFixed(2)} s. Click to add, right click to take away, Enter to keep.` : "The function found nothing there. Click somewhere else.", false);
    } catch (error) {
      if (error.name === "AbortError") return;
      this.fail(error);
    }
    this.ready(Boolean(this.answer));
    this.show(this.box);
  }

  // The mask has the pixels of its bounds, or of the whole frame.
  read({ mask, bounds, points }) {
    const found = maskPoints(mask);
    if (!found) return null;
    const [left, top] = bounds ?? [0, 0];
    const at = found.length - 4;
    const placed = found.map((value, place) => (place < at ? value : value + ((place - at) % 2 ? top : left)));
    return { mask: placed, polygon: (points ?? []).flat() };
  }

  show(box) {
    const radius = this.view.box[2] / 130;
    const dots = (points, name) => points.map(([x, y]) => svg("circle", { class: name, cx: x, cy: y, r: radius }));
    const elements = [];
    if (this.answer) elements.push(drawShape({ type: "mask", points: this.answer.mask }, this.label(), this.view.size));
    if (box) {
      const outline = drawShape({ type: "rectangle", points: box.flat(), rotation: 0 }, null, this.view.size);
      outline.classList.replace("shape", "draft");
      elements.push(outline);
    }
    this.view.draft(...elements, ...dots(this.positive, "positive"), ...dots(this.negative, "negative"));
  }

  // Waits for an answer that is on its way: Enter after a click means the refined mask.
  async keep() {
    await this.pending;
    if (!this.answer) return;
    const asPolygon = this.keepAs() === "polygon" && this.answer.polygon.length >= 6;
    const item = {
      kind: "shape", type: asPolygon ? "polygon" : "mask", points: asPolygon ? this.answer.polygon : this.answer.mask,
      frame: this.store.frame, label_id: this.label().id, group: 0, source: "semi-auto", attributes: [], elements: [], occluded: false, outside: false, z_order: 0, rotation: 0, made_by: null,
    };
    try {
      await this.store.add(item);
      this.reset();
      this.say("Kept.", false);
    } catch (error) {
      this.fail(error);
    }
  }
}
