// Which frames a request covers.
import { readRegion } from "./region.js";

export const readRanges = (text) => text.split(/[\s,;]+/).filter(Boolean).map((part) => {
  const found = /^(\d+)(?:-(\d+))?$/.exec(part);
  if (!found) throw new Error(`“${part}” is neither a frame nor a range such as 0-99.`);
  return found[2] === undefined ? Number(found[1]) : [Number(found[1]), Number(found[2])];
});

export class Scope {
  constructor(form, data) {
    this.form = form;
    Object.assign(this, { data, task: data.task.id });
    const boxes = data.jobs.map(({ id, type, frames }) => {
      const box = Object.assign(document.createElement("input"), { type: "checkbox", name: "job", value: id, checked: id === data.job || (data.jobs_only && data.job === null) });
      const label = document.createElement("label");
      label.className = "check";
      label.append(box, ` job #${id}: frames ${frames.join(" to ")}${type === "annotation" ? "" : ` (${type.replaceAll("_", " ")})`}`);
      return label;
    });
    document.getElementById("jobs").replaceChildren(...boxes);
    if (data.job !== null) form.elements.scope.value = "jobs";
    form.elements.scope.addEventListener("change", () => this.toggle());
    this.toggle();
  }

  toggle() {
    const chosen = this.form.elements.scope.value;
    document.getElementById("jobs").hidden = chosen !== "jobs";
    document.getElementById("frames").hidden = chosen !== "frames";
  }

  // The members of a request that name its tasks or jobs.
  target(scope) {
    if (scope === "tasks") return { tasks: this.data.tasks };
    if (scope === "project") return { project: this.data.project };
    if (scope === "frames") return this.data.jobs_only ? { jobs: this.data.jobs.map(({ id }) => id) } : { task: this.task };
    if (scope === "task") return { task: this.task };
    const jobs = [...this.form.querySelectorAll("[name=job]:checked")].map(({ value }) => Number(value));
    if (!jobs.length) throw new Error("Choose at least one job.");
    return { jobs };
  }

  value(kind) {
    const { scope, frames, roi, only_unannotated: unannotated } = this.form.elements;
    const body = this.target(scope.value);
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
