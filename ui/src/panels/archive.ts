// The archive: its scenes as a list that makes only the rows that are seen.

import * as calls from "../api/calls.js";
import { isAbort } from "../api/http.js";
import type { Scene, Sort } from "../api/types.js";
import type { Desk } from "../app/desk.js";
import { complainAbout, inform } from "../app/notices.js";
import { iconButton } from "../core/controls.js";
import { freshId, h, say } from "../core/dom.js";
import { count, whole } from "../core/format.js";
import { Signal } from "../core/signal.js";
import { sceneRow } from "./scene_row.js";

const ROW = 76;
const PAGE = 100;
const MORE = 4;
/** As in layout.css. */
const NARROW = "(max-width: 1000px)";
const REST_MS = 200;

const STATES: [string, string][] = [
  ["", "All"],
  ["new", "New"],
  ["unreadable", "Cannot be read"],
  ["running", "Running"],
  ["done", "Done"],
  ["quarantined", "Quarantined"],
];

const SORTS: [Sort, string][] = [
  ["id", "Name"],
  ["uncertainty", "Least sure first"],
  ["area", "Largest first"],
  ["date", "Newest first"],
];

export class Archive {
  readonly element: HTMLElement;
  readonly #text = h("input", {
    type: "search",
    placeholder: "Find a scene",
    "aria-label": "Find a scene by its name",
  });
  readonly #state = h("select", {}, ...STATES.map(([value, text]) => h("option", { value }, text)));
  readonly #sort = h("select", {}, ...SORTS.map(([value, text]) => h("option", { value }, text)));
  readonly #total = h("p", { class: "muted total", role: "status" });
  readonly #list = h("div", { class: "rows", role: "list", "aria-label": "Scenes" });
  readonly #scroller = h("div", { class: "scroller" }, this.#list);
  readonly #rows = new Map<number, { scene: Scene; element: HTMLElement }>();
  readonly #pages = new Map<number, Scene[] | "coming">();
  readonly #count = new Signal(-1);
  readonly #again = iconButton({
    label: "Look through the archive again, for scenes that came or went",
    icon: "refresh",
    act: () => void this.#lookAgain(),
  });
  /** Scenes of the archive, whatever is shown of them. */
  #all = 0;
  #abort = new AbortController();
  #fetched: Promise<void> = Promise.resolve();
  #timer = 0;
  /** Scenes without a picture of which the list was asked again. */
  readonly #asked = new Set<string>();

  constructor(private readonly desk: Desk) {
    this.element = h(
      "nav",
      { class: "archive", id: "archive", "aria-label": "Archive" },
      h(
        "div",
        { class: "filters" },
        this.#text,
        h("div", { class: "pair" }, field("Show", this.#state), field("Sort", this.#sort)),
        h("div", { class: "total-line" }, this.#total, this.#again),
      ),
      this.#scroller,
    );
    this.#scroller.addEventListener("scroll", () => this.#draw(), { passive: true });
    new ResizeObserver(() => this.#draw()).observe(this.#scroller);
    this.#list.addEventListener("keydown", (event) => this.#walk(event));
    this.#text.addEventListener("input", () => {
      clearTimeout(this.#timer);
      this.#timer = window.setTimeout(() => this.restart(), REST_MS);
    });
    for (const select of [this.#state, this.#sort]) select.addEventListener("change", () => this.restart());
    desk.archiveVersion.onChange(() => this.reload());
    desk.model.scene.onChange(() => this.#mark());
    desk.model.opening.onChange(() => this.#mark());
    void this.#fetch(0);
  }

  /** The scene some steps after the open one in the present order; null if that is not known. */
  neighbor(steps: number): string | null {
    const id = this.desk.model.scene.value?.id;
    for (const [page, scenes] of this.#pages) {
      if (scenes === "coming") continue;
      const at = scenes.findIndex((scene) => scene.id === id);
      if (at >= 0) return this.#at(page * PAGE + at + steps)?.id ?? null;
    }
    return this.#at(0)?.id ?? null;
  }

  /** Another question: from the top. */
  restart(): void {
    this.#scroller.scrollTop = 0;
    this.reload();
  }

  /** Fetches again what is seen. */
  reload(): void {
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#pages.clear();
    this.#fetched = this.#fetch(Math.floor(this.#scroller.scrollTop / ROW / PAGE));
  }

  async #lookAgain(): Promise<void> {
    const before = this.#all;
    this.#again.disabled = true;
    this.#asked.clear();
    this.#again.classList.add("busy");
    try {
      await calls.refresh();
      await this.desk.refreshScenes();
      await this.#fetched;
      const more = this.#all - before;
      const change =
        more === 0 ? "as many as before" : `${whole(Math.abs(more))} ${more > 0 ? "more" : "fewer"} than before`;
      inform(`The archive holds ${count(this.#all, "scene")}, ${change}.`);
    } catch (error) {
      complainAbout(error);
    } finally {
      this.#again.disabled = false;
      this.#again.classList.remove("busy");
    }
  }

  async #fetch(page: number): Promise<void> {
    if (this.#pages.has(page)) return;
    this.#pages.set(page, "coming");
    const { signal } = this.#abort;
    try {
      const found = await calls.getScenes(
        {
          state: this.#state.value,
          text: this.#text.value.trim(),
          sort: this.#sort.value as Sort,
          offset: page * PAGE,
          limit: PAGE,
        },
        signal,
      );
      if (signal.aborted) return;
      this.#pages.set(page, found.scenes);
      this.#count.set(found.total);
      this.#tell(found.total, found.counts);
      this.#draw();
    } catch (error) {
      this.#pages.delete(page);
      if (!isAbort(error)) complainAbout(error, { label: "Try again", act: () => this.reload() });
    }
  }

  #tell(total: number, counts: Record<string, number>): void {
    this.#all = Object.values(counts).reduce((a, b) => a + b, 0);
    for (const [index, [value, text]] of STATES.entries()) {
      const option = this.#state.options[index];
      const sum = value === "" ? this.#all : (counts[value] ?? 0);
      if (option) option.textContent = `${text} (${whole(sum)})`;
    }
    say(this.#total, total === 0 ? "No scene is like that." : count(total, "scene"));
  }

  #at(index: number): Scene | null {
    const page = this.#pages.get(Math.floor(index / PAGE));
    return page && page !== "coming" ? (page[index % PAGE] ?? null) : null;
  }

  #draw(): void {
    const total = Math.max(0, this.#count.value);
    this.#list.style.height = `${total * ROW}px`;
    const first = Math.max(0, Math.floor(this.#scroller.scrollTop / ROW) - MORE);
    const last = Math.min(total - 1, Math.ceil((this.#scroller.scrollTop + this.#scroller.clientHeight) / ROW) + MORE);
    for (const [index, { element }] of this.#rows) {
      if (index >= first && index <= last) continue;
      element.remove();
      this.#rows.delete(index);
    }
    for (let index = first; index <= last; index++) this.#row(index, total);
    this.#mark();
  }

  #row(index: number, total: number): void {
    const scene = this.#at(index);
    if (!scene) {
      void this.#fetch(Math.floor(index / PAGE));
      return;
    }
    const before = this.#rows.get(index);
    if (before?.scene === scene) return;
    const element = sceneRow(
      scene,
      () => this.#open(scene),
      () => this.#unseen(scene),
    );
    element.style.top = `${index * ROW}px`;
    element.setAttribute("aria-posinset", String(index + 1));
    element.setAttribute("aria-setsize", String(total));
    const focused = before?.element.contains(document.activeElement) ?? false;
    if (before) before.element.replaceWith(element);
    else this.#insert(index, element);
    if (focused) element.querySelector("button")?.focus();
    this.#rows.set(index, { scene, element });
  }

  /** Opens a scene; where the archive lies over the map it goes out of the way. */
  #open(scene: Scene): void {
    if (window.matchMedia(NARROW).matches) document.body.dataset.archive = "closed";
    void this.desk.open(scene.id);
  }

  /** The server knows now what is wrong with a scene: the list is asked once more, and once only. */
  #unseen(scene: Scene): void {
    if (scene.state !== "new" || this.#asked.has(scene.id)) return;
    this.#asked.add(scene.id);
    clearTimeout(this.#timer);
    this.#timer = window.setTimeout(() => this.reload(), REST_MS);
  }

  /** In order, so that Tab goes from one row to the next. */
  #insert(index: number, element: HTMLElement): void {
    let after: HTMLElement | null = null;
    let nearest = Number.POSITIVE_INFINITY;
    for (const [other, row] of this.#rows) {
      if (other > index && other < nearest) {
        nearest = other;
        after = row.element;
      }
    }
    this.#list.insertBefore(element, after);
  }

  #mark(): void {
    const open = this.desk.model.scene.value?.id;
    const opening = this.desk.model.opening.value;
    for (const { scene, element } of this.#rows.values()) {
      const button = element.querySelector("button");
      if (scene.id === open) button?.setAttribute("aria-current", "true");
      else button?.removeAttribute("aria-current");
      element.classList.toggle("opening", scene.id === opening);
    }
  }

  #walk(event: KeyboardEvent): void {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const from = [...this.#rows].find(([, { element }]) => element.contains(document.activeElement))?.[0];
    if (step === undefined || from === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const next = this.#rows.get(from + step)?.element.querySelector("button");
    next?.focus({ preventScroll: true });
    next?.scrollIntoView({ block: "nearest" });
  }
}

function field(label: string, select: HTMLSelectElement): HTMLElement {
  select.id = freshId();
  return h("div", { class: "field" }, h("label", { for: select.id }, label), select);
}
