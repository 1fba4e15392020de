// Shapes of the API as corners and pixels.

export const pairs = (points) => {
  const found = [];
  for (let i = 0; i + 1 < points.length; i += 2) found.push([points[i], points[i + 1]]);
  return found;
};

export const turned = (points, [cx, cy], degrees) => {
  if (!degrees) return points;
  const [cos, sin] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
  return points.map(([x, y]) => [cx + (x - cx) * cos - (y - cy) * sin, cy + (x - cx) * sin + (y - cy) * cos]);
};

export const rectangle = ([left, top, right, bottom], rotation) =>
  turned([[left, top], [right, top], [right, bottom], [left, bottom]], [(left + right) / 2, (top + bottom) / 2], rotation);

export const ellipse = ([cx, cy, right, top], rotation) => {
  const rim = [];
  for (let step = 0; step < 48; step += 1) {
    const angle = (2 * Math.PI * step) / 48;
    rim.push([cx + (right - cx) * Math.cos(angle), cy + (cy - top) * Math.sin(angle)]);
  }
  return turned(rim, [cx, cy], rotation);
};

export const CUBOID_EDGES = [[0, 1], [2, 3], [4, 5], [6, 7], [0, 2], [2, 4], [4, 6], [6, 0], [1, 3], [3, 5], [5, 7], [7, 1]];

// A mask of the API: run lengths that begin with zeros, then left, top, right, bottom (inclusive).
export const maskBox = (points) => {
  const [left, top, right, bottom] = points.slice(-4);
  return { left, top, width: right - left + 1, height: bottom - top + 1 };
};

export const maskPixels = (points) => {
  const { width, height } = maskBox(points);
  const pixels = new Uint8Array(Math.max(0, width * height));
  let at = 0;
  for (let i = 0; i < points.length - 4; i += 1) {
    if (i % 2) pixels.fill(1, at, at + points[i]);
    at += points[i];
  }
  return pixels;
};

// The inverse: a mask of the whole frame (rows of 0 and 1) as points of the API; null if it is empty.
export const maskPoints = (rows) => {
  let [left, top, right, bottom] = [Infinity, Infinity, -1, -1];
  rows.forEach((row, y) => row.forEach((value, x) => {
    if (!value) return;
    left = Math.min(left, x);
    right = Math.max(right, x);
    top = Math.min(top, y);
    bottom = Math.max(bottom, y);
  }));
  if (right < 0) return null;
  const runs = [];
  let [value, length] = [0, 0];
  for (let y = top; y <= bottom; y += 1) {
    for (let x = left; x <= right; x += 1) {
      const pixel = rows[y][x] ? 1 : 0;
      if (pixel !== value) {
        runs.push(length);
        [value, length] = [pixel, 0];
      }
      length += 1;
    }
  }
  runs.push(length);
  return [...runs, left, top, right, bottom];
};

export const bounds = (shape) => {
  if (shape.type === "mask") {
    const { left, top, width, height } = maskBox(shape.points);
    return [left, top, left + width, top + height];
  }
  let found;
  if (shape.type === "skeleton") found = shape.elements.filter((e) => !e.outside).flatMap((e) => pairs(e.points));
  else if (shape.type === "rectangle") found = rectangle(shape.points, shape.rotation);
  else if (shape.type === "ellipse") found = ellipse(shape.points, shape.rotation);
  else found = pairs(shape.points);
  const [xs, ys] = [found.map(([x]) => x), found.map(([, y]) => y)];
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
};
