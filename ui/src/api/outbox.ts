// Strokes on their way to the server. What is not saved yet is kept in the browser, and sent again until it is.

import { recall, remember } from "../core/settings.js";
import { Signal } from "../core/signal.js";
import * as calls from "./calls.js";
import { Away, Refused } from "./http.js";
import type { Changed, Stroke, Trouble } from "./types.js";

const FIRST_WAIT_MS = 1500;
const LONGEST_WAIT_MS = 15000;

export interface Sent {
  id: number;
  scene: string;
  stroke: Stroke;
}

/** How the sending goes. */
export interface OutboxState {
  /** Strokes that the server has not confirmed. */
  waiting: number;
  /** Why the first one could not be saved; null while all is well. */
  trouble: Trouble | null;
  /** Whether the browser itself keeps them, should the page be closed. */
  kept: boolean;
}

const AWAY: Trouble = {
  type: "Away",
  what: "the studio's server does not answer",
  where: "",
  remedy: "start it again by the same command; the strokes are sent by themselves",
};

export class Outbox {
  readonly state: Signal<OutboxState>;
  /** Called when the server has saved a stroke. */
  onSaved: (sent: Sent, answer: Changed) => void = () => {};

  readonly #name: string;
  #queue: Sent[];
  #next: number;
  #sending: Promise<void> | null = null;
  #timer = 0;
  /** The stroke that the server is being told of. */
  #told: Sent | null = null;
  #wait = FIRST_WAIT_MS;

  /** @param pipeline names the pipeline file: strokes of another one are not ours. */
  constructor(pipeline: string) {
    this.#name = `unsaved:${pipeline}`;
    this.#queue = recall<Sent[]>(this.#name, []);
    this.#next = 1 + Math.max(0, ...this.#queue.map(({ id }) => id));
    this.state = new Signal<OutboxState>({ waiting: this.#queue.length, trouble: null, kept: true });
  }

  /** Keeps a stroke and sends it after those before it. */
  add(scene: string, stroke: Stroke): Sent {
    const sent = { id: this.#next++, scene, stroke };
    this.#queue.push(sent);
    this.#keep();
    if (!this.state.value.trouble) void this.flush();
    return sent;
  }

  /** Strokes on a scene that are not saved yet, oldest first. */
  of(scene: string): Sent[] {
    return this.#queue.filter((sent) => sent.scene === scene);
  }

  /** Takes back the newest stroke on a scene if it waits for a server that is away; null if there is none. */
  takeBack(scene: string): Sent | null {
    if (!this.state.value.trouble) return null;
    const last = this.of(scene).at(-1);
    if (!last || last === this.#told) return null;
    this.#drop(last);
    return last;
  }

  /** Gives up all strokes that could not be saved. */
  discard(): Sent[] {
    const all = this.#queue;
    this.#queue = [];
    this.#keep(null);
    return all;
  }

  /** Sends what waits; resolves when nothing waits any more, or when it has to wait longer. */
  flush(): Promise<void> {
    clearTimeout(this.#timer);
    this.#sending ??= this.#send().finally(() => {
      this.#sending = null;
    });
    return this.#sending;
  }

  /** Sends in order; what is refused on one scene does not hold up another one. */
  async #send(): Promise<void> {
    const refused = new Set<string>();
    const next = (): Sent | undefined => this.#queue.find(({ scene }) => !refused.has(scene));
    let trouble: Trouble | null = null;
    for (let first = next(); first; first = next()) {
      try {
        this.#told = first;
        const answer = await calls.sendStroke(first.scene, first.stroke);
        this.#wait = FIRST_WAIT_MS;
        this.#drop(first);
        this.onSaved(first, answer);
      } catch (error) {
        if (!(error instanceof Refused || error instanceof Away)) throw error;
        trouble = error instanceof Refused ? error.trouble : AWAY;
        if (error instanceof Away || error.status >= 500 || error.status === 401) break;
        refused.add(first.scene);
      } finally {
        this.#told = null;
      }
    }
    this.#keep(trouble);
    if (!trouble) return;
    this.#timer = window.setTimeout(() => void this.flush(), this.#wait);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_MS);
  }

  #drop(sent: Sent): void {
    this.#queue = this.#queue.filter((other) => other !== sent);
    this.#keep();
  }

  #keep(trouble: Trouble | null = this.state.value.trouble): void {
    const kept = remember(this.#name, this.#queue);
    const waiting = this.#queue.length;
    this.state.set({ waiting, trouble: waiting > 0 ? trouble : null, kept });
  }
}
