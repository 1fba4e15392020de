// The annotations of one frame, their changes, and undo. A change is written at once.
import { call } from "../api.js";

const LISTS = { shape: "shapes", tag: "tags", track: "tracks" };
const OURS = ["kind", "made_by", "track"];

// What the API takes: without the members that only this page knows.
const bare = (item) => {
  if (item.kind === "track") return item.track;
  return Object.fromEntries(Object.entries(item).filter(([name]) => !OURS.includes(name)));
};

const withoutIds = (value) => {
  if (Array.isArray(value)) return value.map(withoutIds);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.entries(value).filter(([name]) => name !== "id").map(([name, inner]) => [name, withoutIds(inner)]));
};

const copy = (value) => JSON.parse(JSON.stringify(value));

export class Store {
  constructor(changed, trackUrl) {
    this.changed = changed;
    this.trackUrl = trackUrl;
    this.items = [];
    this.done = [];
    this.queue = Promise.resolve();
  }

  load(frame) {
    const known = new Map(this.items.filter(({ track }) => track).map(({ id, track }) => [id, track]));
    this.job = frame.job;
    this.frame = frame.number;
    this.items = frame.annotations;
    for (const item of this.items) if (item.kind === "track") item.track = known.get(item.id);
    this.done = [];
    this.changed();
  }

  // A frame has no whole tracks: one is loaded when it is selected or changed. What was loaded for an id stays true, since an update gives a track a new id.
  async complete(item) {
    if (item.kind !== "track" || item.track) return;
    const track = await call("GET", `${this.trackUrl}${item.id}`);
    item.track ??= track;
  }

  // Changes are sent one after the other, since an update gives an annotation a new id.
  enqueue(work) {
    const result = this.queue.then(work);
    this.queue = result.catch(() => undefined);
    return result;
  }

  async send(action, item, body) {
    const list = LISTS[item.kind];
    const answer = await call("PATCH", `/api/jobs/${this.job}/annotations?action=${action}`, { version: 0, shapes: [], tags: [], tracks: [], [list]: [body] });
    const [written] = answer[list];
    if (item.kind === "track") item.track = written;
    item.id = written.id;
  }

  async create(item) {
    await this.send("create", item, withoutIds(bare(item)));
    this.items.push(item);
    this.changed();
  }

  async erase(item) {
    await this.send("delete", item, bare(item));
    this.items = this.items.filter((other) => other !== item);
    this.changed();
  }

  async write(item, values) {
    const names = [...Object.keys(values), ...(item.kind === "track" ? ["track"] : [])];
    const before = copy(Object.fromEntries(names.map((name) => [name, item[name]])));
    Object.assign(item, copy(values));
    if (item.kind === "track" && !("track" in values)) this.setKeyframes(item, values);
    if (item.kind === "track" && "label_id" in values) item.track.label_id = item.label_id;
    try {
      await this.send("update", item, bare(item));
    } catch (error) {
      Object.assign(item, before);
      this.changed();
      throw error;
    }
    this.changed();
    return before;
  }

  // What is moved is moved on this frame. Of a skeleton, each point has keyframes of its own.
  setKeyframes(item, values) {
    if ("points" in values) this.setKeyframe(item.track, item);
    for (const element of values.elements ?? []) this.setKeyframe(item.track.elements.find((track) => track.label_id === element.label_id), element);
  }

  setKeyframe(track, { type, points, rotation, occluded, outside, z_order }) {
    const keys = track.shapes.filter(({ frame }) => frame !== this.frame);
    keys.push({ type, frame: this.frame, points, rotation, occluded, outside, z_order, attributes: [] });
    track.shapes = keys.sort((one, two) => one.frame - two.frame);
  }

  add(item) {
    return this.enqueue(async () => {
      await this.create(item);
      this.remember(() => this.erase(item));
    });
  }

  remove(item) {
    return this.enqueue(async () => {
      await this.complete(item);
      await this.erase(item);
      this.remember(() => this.create(item));
    });
  }

  change(item, values) {
    return this.enqueue(async () => {
      await this.complete(item);
      const before = await this.write(item, values);
      this.remember(() => this.write(item, item.kind === "track" ? { ...before, track: { ...before.track, id: item.track.id } } : before));
    });
  }

  remember(inverse) {
    this.done.push(inverse);
    this.changed();
  }

  undo() {
    return this.enqueue(async () => {
      const inverse = this.done.pop();
      if (inverse) await inverse();
      this.changed();
    });
  }
}
