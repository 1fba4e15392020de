// The select of functions. The page has a bounded list; a search on the server finds the others.
import { call } from "./api.js";

const WAIT_MS = 250; // after the last key

export class FunctionChoice {
  // `data` has `functions`, `more` (the list is not complete) and perhaps `chosen`, with its labels.
  constructor(select, search, data, url) {
    Object.assign(this, { select, search, url, number: 0 });
    this.first = [...select.options]; // such as "choose a function"
    this.loaded = new Map(data.chosen ? [[data.chosen.id, data.chosen]] : []);
    this.show(data.functions);
    this.select.value = data.chosen?.id ?? "";
    search.closest("label").hidden = !data.more;
    search.addEventListener("input", () => {
      clearTimeout(this.timer);
      this.timer = setTimeout(() => this.find(), WAIT_MS);
    });
    search.addEventListener("keydown", (event) => {
      if (event.key === "Enter") event.preventDefault(); // it does not send the form
    });
    search.addEventListener("change", (event) => event.stopPropagation()); // it changes no member of the request
  }

  show(functions) {
    const options = functions.map(({ id, name, kind, reason }) => {
      const option = new Option(`${name} (${kind}${reason ? `, ${reason}` : ""})`, id);
      option.disabled = Boolean(reason);
      return option;
    });
    this.select.replaceChildren(...this.first, ...options);
  }

  // The functions that are found replace the list. The chosen one stays chosen if it is among them.
  async find() {
    this.number += 1;
    const mine = this.number;
    let found;
    try {
      found = await call("GET", this.address("", { search: this.search.value }));
    } catch (error) {
      this.search.setCustomValidity(error.message);
      this.search.reportValidity();
      return;
    }
    if (mine !== this.number) return;
    this.search.setCustomValidity("");
    const before = this.select.value;
    this.show(found.functions);
    const options = [...this.select.options].filter(({ disabled }) => !disabled);
    this.select.value = (options.find(({ value }) => value === before) ?? options[0])?.value ?? "";
    if (this.select.value !== before) this.select.dispatchEvent(new Event("change", { bubbles: true }));
  }

  // The chosen function with its labels; undefined without one, and until they are loaded.
  get chosen() {
    return this.loaded.get(this.select.value);
  }

  // Return the chosen function, or undefined if another one was chosen meanwhile.
  async load() {
    const id = this.select.value;
    if (id && !this.loaded.has(id)) this.loaded.set(id, await call("GET", this.address(`/${encodeURIComponent(id)}`)));
    return id === this.select.value ? this.chosen : undefined;
  }

  // With the target of the page, if it has one.
  address(path, members = {}) {
    const query = new URLSearchParams(location.search);
    query.delete("function");
    for (const [name, value] of Object.entries(members)) query.set(name, value);
    return `${this.url}${path}?${query}`;
  }
}
