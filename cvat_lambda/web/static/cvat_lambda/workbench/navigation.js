// Other frames: buttons, keys, a number, and a slider that shows small images while it moves.
const element = (id) => document.getElementById(id);

export class Navigation {
  constructor(size, { open, glance }) {
    Object.assign(this, { size, open, glance });
    this.number = Number(element("slider").value);
    element("previous").addEventListener("click", () => this.step(-1));
    element("next").addEventListener("click", () => this.step(1));
    element("slider").addEventListener("input", (event) => this.slide(Number(event.target.value)));
    element("slider").addEventListener("change", (event) => this.open(Number(event.target.value)));
    element("go").addEventListener("change", (event) => this.go(Number(event.target.value)));
  }

  at(number) {
    this.number = number;
    this.wanted = null;
    element("slider").value = number;
    element("go").value = number;
    element("previous").disabled = number <= 0;
    element("next").disabled = number >= this.size - 1;
  }

  // One small image is loaded at a time. Those of frames that the slider has passed are left out.
  async slide(number) {
    element("go").value = number;
    this.wanted = number;
    if (this.loading) return;
    this.loading = true;
    while (this.wanted !== null) {
      const wanted = this.wanted;
      this.wanted = null;
      await this.glance(wanted, () => this.number !== Number(element("slider").value));
    }
    this.loading = false;
  }

  go(number) {
    if (Number.isInteger(number) && number >= 0 && number < this.size) this.open(number);
  }

  step(by) {
    this.go(this.number + by);
  }
}
