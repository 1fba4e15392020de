// What a detector is asked to find: texts, and boxes around examples. Each name is mapped like a label.

const MEMBERS = "frame, left, top, right, bottom, label";

const example = (line) => {
  const [frame, ...rest] = line.split(",").map((part) => part.trim());
  const box = rest.slice(0, 4).map(Number);
  const words = rest.slice(4).join(", ");
  const negative = words.startsWith("not ");
  const label = negative ? words.slice(4).trim() : words;
  if (!/^\d+$/.test(frame) || box.length !== 4 || box.some(Number.isNaN) || rest.slice(0, 4).includes("") || !label) throw new Error(`An example is ${MEMBERS}. “${line}” is not.`);
  return { frame: Number(frame), box, label, ...(negative ? { negative } : {}) };
};

export class Prompts {
  constructor(form) {
    this.fields = form.elements;
    this.taken = [];
  }

  // Show the fields of the prompts that a function takes.
  show(taken) {
    this.taken = taken;
    document.getElementById("texts").hidden = !taken.includes("text");
    document.getElementById("exemplars").hidden = !taken.includes("exemplar");
  }

  texts() {
    if (!this.taken.includes("text")) return [];
    return [...new Set(this.fields.text.value.split(",").map((text) => text.trim()).filter(Boolean))];
  }

  exemplars() {
    if (!this.taken.includes("exemplar")) return [];
    return this.fields.exemplars.value.split("\n").map((line) => line.trim()).filter(Boolean).map(example);
  }

  // The function with the names of the prompts in place of its labels, if there are prompts.
  names(used) {
    let examples = [];
    try {
      examples = this.exemplars().map(({ label }) => label);
    } catch { /* the estimate says which line cannot be read */ }
    const names = [...new Set([...this.texts(), ...examples])];
    if (!names.length) return used;
    const labels = names.map((name) => ({ name, type: "any", attributes: [], sublabels: [] }));
    return { ...used, labels, guess: Object.fromEntries(names.map((name) => [name, name])) };
  }

  // The prompts whose names are mapped, as members of a request.
  value(mapping) {
    const text = this.texts().filter((name) => name in mapping);
    const exemplars = this.exemplars().filter(({ label }) => label in mapping);
    return { ...(text.length ? { text } : {}), ...(exemplars.length ? { exemplars } : {}) };
  }
}
