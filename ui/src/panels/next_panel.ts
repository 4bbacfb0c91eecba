// What to label next, and why.

import * as calls from "../api/calls.js";
import type { SceneDetail, Suggestion, Suggestions } from "../api/types.js";
import type { Desk } from "../app/desk.js";
import { complain, complainAbout, inform, sentence } from "../app/notices.js";
import { textButton } from "../core/controls.js";
import { fill, h, setAttribute } from "../core/dom.js";
import { percent } from "../core/format.js";
import { followAll, Signal } from "../core/signal.js";

const LOOK_MS = 800;

export class NextPanel {
  readonly element: HTMLElement;
  readonly #found = new Signal<Suggestions>({ state: "idle", progress: 0, suggestions: [] });
  readonly #bar = h("progress", { max: 1, "aria-label": "Archive looked at" });
  readonly #text = h("p", { class: "muted", role: "status" });
  readonly #at = new Signal(-1);
  readonly #scenes = new Map<string, Promise<SceneDetail>>();
  #timer = 0;

  constructor(private readonly desk: Desk) {
    const list = h("ol", { class: "cards" });
    const go = textButton({
      label: "Look for what helps most",
      icon: "search",
      class: "primary wide",
      act: () => void this.#start(),
    });
    this.#found.follow(({ state, progress, suggestions }) => {
      this.#bar.hidden = state !== "working";
      this.#bar.value = progress;
      this.#text.textContent =
        state === "working"
          ? `Looking at the archive: ${percent(progress)}.`
          : state === "done" && suggestions.length === 0
            ? "Nothing stands out: the archive looks like the examples."
            : "";
      this.#text.hidden = this.#text.textContent === "";
      go.disabled = state === "working";
      fill(list, ...suggestions.map((one, index) => this.#card(one, index)));
    });
    followAll([this.#at, this.#found], () => {
      for (const card of list.querySelectorAll<HTMLElement>(".pick")) {
        const here = card.dataset.index === String(this.#at.value);
        setAttribute(card, "aria-current", here ? "true" : null);
        if (here) card.scrollIntoView({ block: "nearest" });
      }
    });
    this.element = h(
      "div",
      { class: "panel-body" },
      h(
        "p",
        { class: "lead" },
        "Places of the archive that differ most from the examples, or where the network is not sure. Labelling there helps most.",
      ),
      go,
      this.#bar,
      this.#text,
      list,
    );
  }

  /** Fetches what was found already. */
  async look(): Promise<void> {
    clearTimeout(this.#timer);
    try {
      const found = await calls.getSuggestions();
      if (found.state === "failed" && this.#found.value.state === "working" && found.error) complain(found.error);
      this.#found.set(found);
    } catch (error) {
      complainAbout(error);
    }
    if (this.#found.value.state === "working") this.#timer = window.setTimeout(() => void this.look(), LOOK_MS);
  }

  /** Goes to the next suggestion. */
  next(): void {
    const { suggestions } = this.#found.value;
    if (suggestions.length === 0) {
      inform("Nothing was suggested yet: look for what helps most first, under Next.");
      return;
    }
    this.#at.set((this.#at.value + 1) % suggestions.length);
    const one = suggestions[this.#at.value];
    if (!one) return;
    void this.#open(one);
    // The card tells the same where it is seen.
    if (this.element.offsetParent === null) inform(sentence(one.reason));
  }

  async #start(): Promise<void> {
    try {
      await calls.startSuggestions();
      this.#at.set(-1);
      this.#scenes.clear();
      this.#found.set({ ...this.#found.value, state: "working", progress: 0 });
      await this.look();
    } catch (error) {
      complainAbout(error);
    }
  }

  #open({ scene, z, window }: Suggestion): Promise<void> {
    return this.desk.open(scene, { z, window });
  }

  #card(one: Suggestion, index: number): HTMLElement {
    const go = (): void => {
      this.#at.set(index);
      void this.#open(one);
    };
    const where = h("span", { class: "where" });
    void this.#picture(where, one);
    const card = h(
      "button",
      { type: "button", class: "card pick", onclick: go },
      where,
      h("span", {}, h("strong", {}, one.scene), h("span", { class: "reason" }, sentence(one.reason))),
    );
    card.dataset.index = String(index);
    return h("li", {}, card);
  }

  /** The whole slice, and a frame around the window. */
  async #picture(box: HTMLElement, { scene, z, window: [x, y, width, height] }: Suggestion): Promise<void> {
    const known = this.#scenes.get(scene) ?? calls.getScene(scene);
    this.#scenes.set(scene, known);
    try {
      const { shape, levels } = await known;
      const img = h("img", { src: calls.imageUrl(scene, [z, levels - 1, 0, 0]), alt: "" });
      img.style.aspectRatio = `${shape[3]} / ${shape[2]}`;
      const frame = h("span", { class: "frame" });
      const parts = { left: x / shape[3], top: y / shape[2], width: width / shape[3], height: height / shape[2] };
      for (const [name, share] of Object.entries(parts)) frame.style.setProperty(name, `${100 * share}%`);
      box.append(img, frame);
    } catch {
      // A scene that cannot be read says so when it is opened.
      this.#scenes.delete(scene);
    }
  }
}
