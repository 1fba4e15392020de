// Which frames a request covers.

export const readRanges = (text) => text.split(/[\s,;]+/).filter(Boolean).map((part) => {
  const found = /^(\d+)(?:-(\d+))?$/.exec(part);
  if (!found) throw new Error(`“${part}” is neither a frame nor a range such as 0-99.`);
  return found[2] === undefined ? Number(found[1]) : [Number(found[1]), Number(found[2])];
});

const readRegion = (text) => {
  if (!text.trim()) return undefined;
  const numbers = text.split(/[\s,;]+/).filter(Boolean).map(Number);
  if (numbers.length !== 4 || numbers.some(Number.isNaN)) throw new Error("A region is four numbers: left, top, right, bottom.");
  return numbers;
};

export class Scope {
  constructor(form, data) {
    this.form = form;
    this.task = data.task.id;
    const boxes = data.jobs.map(({ id, type, frames }) => {
      const box = Object.assign(document.createElement("input"), { type: "checkbox", name: "job", value: id });
      const label = document.createElement("label");
      label.className = "check";
      label.append(box, ` job #${id}: frames ${frames.join(" to ")}${type === "annotation" ? "" : ` (${type.replaceAll("_", " ")})`}`);
      return label;
    });
    document.getElementById("jobs").replaceChildren(...boxes);
    form.elements.scope.addEventListener("change", () => this.toggle());
    this.toggle();
  }

  toggle() {
    const chosen = this.form.elements.scope.value;
    document.getElementById("jobs").hidden = chosen !== "jobs";
    document.getElementById("frames").hidden = chosen !== "frames";
  }

  value(kind) {
    const { scope, frames, roi, only_unannotated: unannotated } = this.form.elements;
    const body = { task: this.task };
    if (scope.value === "jobs") {
      body.jobs = [...this.form.querySelectorAll("[name=job]:checked")].map(({ value }) => Number(value));
      if (!body.jobs.length) throw new Error("Choose at least one job.");
    }
    if (scope.value === "frames") {
      body.frames = readRanges(frames.value);
      if (!body.frames.length) throw new Error("Name the frames, for example 0-99, 150.");
    }
    if (kind === "detector") {
      if (unannotated.checked) body.only_unannotated = true;
      const region = readRegion(roi.value);
      if (region) body.roi = region;
    }
    return body;
  }
}
