// Labels of a new task: name, type and colour. Attributes and skeletons come from a function.
const TYPES = ["any", "rectangle", "polygon", "polyline", "points", "ellipse", "cuboid", "mask", "tag", "skeleton"];
const COLORS = ["#ffb000", "#fe6100", "#dc267f", "#785ef0", "#648fff", "#00c2a8", "#7fd13b", "#e6e600", "#ff7f9f", "#9fd3ff"];

// The API wants members that functions need not give.
const complete = (label) => ({
  ...label,
  attributes: label.attributes.map((attribute) => ({ mutable: false, default_value: "", ...attribute })),
  ...(label.sublabels?.length ? { sublabels: label.sublabels.map(complete) } : {}),
});

export class LabelRows {
  constructor(place) {
    this.place = place;
  }

  show(labels) {
    this.place.replaceChildren();
    labels.forEach((label) => this.add(label));
  }

  add(label) {
    const row = document.createElement("div");
    row.className = "label-row";
    const name = Object.assign(document.createElement("input"), { type: "text", value: label.name, placeholder: "name", maxLength: 64 });
    name.setAttribute("aria-label", "Label name");
    const type = document.createElement("select");
    type.setAttribute("aria-label", "Label type");
    // A skeleton needs points, which a function gives.
    type.append(...TYPES.filter((word) => word !== "skeleton" || label.type === "skeleton").map((word) => new Option(word, word, false, word === label.type)));
    const color = Object.assign(document.createElement("input"), { type: "color", value: label.color || COLORS[this.place.children.length % COLORS.length] });
    color.setAttribute("aria-label", "Label colour");
    const remove = Object.assign(document.createElement("button"), { type: "button", className: "quiet small", textContent: "Remove" });
    remove.addEventListener("click", () => row.remove());
    row.append(name, type, color, remove);
    const extra = [...(label.attributes ?? []).map((attribute) => attribute.name), ...(label.sublabels ?? []).map((point) => point.name)];
    if (extra.length) row.append(Object.assign(document.createElement("small"), { textContent: extra.slice(0, 6).join(", ") + (extra.length > 6 ? ", …" : "") }));
    row.value = () => complete({ ...label, name: name.value.trim(), type: type.value, color: color.value });
    this.place.append(row);
    return name;
  }

  value() {
    return [...this.place.children].map((row) => row.value()).filter(({ name }) => name);
  }
}
