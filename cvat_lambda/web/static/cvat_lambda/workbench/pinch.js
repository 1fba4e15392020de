// Two fingers zoom and pan the canvas, where there is neither a wheel nor a middle button.
export class Pinch {
  constructor(view, began) {
    Object.assign(this, { view, began, fingers: new Map(), active: false });
  }

  // Each method returns whether the event belongs to a gesture of two fingers.
  down(event) {
    if (event.pointerType !== "touch") return false;
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (this.fingers.size === 2) {
      this.active = true;
      this.began();
    }
    return this.active;
  }

  move(event) {
    if (!this.active || !this.fingers.has(event.pointerId)) return this.active;
    const before = this.measure();
    this.fingers.set(event.pointerId, [event.clientX, event.clientY]);
    const after = this.measure();
    if (before && after) {
      this.view.pan(after.x - before.x, after.y - before.y);
      this.view.zoom({ clientX: after.x, clientY: after.y }, before.distance / after.distance);
    }
    return true;
  }

  // The gesture lasts until the last finger is lifted, so that the other one draws nothing.
  up(event) {
    const { active } = this;
    this.fingers.delete(event.pointerId);
    if (!this.fingers.size) this.active = false;
    return active;
  }

  measure() {
    if (this.fingers.size !== 2) return null;
    const [[x1, y1], [x2, y2]] = this.fingers.values();
    return { x: (x1 + x2) / 2, y: (y1 + y2) / 2, distance: Math.max(1, Math.hypot(x2 - x1, y2 - y1)) };
  }
}
