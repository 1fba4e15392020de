// What happens to annotations that are there already, in words with the consequence.

const POLICIES = [
  ["function", "Replace what this function made before", "Its earlier results on these frames are deleted. Everything else stays, also results that people edited."],
  ["none", "Replace nothing", "The new results are added. If the function ran here before, objects may be there twice."],
  ["automatic", "Replace all automatic annotations", "Results of every function on these frames are deleted. What people drew or edited stays."],
  ["all", "Replace everything", "All shapes and tags on these frames are deleted, also what people drew."],
];

export class Replace {
  constructor(place, only, labels) {
    this.place = place;
    this.only = only;
    only.querySelector(".checks").replaceChildren(...labels.map(({ name }) => {
      const label = Object.assign(document.createElement("label"), { className: "check" });
      const box = Object.assign(document.createElement("input"), { type: "checkbox", value: name });
      box.setAttribute("aria-label", `replace ${name}`);
      label.append(box, ` ${name}`);
      return label;
    }));
    place.addEventListener("change", () => { only.hidden = this.policy() === "none"; });
    place.replaceChildren(...POLICIES.map(([value, title, consequence], at) => {
      const box = Object.assign(document.createElement("input"), { type: "radio", name: "replace", value, checked: at === 0 });
      const label = document.createElement("label");
      label.className = "choice";
      const words = document.createElement("span");
      const strong = Object.assign(document.createElement("b"), { textContent: title });
      words.append(strong, document.createElement("br"), consequence);
      label.append(box, words);
      return label;
    }));
  }

  policy() {
    return this.place.querySelector("input:checked").value;
  }

  value() {
    const replace = this.policy();
    const names = [...this.only.querySelectorAll("input:checked")].map(({ value }) => value);
    return { replace, ...(replace !== "none" && names.length ? { replace_labels: names } : {}) };
  }
}
