// Keeps an eye on the server: is it there, did another page change labels, how goes the run.

import * as calls from "../api/calls.js";
import { reachable } from "../api/http.js";
import type { RunState } from "../api/types.js";
import { Signal } from "../core/signal.js";
import type { Desk } from "./desk.js";

const LOOK_MS = 4000;
const LOOK_AWAY_MS = 2000;
const LINES = 200;

/** A line of a run's event log. */
export interface LogLine {
  [key: string]: unknown;
}

export class Watch {
  readonly run: Signal<RunState>;
  readonly log = new Signal<LogLine[]>([]);
  #events: EventSource | null = null;

  constructor(private readonly desk: Desk) {
    this.run = new Signal(desk.model.studio.value.run);
    this.run.onChange((run, before) => {
      const scenes = run.scenes.done + run.scenes.quarantined;
      const ended = run.state !== before.state && before.state !== "idle";
      if (ended || scenes !== before.scenes.done + before.scenes.quarantined) void desk.refreshScenes();
    });
    void this.#look();
    this.#listen();
  }

  async #look(): Promise<void> {
    const { model, outbox } = this.desk;
    const away = reachable.value !== "yes";
    try {
      const before = model.studio.value;
      const state = await calls.getState();
      // A state that was asked for before our own stroke was saved is older than what we know.
      if (state.revision > model.studio.value.revision && outbox.state.value.waiting === 0) {
        model.studio.set(state);
        if (JSON.stringify(state.classes) !== JSON.stringify(model.classes.value)) model.classes.set(state.classes);
        await this.desk.catchUp(state.revision);
      } else if (state.pipeline.writable !== before.pipeline.writable) {
        model.studio.set({ ...model.studio.value, pipeline: state.pipeline });
      }
      if (away) {
        void outbox.flush();
        this.desk.map.retry();
        this.#listen();
      }
    } catch {
      // `reachable` tells the banner.
    }
    window.setTimeout(() => void this.#look(), reachable.value === "yes" ? LOOK_MS : LOOK_AWAY_MS);
  }

  #listen(): void {
    this.#events?.close();
    const events = new EventSource("/api/run/events");
    events.addEventListener("run", (event) =>
      this.run.set(JSON.parse((event as MessageEvent<string>).data) as RunState),
    );
    events.addEventListener("log", (event) => {
      const line = JSON.parse((event as MessageEvent<string>).data) as LogLine;
      this.log.set([...this.log.value, line].slice(-LINES));
    });
    this.#events = events;
  }
}
