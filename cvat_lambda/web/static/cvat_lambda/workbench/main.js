// The workbench: joins canvas, list, tools and navigation.
import { call, json } from "../api.js";
import { labelsById } from "../drawing.js";
import { BoxTool } from "./box.js";
import { Interactor } from "./interactor.js";
import { List } from "./list.js";
import { Navigation } from "./navigation.js";
import { Pinch } from "./pinch.js";
import { Select } from "./select.js";
import { Store } from "./store.js";
import { Keyframes, Playback } from "./timeline.js";
import { Tracker } from "./tracker.js";
import { View } from "./view.js";

const data = json("frame-data");
const workbench = document.querySelector(".workbench");
const canvas = document.getElementById("canvas");
const element = (id) => document.getElementById(id);
const labels = labelsById(data.labels);
let selected = null;
let tool = "select";

const say = (text, busy = false) => {
  element("state").textContent = text;
  element("state").classList.remove("problem");
  canvas.classList.toggle("busy", busy);
};
const fail = (error) => {
  say(error.message);
  element("state").classList.add("problem");
};
const attempt = async (work) => {
  try {
    await work();
  } catch (error) {
    fail(error);
  }
};

const view = new View(canvas, labels);
const store = new Store(() => render(), workbench.dataset.tracks);
const select = (item) => {
  selected = item;
  render();
  if (item?.kind !== "track" || item.track) return;
  attempt(async () => {
    await store.complete(item);
    if (selected === item) render();
  });
};
const remove = (item) => attempt(async () => {
  await store.remove(item);
  if (selected === item) select(null);
});
const relabel = (item, labelId) => attempt(() => store.change(item, { label_id: labelId, ...(item.kind === "track" ? {} : { attributes: [] }) }));
const list = new List(labels, { select, remove, relabel, changed: () => render() });
const label = () => labels.get(Number(element("label").value));
const ready = (possible) => {
  element("keep").disabled = !possible;
  element("drop").disabled = !possible;
};
const frameUrl = (frame) => `/api/tasks/${data.task.id}/data?type=frame&number=${frame}&quality=compressed`;

const show = (frame) => {
  element("frame-number").textContent = frame.number;
  element("frame-name").textContent = `· ${frame.name}`;
  document.title = `Frame ${frame.number} of task #${data.task.id} · cvat_lambda`;
  const track = selected?.kind === "track" ? selected.id : null; // stays selected while frames pass
  selected = null;
  view.setFrame(frameUrl(frame.number), frame.width || 640, frame.height || 480);
  store.load(frame);
  if (track !== null) select(store.items.find((item) => item.kind === "track" && item.id === track) ?? null);
  if (frame.problem) fail({ message: frame.problem });
  else if (tool === "click") tools.click.prepare();
};

let opening = 0;
const open = (number) => attempt(async () => {
  tools[tool].reset?.(); // what is not kept belongs to the frame that is left
  opening += 1;
  const mine = opening;
  navigation.at(number);
  const frame = await call("GET", `${workbench.dataset.frames}${number}/data`);
  if (mine !== opening) return;
  history.replaceState(null, "", `${workbench.dataset.frames}${number}`);
  say("");
  show(frame);
});
// Shows the picture of a frame without its annotations, unless another frame is opened meanwhile.
const showFrame = async (number) => {
  const mine = opening;
  navigation.at(number);
  element("frame-number").textContent = number;
  view.shapes.replaceChildren();
  const image = new Image();
  image.src = frameUrl(number);
  await image.decode();
  if (mine === opening) view.setPicture(image.src);
};
const navigation = new Navigation(data.task.size, {
  open,
  // Shows a small image, unless a frame was opened while it was loaded.
  glance: async (number, isWanted) => {
    const image = new Image();
    image.src = `${workbench.dataset.thumbnails}${number}`;
    await image.decode().catch(() => undefined);
    if (isWanted()) view.setPicture(image.src);
  },
});

const playback = new Playback(element("play"), async () => {
  if (navigation.number >= data.task.size - 1) return false;
  await open(navigation.number + 1);
  return true;
});
const keyframes = new Keyframes(element("keyframes"), element("previous-keyframe"), element("next-keyframe"), (number) => open(number));

const shared = { label, say, fail, ready, select };
const tools = {
  select: new Select(view, store, { selected: () => selected, select, fail }),
  box: new BoxTool(view, store, shared),
  click: new Interactor(view, store, { ...shared, functionId: () => element("interactor").value, keepsEmbedding: () => data.tools.find(({ id }) => id === element("interactor").value)?.embedding, keepAs: () => element("keep-as").value, takesAway: () => element("take-away").checked }),
  track: new Tracker(view, store, { ...shared, labels, selected: () => selected, functionId: () => element("tracker").value, types: () => data.tools.find(({ id }) => id === element("tracker").value)?.shape_types ?? [], length: () => Number(element("track-length").value) || Infinity, lastFrame: () => data.task.size - 1, showFrame, open }),
};

const choose = (name) => {
  tools[tool].reset?.();
  tool = name;
  canvas.dataset.tool = name;
  for (const button of document.querySelectorAll("[data-tool]")) if (button !== canvas) button.setAttribute("aria-pressed", button.dataset.tool === name);
  for (const part of document.querySelectorAll("[data-for]")) part.hidden = !part.dataset.for.split(" ").includes(name);
  if (name !== "select" && name !== "track") selected = null;
  const hints = { select: "", box: "Drag a box.", click: "Click the object, or drag a box around it.", track: "Drag a box around the object, or press Enter to track the selected shape." };
  say(hints[name]);
  if (name === "click") tools.click.prepare();
  render();
};

function render() {
  list.update(store.items);
  const visible = list.visible(store.items);
  view.draw(visible, selected);
  list.draw(visible, selected, store.frame);
  keyframes.show(selected, store.frame);
  element("undo").disabled = !store.done.length;
  element("track-selected").disabled = selected?.kind !== "shape";
  if (tool === "select") view.draft(...tools.select.handles());
}

let panning = false;
let space = false;
const pinch = new Pinch(view, () => tools[tool].cancel());
canvas.addEventListener("pointerdown", (event) => {
  canvas.setPointerCapture(event.pointerId);
  if (pinch.down(event)) return;
  panning = event.button === 1 || space;
  if (panning) event.preventDefault();
  else tools[tool].down(event);
});
canvas.addEventListener("pointermove", (event) => {
  if (pinch.move(event)) return;
  if (panning) view.pan(event.movementX, event.movementY);
  else tools[tool].move(event);
});
canvas.addEventListener("pointerup", (event) => {
  if (pinch.up(event)) return;
  if (!panning) tools[tool].up(event);
  panning = false;
});
canvas.addEventListener("pointercancel", (event) => {
  if (!pinch.up(event)) tools[tool].cancel();
  panning = false;
});
canvas.addEventListener("contextmenu", (event) => event.preventDefault());

const KEYS = { v: "select", b: "box", c: "click", t: "track" };
const MOVES = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
const press = (event) => {
  if (event.key === "z" && (event.ctrlKey || event.metaKey)) return attempt(() => store.undo());
  if (event.ctrlKey || event.metaKey || event.altKey) return null;
  if (event.shiftKey && selected && MOVES[event.key]) return tools.select.nudge(...MOVES[event.key]);
  if (event.key.toLowerCase() === "p") return playback.toggle();
  if (event.key === "ArrowLeft") return navigation.step(-1);
  if (event.key === "ArrowRight") return navigation.step(1);
  if (event.key === "Enter") return tools[tool].keep?.();
  if (event.key === "Escape") return tool === "select" ? select(null) : tools[tool].reset();
  if ((event.key === "Delete" || event.key === "Backspace") && selected) return remove(selected);
  if (event.key === "0") return view.fit();
  if (/^[1-9]$/.test(event.key) && data.labels[event.key - 1]) {
    element("label").value = data.labels[event.key - 1].id;
    return selected ? relabel(selected, data.labels[event.key - 1].id) : true;
  }
  const wanted = KEYS[event.key.toLowerCase()];
  if (wanted && !document.querySelector(`[data-tool=${wanted}]`).disabled) return choose(wanted) ?? true;
  return null;
};
document.addEventListener("keydown", (event) => {
  if (event.target.matches("input, select, textarea") || (event.key === "Enter" && event.target.matches("button, a, summary"))) return;
  if (event.key === " " && event.target === canvas) {
    space = true;
    event.preventDefault();
  } else if (press(event) !== null) event.preventDefault();
});
document.addEventListener("keyup", (event) => {
  if (event.key === " ") space = false;
});

for (const { id, name } of data.labels) element("label").append(new Option(name, id));
for (const { id, name, kind } of data.tools) element(kind).append(new Option(name, id));
for (const [name, kind] of [["click", "interactor"], ["track", "tracker"]]) {
  const button = document.querySelector(`[data-tool=${name}]`);
  button.disabled = !element(kind).options.length;
  if (button.disabled) button.title = `No ${kind} is ready. See the page “Functions”.`;
}
for (const button of document.querySelectorAll("button[data-tool]")) button.addEventListener("click", () => choose(button.dataset.tool));
element("interactor").addEventListener("change", () => choose("click"));
element("keep").addEventListener("click", () => tools[tool].keep());
element("track-selected").addEventListener("click", () => {
  canvas.focus({ preventScroll: true }); // so that Enter keeps the track instead of pressing the button again
  tools.track.take();
});
element("drop").addEventListener("click", () => tools[tool].reset());
element("undo").addEventListener("click", () => attempt(() => store.undo()));
element("fit").addEventListener("click", () => view.fit());
choose("select");
show(data.frame);
