// The mapping of a function's labels to those of the task: guessed, or of an earlier request.

const named = (items, name) => items.find((item) => item.name === name);
const common = (ours, theirs) => Object.fromEntries(ours.filter(({ name }) => named(theirs, name)).map(({ name }) => [name, name]));

// The API's entry for a pair of labels; attributes and points of the same name are joined.
const entry = (label, other) => {
  const made = { name: other.name, attributes: common(label.attributes, other.attributes) };
  if (label.type === "skeleton") {
    const points = label.sublabels.filter(({ name }) => named(other.sublabels, name));
    made.sublabels = Object.fromEntries(points.map((point) => [point.name, entry(point, named(other.sublabels, point.name))]));
  }
  return made;
};

export class Mapping {
  constructor(place, origin, data) {
    this.place = place;
    this.origin = origin;
    this.labels = data.labels;
    this.fits = data.fits;
    this.used = null;
  }

  show(used) {
    this.used = used;
    const saved = used.saved;
    this.origin.textContent = saved ? "These are the choices of the last request with this function." : "";
    this.place.replaceChildren(...used.labels.map((label) => this.row(label, saved ? saved[label.name]?.name : used.guess[label.name])));
  }

  row(label, chosen) {
    const select = document.createElement("select");
    select.dataset.label = label.name;
    select.setAttribute("aria-label", label.name);
    const fitting = this.labels.filter((other) => this.fits[label.type].includes(other.type));
    select.append(new Option("leave out", ""), ...fitting.map(({ name }) => new Option(name, name, false, name === chosen)));
    const row = document.createElement("label");
    row.append(`${label.name} `, select);
    row.classList.toggle("unused", !chosen);
    select.addEventListener("change", () => row.classList.toggle("unused", !select.value));
    return row;
  }

  value() {
    const made = {};
    for (const select of this.place.querySelectorAll("select")) {
      if (select.value) made[select.dataset.label] = entry(named(this.used.labels, select.dataset.label), named(this.labels, select.value));
    }
    return made;
  }
}
