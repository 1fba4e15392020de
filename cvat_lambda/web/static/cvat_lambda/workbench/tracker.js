// Follows a drawn box or the selected shape from frame to frame, shows each step, and keeps it.
import { call } from "../api.js";
import { drawShape } from "../drawing.js";
import { bounds } from "../geometry.js";
import { BoxTool } from "./box.js";

const isLost = (shape) => !shape || (shape.type === "rectangle" && shape.points[0] === shape.points[2] && shape.points[1] === shape.points[3]);

// What the function gets of a shape: the shape itself, or the box around it.
const startOf = (item, types) => {
  if (types.includes(item.type) && !item.rotation && item.points?.length) return { type: item.type, points: item.points };
  return { type: "rectangle", points: bounds(item) };
};

export class Tracker extends BoxTool {
  constructor(view, store, options) {
    super(view, store, options);
    this.keys = [];
    this.isAway = false; // whether the canvas shows another frame than the one that is edited
  }

  reset() {
    super.reset();
    this.run = null; // the tracking that may go on; an earlier one ends with its next answer
    this.keys = [];
    this.origin = null;
    this.ready(false);
    if (this.isAway) {
      this.isAway = false;
      this.open(this.store.frame);
    }
  }

  // A track that is shown is kept or discarded before the next one begins.
  down(event) {
    if (this.isAway) this.say("Keep this track with Enter, or discard it with Esc, first.", false);
    else super.down(event);
  }

  // A drawn box.
  finish(points) {
    return this.follow({ type: "rectangle", points }, null);
  }

  // The selected shape, which the track replaces.
  async take() {
    const item = this.selected();
    if (this.isAway || !item || item.kind !== "shape") return;
    this.reset();
    await this.follow(startOf(item, this.types()), item);
  }

  async follow(start, origin) {
    const run = {};
    this.run = run;
    this.origin = origin;
    this.labelId = origin?.label_id ?? this.label().id;
    const first = this.store.frame;
    const last = Math.min(this.lastFrame(), first + this.length());
    this.keys = [{ ...start, frame: first, outside: false }];
    let state = null;
    this.ready(true);
    try {
      for (let frame = first; frame <= last && this.run === run; frame += 1) {
        const begins = frame === first;
        const answer = await call("POST", `/api/lambda/functions/${this.functionId()}`, {
          job: this.store.job, frame, shapes: [begins ? start : null], states: begins ? [] : [state],
        });
        if (this.run !== run) return;
        [state] = answer.states;
        const [shape] = answer.shapes;
        if (begins) continue;
        if (isLost(shape)) {
          this.keys.push({ ...this.keys.at(-1), frame, outside: true });
          this.say(`The object was lost on frame ${frame}. Enter keeps the track up to there.`, false);
          return;
        }
        this.keys.push({ type: shape.type, points: shape.points, frame, outside: false });
        await this.step(frame, shape, run);
      }
      if (this.run === run) this.say(`Tracked to frame ${this.keys.at(-1).frame}. Enter keeps the track, Esc discards it.`, false);
    } catch (error) {
      if (this.run === run) this.fail(error);
    }
  }

  async step(frame, { type, points }, run) {
    this.isAway = true;
    await this.showFrame(frame);
    if (this.run !== run) return;
    this.view.draft(drawShape({ type, points, rotation: 0 }, this.labels.get(this.labelId), this.view.size));
    this.say(`Frame ${frame} …`, true);
  }

  // Enter tracks the selection if nothing was tracked yet.
  async keep() {
    if (!this.keys.length) return this.take();
    if (this.keys.length < 2) return undefined;
    this.run = null;
    const { keys, origin } = this;
    try {
      if (keys.some(({ type }) => type === "mask")) for (const item of this.masks(keys)) await this.store.add(item);
      else {
        await this.store.add(this.track(keys));
        if (origin) await this.store.remove(origin);
      }
      this.isAway = false;
      this.reset();
      await this.open(keys[0].frame);
      return this.say(`Kept a track of ${keys.length} frames.`, false);
    } catch (error) {
      return this.fail(error);
    }
  }

  track(keys) {
    const shapes = keys.map((key) => ({ rotation: 0, occluded: false, z_order: 0, attributes: [], ...key }));
    const last = keys.at(-1);
    if (last.frame < this.lastFrame() && !last.outside) shapes.push({ ...shapes.at(-1), frame: last.frame + 1, outside: true });
    const [{ frame, type, points }] = keys;
    const track = { frame, label_id: this.labelId, group: 0, source: "semi-auto", shapes, attributes: [], elements: [] };
    return { kind: "track", type, track, points, rotation: 0, frame, label_id: track.label_id, source: track.source, occluded: false, z_order: 0, elements: [], made_by: null };
  }

  // A track has no masks: each frame gets one, and a group joins them.
  masks(keys) {
    const group = 1 + Math.floor(Math.random() * 0x7ffffffe);
    return keys.filter(({ outside, frame }) => !outside && !(this.origin && frame === keys[0].frame)).map(({ type, points, frame }) => ({
      kind: "shape", type, points, frame, group, label_id: this.labelId, source: "semi-auto", attributes: [], elements: [], occluded: false, outside: false, z_order: 0, rotation: 0, made_by: null,
    }));
  }
}
