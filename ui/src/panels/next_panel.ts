// What to label next, and why.

import * as calls from "../api/calls.js";
import { thumbnailUrl } from "../api/calls.js";
import type { Suggestion, Suggestions } from "../api/types.js";
import type { Desk } from "../app/desk.js";
import { complain, complainAbout, inform, sentence } from "../app/notices.js";
import { textButton } from "../core/controls.js";
import { fill, h } from "../core/dom.js";
import { percent } from "../core/format.js";
import { Signal } from "../core/signal.js";

const LOOK_MS = 800;

export class NextPanel {
  readonly element: HTMLElement;
  readonly #found = new Signal<Suggestions>({ state: "idle", progress: 0, suggestions: [] });
  readonly #bar = h("progress", { max: 1, "aria-label": "Archive looked at" });
  readonly #text = h("p", { class: "muted", role: "status" });
  #at = -1;
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
      go.disabled = state === "working";
      fill(list, ...suggestions.map((one, index) => this.#card(one, index)));
    });
    this.element = h(
      "div",
      { class: "panel-body" },
      h(
        "p",
        { class: "lead" },
        "Places of the archive that are unlike the examples, or where the network is not sure. Labelling there helps most.",
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
    this.#at = (this.#at + 1) % suggestions.length;
    const one = suggestions[this.#at];
    if (one) this.#open(one);
  }

  async #start(): Promise<void> {
    try {
      await calls.startSuggestions();
      this.#at = -1;
      this.#found.set({ ...this.#found.value, state: "working", progress: 0 });
      await this.look();
    } catch (error) {
      complainAbout(error);
    }
  }

  #open({ scene, z, window, reason }: Suggestion): void {
    void this.desk.open(scene, { z, window });
    inform(sentence(reason));
  }

  #card(one: Suggestion, index: number): HTMLElement {
    const go = (): void => {
      this.#at = index;
      this.#open(one);
    };
    return h(
      "li",
      {},
      h(
        "button",
        { type: "button", class: "card pick", onclick: go },
        h("img", { src: thumbnailUrl(one.scene, ""), alt: "", width: 56, height: 56, loading: "lazy" }),
        h("span", {}, h("strong", {}, one.scene), h("span", { class: "reason" }, sentence(one.reason))),
      ),
    );
  }
}
