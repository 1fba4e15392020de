// Playing of the frames, and the keyframes of the selected track below the slider.
const PAUSE_MS = 120; // between two frames, if they load faster

export class Playback {
  constructor(button, advance) {
    Object.assign(this, { button, advance, playing: false });
    button.addEventListener("click", () => this.toggle());
  }

  toggle() {
    if (this.playing) this.stop();
    else this.play();
  }

  stop() {
    this.playing = false;
    this.button.textContent = "Play";
  }

  // Each frame is shown before the next one is asked for, so a slow server skips none.
  async play() {
    this.playing = true;
    this.button.textContent = "Pause";
    while (this.playing) {
      const pause = new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
      if (!(await this.advance())) break;
      await pause;
    }
    this.stop();
  }
}

export class Keyframes {
  constructor(ticks, previous, next, go) {
    Object.assign(this, { ticks, previous, next, numbers: [], frame: 0 });
    previous.addEventListener("click", () => go(this.numbers.filter((number) => number < this.frame).pop()));
    next.addEventListener("click", () => go(this.numbers.find((number) => number > this.frame)));
  }

  // Shows the keyframes of a track; of any other item there are none.
  show(item, frame) {
    this.frame = frame;
    const numbers = (item?.track?.shapes ?? []).map((shape) => shape.frame).sort((one, two) => one - two);
    if (String(numbers) !== String(this.numbers)) this.ticks.replaceChildren(...numbers.map((number) => new Option(number, number)));
    this.numbers = numbers;
    this.previous.hidden = !this.numbers.length;
    this.next.hidden = !this.numbers.length;
    this.previous.disabled = !(this.numbers[0] < frame);
    this.next.disabled = !(this.numbers[this.numbers.length - 1] > frame);
  }
}

export const isKeyframe = (item, frame) => (item.track ? item.track.shapes.some((shape) => shape.frame === frame) : Boolean(item.keyframe));
