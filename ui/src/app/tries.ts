// Trying what one sees, and showing what was found.

import * as calls from "../api/calls.js";
import { Away, isAbort, Refused, reachable } from "../api/http.js";
import type { Attempt, Box } from "../api/types.js";
import { followAll, Signal } from "../core/signal.js";
import type { Desk } from "./desk.js";
import { announce, complainAbout } from "./notices.js";

/** Milliseconds of rest after a stroke before it is tried. */
const REST_MS = 300;
/** A try that lasts so many milliseconds may be loading the network. */
const SLOW_MS = 700;
/** A try is of at most so many pixels a side: what is seen of a whole scene would take minutes. */
export const LARGEST_SIDE = 1024;

export class Tries {
  /** Whether only the middle of what is seen was tried. */
  readonly cropped = new Signal(false);
  /** Whether a try lasts that is the first one of a server: it loads the network. */
  readonly warming = new Signal(false);
  #warm = false;
  #slow = 0;
  #timer = 0;
  #abort: AbortController | null = null;
  #turn = 0;
  /** The try that tells uncertainty. */
  #telling = "";

  constructor(private readonly desk: Desk) {
    const { model } = desk;
    followAll([model.attempt, model.view, model.outlined, model.scoreClass], () => void this.#show());
    model.scene.onChange((scene, before) => {
      if (scene?.id !== before?.id) this.forget();
    });
    model.slice.onChange(() => this.forget());
    model.trying.onChange((trying) => this.#explain(trying));
    // A server that was away may be another one, without the network.
    reachable.onChange(() => {
      this.#warm = false;
    });
    model.view.onChange((view) => {
      if (view === "uncertainty" && model.attempt.value) void this.now();
    });
  }

  /** Tries after a short rest, if that is switched on. */
  soon(): void {
    clearTimeout(this.#timer);
    if (this.desk.model.autoTry.value) this.#timer = window.setTimeout(() => void this.now(true), REST_MS);
  }

  /** Tries what is seen. By itself it does not complain about examples that are not there yet. */
  async now(byItself = false): Promise<void> {
    clearTimeout(this.#timer);
    const { model, map } = this.desk;
    const scene = model.scene.value;
    const seen = map.visible();
    if (!scene || !seen) return;
    const box = middle(seen);
    this.cropped.set(box[2] < seen[2] || box[3] < seen[3]);
    this.#abort?.abort();
    const abort = new AbortController();
    this.#abort = abort;
    model.trying.set(true);
    try {
      await this.desk.outbox.flush();
      if (byItself && !(await this.#canBeAnswered())) return;
      if (this.#abort !== abort) return;
      const z = model.slice.value;
      const uncertainty = model.view.value === "uncertainty";
      const attempt = await calls.tryWindow(scene.id, z, box, uncertainty, abort.signal);
      this.#warm = true;
      if (this.#abort !== abort) return;
      if (uncertainty) this.#telling = attempt.id;
      if (model.view.value === "none" || model.view.value === "result") model.view.set("mask");
      model.attempt.set(attempt);
      announce(
        `Tried. ${Object.entries(attempt.pixels)
          .map(([name, pixels]) => `${name}: ${pixels} pixels`)
          .join(", ")}`,
      );
    } catch (error) {
      const newer = error instanceof Refused && error.status === 409;
      // After the first strokes examples may still lack something: by itself a try does not complain of that.
      const early = error instanceof Refused && error.trouble.type === "SupportError";
      if (!newer && !isAbort(error) && !(byItself && (early || error instanceof Away))) complainAbout(error);
    } finally {
      if (this.#abort === abort) model.trying.set(false);
    }
  }

  /** Whether a class has examples of itself and of something else: the server refuses other tries. */
  async #canBeAnswered(): Promise<boolean> {
    await this.desk.knownExamples;
    const shown = new Map<string, [target: number, background: number]>();
    for (const { class_name, target, background } of this.desk.model.examples.value.examples) {
      const [a, b] = shown.get(class_name) ?? [0, 0];
      shown.set(class_name, [a + target, b + background]);
    }
    return [...shown.values()].some(([target, background]) => target > 0 && background > 0);
  }

  /** Takes the result away. */
  forget(): void {
    clearTimeout(this.#timer);
    this.#abort?.abort();
    this.#abort = null;
    this.desk.model.trying.set(false);
    this.desk.model.attempt.set(null);
  }

  #explain(trying: boolean): void {
    clearTimeout(this.#slow);
    if (!trying) this.warming.set(false);
    else if (!this.#warm) this.#slow = window.setTimeout(() => this.warming.set(!this.#warm), SLOW_MS);
  }

  async #show(): Promise<void> {
    const { model, map } = this.desk;
    const attempt = model.attempt.value;
    const turn = ++this.#turn;
    if (!attempt || !map.grid) {
      map.overlay.clear();
      return;
    }
    try {
      const picture = await this.#picture(attempt);
      if (picture && turn === this.#turn && map.grid) map.overlay.show(map.grid, picture, attempt.window);
    } catch (error) {
      if (turn === this.#turn) complainAbout(error);
    }
  }

  async #picture(attempt: Attempt): Promise<ImageBitmap | null> {
    const { model } = this.desk;
    switch (model.view.value) {
      case "mask":
        return calls.tryPicture(attempt.id, model.outlined.value ? "outline" : "mask");
      case "score":
        return calls.tryPicture(attempt.id, "score", `?class=${encodeURIComponent(model.scoreClass.value)}`);
      case "uncertainty":
        return this.#telling === attempt.id ? calls.tryPicture(attempt.id, "uncertainty") : null;
      default:
        return null;
    }
  }
}

function middle([x, y, width, height]: Box): Box {
  const [w, h] = [Math.min(width, LARGEST_SIDE), Math.min(height, LARGEST_SIDE)];
  return [x + Math.floor((width - w) / 2), y + Math.floor((height - h) / 2), w, h];
}
