// What a request would run and replace, in a sentence.
import { call } from "../api.js";

const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

const words = (counts) => {
  const skipped = Object.values(counts.skipped).reduce((sum, value) => sum + value, 0);
  const reasons = Object.entries(counts.skipped).map(([reason, count]) => `${count} ${reason.replaceAll("_", " ")}`);
  const parts = [`${plural(counts.total - skipped, "frame")} will run.`];
  if (skipped) parts.push(`${plural(skipped, "frame")} will be skipped (${reasons.join(", ")}).`);
  if (counts.tracked) parts.push(`${plural(counts.tracked, "object")} will be tracked.`);
  const replaced = [["replaced_shapes", "shape"], ["replaced_tags", "tag"], ["replaced_tracks", "track"]]
    .filter(([name]) => counts[name])
    .map(([name, noun]) => plural(counts[name], noun));
  parts.push(replaced.length ? `${replaced.join(", ")} will be replaced.` : "Nothing will be replaced.");
  return parts.join(" ");
};

export class Estimate {
  constructor(place, button) {
    this.place = place;
    this.button = button;
    this.number = 0;
  }

  // Asks a moment after the last change, and ignores answers that are out of date.
  ask(makeBody) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.run(makeBody), 250);
  }

  async run(makeBody) {
    this.number += 1;
    const mine = this.number;
    let text;
    let possible = true;
    try {
      text = words(await call("POST", "/api/lambda/requests", { ...makeBody(), dry_run: true }));
    } catch (error) {
      text = error.message;
      possible = false;
    }
    if (mine !== this.number) return;
    this.place.textContent = text;
    this.place.classList.toggle("problem", !possible);
    this.button.disabled = !possible;
  }
}
