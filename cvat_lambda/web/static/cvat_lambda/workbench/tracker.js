// Follows a drawn box from frame to frame, shows each step, and keeps it as a track.
import { call } from "../api.js";
import { drawShape } from "../drawing.js";
import { BoxTool } from "./box.js";

const isLost = (shape) => !shape || (shape.type === "rectangle" && shape.points[0] === shape.points[2] && shape.points[1] === shape.points[3]);

export class Tracker extends BoxTool {
  constructor(view, store, options) {
    super(view, store, options);
    this.keys = [];
  }

  reset() {
    super.reset();
    this.stopped = true;
    this.keys = [];
    this.ready(false);
  }

  async finish(points) {
    this.stopped = false;
    const first = this.store.frame;
    const last = Math.min(this.lastFrame(), first + this.length());
    this.keys = [{ frame: first, points, outside: false }];
    let state = null;
    this.ready(true);
    try {
      for (let frame = first; frame <= last && !this.stopped; frame += 1) {
        const begins = frame === first;
        const answer = await call("POST", `/api/lambda/functions/${this.functionId()}`, {
          job: this.store.job, frame, shapes: [begins ? { type: "rectangle", points } : null], states: begins ? [] : [state],
        });
        [state] = answer.states;
        const [shape] = answer.shapes;
        if (begins) continue;
        if (isLost(shape)) {
          this.keys.push({ ...this.keys.at(-1), frame, outside: true });
          this.say(`The object was lost on frame ${frame}. Enter keeps the track up to there.`, false);
          return;
        }
        this.keys.push({ frame, points: shape.points, outside: false });
        if (!this.stopped) await this.step(frame, shape.points);
      }
      if (!this.stopped) this.say(`Tracked to frame ${this.keys.at(-1).frame}. Enter keeps the track, Esc discards it.`, false);
    } catch (error) {
      this.fail(error);
    }
  }

  async step(frame, points) {
    await this.showFrame(frame);
    this.view.draft(drawShape({ type: "rectangle", points, rotation: 0 }, this.label(), this.view.size));
    this.say(`Frame ${frame} …`, true);
  }

  async keep() {
    if (this.keys.length < 2) return;
    this.stopped = true;
    const { keys } = this;
    const shapes = keys.map((key) => ({ type: "rectangle", rotation: 0, occluded: false, z_order: 0, attributes: [], ...key }));
    if (keys.at(-1).frame < this.lastFrame() && !keys.at(-1).outside) shapes.push({ ...shapes.at(-1), frame: keys.at(-1).frame + 1, outside: true });
    const track = { frame: keys[0].frame, label_id: this.label().id, group: 0, source: "semi-auto", shapes, attributes: [], elements: [] };
    const item = { kind: "track", type: "rectangle", track, points: keys[0].points, rotation: 0, frame: keys[0].frame, label_id: track.label_id, source: track.source, occluded: false, z_order: 0, elements: [], made_by: null };
    try {
      await this.store.add(item);
      const frame = keys[0].frame;
      this.reset();
      this.say(`Kept a track of ${keys.length} frames.`, false);
      await this.open(frame);
    } catch (error) {
      this.fail(error);
    }
  }
}
