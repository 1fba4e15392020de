// Draws shapes of the API as SVG.
import { CUBOID_EDGES, bounds, ellipse, maskBox, maskPixels, pairs, rectangle } from "./geometry.js";

const NAMESPACE = "http://www.w3.org/2000/svg";

export const svg = (name, attributes = {}, ...children) => {
  const element = document.createElementNS(NAMESPACE, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
};

const text = (points) => points.map(([x, y]) => `${x},${y}`).join(" ");
const line = (points, closed) => svg(closed ? "polygon" : "polyline", { points: text(points), class: "line" });
const dot = ([x, y], radius) => svg("circle", { cx: x, cy: y, r: radius, class: "dot" });

const rgb = (color) => [1, 3, 5].map((at) => parseInt(color.slice(at, at + 2), 16));

const mask = (shape, color) => {
  const box = maskBox(shape.points);
  const canvas = document.createElement("canvas");
  canvas.width = Math.max(1, box.width);
  canvas.height = Math.max(1, box.height);
  const context = canvas.getContext("2d");
  const image = context.createImageData(canvas.width, canvas.height);
  const values = rgb(color);
  maskPixels(shape.points).forEach((pixel, at) => {
    if (pixel) image.data.set([...values, 130], 4 * at);
  });
  context.putImageData(image, 0, 0);
  return svg("image", { href: canvas.toDataURL(), x: box.left, y: box.top, width: canvas.width, height: canvas.height, class: "mask" });
};

// The edges of a skeleton are in the SVG of its label, between numbered points.
const edges = (label) => {
  const found = [];
  for (const [tag] of (label?.svg ?? "").matchAll(/<line\b[^>]*>/g)) {
    const ends = Object.fromEntries([...tag.matchAll(/data-node-(from|to)="(\d+)"/g)].map(([, name, number]) => [name, Number(number)]));
    found.push([ends.from, ends.to]);
  }
  return found;
};

const skeleton = (shape, label, radius) => {
  const order = new Map((label?.sublabels ?? []).map((sublabel, place) => [sublabel.id, place + 1]));
  const points = new Map();
  for (const element of shape.elements) {
    if (!element.outside && element.points.length) points.set(order.get(element.label_id), element.points);
  }
  const lines = edges(label).filter(([from, to]) => points.has(from) && points.has(to)).map(([from, to]) => line([points.get(from), points.get(to)], false));
  return [...lines, ...[...points.values()].map((point) => dot(point, radius))];
};

const parts = (shape, label, color, radius) => {
  switch (shape.type) {
    case "mask":
      return [mask(shape, color)];
    case "rectangle":
      return [line(rectangle(shape.points, shape.rotation), true)];
    case "ellipse":
      return [line(ellipse(shape.points, shape.rotation), true)];
    case "polygon":
      return [line(pairs(shape.points), true)];
    case "polyline":
      return [line(pairs(shape.points), false)];
    case "cuboid": {
      const corners = pairs(shape.points);
      return CUBOID_EDGES.map(([one, two]) => line([corners[one], corners[two]], false));
    }
    case "skeleton":
      return skeleton(shape, label, radius);
    default:
      return pairs(shape.points).map((point) => dot(point, radius));
  }
};

// One shape as a group. `size` is the longer side of the frame, for dots and captions.
export const drawShape = (shape, label, size, { caption = "" } = {}) => {
  const color = label?.color || "#ffb000";
  const group = svg("g", { class: "shape", stroke: color, fill: color, color });
  group.append(...parts(shape, label, color, Math.max(2, size / 180)));
  if (caption) {
    const [left, top] = bounds(shape);
    if (Number.isFinite(left)) group.append(Object.assign(svg("text", { x: left, y: Math.max(size / 50, top - size / 150), "font-size": Math.max(10, size / 50), class: "caption" }), { textContent: caption }));
  }
  return group;
};

export const labelsById = (labels) => new Map(labels.map((label) => [label.id, label]));

export const captionOf = (shape, label) => `${label?.name ?? "?"}${shape.score === undefined || shape.score === 1 ? "" : ` ${shape.score.toFixed(2)}`}`;

// A picture with shapes on it, masks below lines.
export const picture = (url, width, height, shapes, labels, { alt = "" } = {}) => {
  const size = Math.max(width, height);
  const byId = labelsById(labels);
  const ordered = [...shapes].sort((one, two) => (one.type === "mask" ? 0 : 1) - (two.type === "mask" ? 0 : 1));
  const root = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": alt, class: "picture" });
  root.append(svg("image", { href: url, width, height }));
  for (const shape of ordered) {
    const label = byId.get(shape.label_id);
    const group = drawShape(shape, label, size, { caption: captionOf(shape, label) });
    group.dataset.score = shape.score ?? 1;
    root.append(group);
  }
  return root;
};

// Hides the shapes below a threshold, and returns how many are shown.
export const applyThreshold = (root, threshold) => {
  let shown = 0;
  for (const group of root.querySelectorAll("g.shape")) {
    const visible = Number(group.dataset.score) >= threshold;
    group.classList.toggle("hidden", !visible);
    shown += visible ? 1 : 0;
  }
  return shown;
};

export const imageSize = (url) => new Promise((resolve, reject) => {
  const image = new Image();
  image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
  image.onerror = () => reject(new Error("The picture cannot be shown."));
  image.src = url;
});
