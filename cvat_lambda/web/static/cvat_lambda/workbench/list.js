// The list of annotations beside the canvas, and its filters.
import { captionOf } from "../drawing.js";
import { isKeyframe } from "./timeline.js";

const fill = (select, values) => {
  const { value } = select;
  select.replaceChildren(new Option("all", ""), ...[...values].map(([key, text]) => new Option(text, key)));
  select.value = [...values.keys()].includes(value) ? value : "";
};

export class List {
  constructor(labels, { select, remove, relabel, changed }) {
    Object.assign(this, { labels, select, remove, relabel });
    this.place = document.getElementById("list");
    this.filters = Object.fromEntries(["label", "source", "request", "score"].map((name) => [name, document.getElementById(`filter-${name}`)]));
    for (const filter of Object.values(this.filters)) filter.addEventListener("input", changed);
  }

  update(items) {
    const named = (name, key, text) => fill(this.filters[name], new Map(items.filter(key).map((item) => [String(key(item)), text(item)])));
    named("label", (item) => item.label_id, (item) => this.labels.get(item.label_id)?.name ?? "?");
    named("source", (item) => item.source, (item) => item.source);
    named("request", (item) => item.made_by?.request, (item) => `${item.made_by.version}, ${item.made_by.request.slice(0, 8)}…`);
  }

  visible(items) {
    const { label, source, request, score } = this.filters;
    return items.filter((item) => (!label.value || String(item.label_id) === label.value) && (!source.value || item.source === source.value)
      && (!request.value || item.made_by?.request === request.value) && (item.score ?? 1) >= Number(score.value));
  }

  draw(items, selected, frame) {
    this.frame = frame;
    this.place.replaceChildren(...items.map((item) => this.row(item, item === selected)));
    if (!items.length) {
      const empty = Object.assign(document.createElement("li"), { textContent: "Nothing is annotated on this frame.", className: "hint" });
      this.place.append(empty);
    }
  }

  row(item, isSelected) {
    const row = document.createElement("li");
    const label = this.labels.get(item.label_id);
    const name = Object.assign(document.createElement("button"), { type: "button", className: "name" });
    const more = document.createElement("small");
    more.append(`${item.kind === "tag" ? "tag" : item.type}${item.kind === "track" ? ", track" : ""}${isKeyframe(item, this.frame) ? ", keyframe" : ""} · ${item.source}`);
    if (item.made_by) {
      const link = Object.assign(document.createElement("a"), { href: item.made_by.url, textContent: item.made_by.version });
      more.append(" · ", link);
    }
    name.append(captionOf(item, label));
    name.setAttribute("aria-pressed", isSelected);
    name.addEventListener("click", () => this.select(item));
    row.classList.toggle("selected", isSelected);
    const words = document.createElement("div");
    words.append(name, more);
    words.className = "spring";
    row.append(words);
    if (isSelected) {
      const labels = document.createElement("select");
      labels.setAttribute("aria-label", "Label of the selection");
      labels.append(...[...this.labels.values()].map(({ id, name: text }) => new Option(text, id, false, id === item.label_id)));
      labels.addEventListener("change", () => this.relabel(item, Number(labels.value)));
      row.append(labels);
    }
    const remove = Object.assign(document.createElement("button"), { type: "button", className: "quiet remove", textContent: "✕" });
    remove.setAttribute("aria-label", `Remove ${captionOf(item, label)}`);
    remove.addEventListener("click", () => this.remove(item));
    row.append(remove);
    return row;
  }
}
