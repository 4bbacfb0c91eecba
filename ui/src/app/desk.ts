// What the person at the desk does: opens a scene, draws, takes back, saves.

import * as calls from "../api/calls.js";
import { Refused } from "../api/http.js";
import type { Outbox } from "../api/outbox.js";
import type { Box, Changed, Stroke } from "../api/types.js";
import { Signal } from "../core/signal.js";
import { reach } from "../map/paint.js";
import type { SceneMap } from "../map/scene_map.js";
import type { Model } from "./model.js";
import { announce, complainAbout, inform } from "./notices.js";

export class Desk {
  /** Rises when scenes may have other states than before. */
  readonly archiveVersion = new Signal(0);
  /** Called when labels of the open scene changed. */
  onLabelsChanged: () => void = () => {};
  /** Ends when the examples that were asked for last are known. */
  knownExamples: Promise<void> = Promise.resolve();

  readonly #map: SceneMap;
  /** What changed on a scene since its labels were last shown; all of it where somebody else drew, too. */
  #behind: { scene: string; box: Box | null; all: boolean } = { scene: "", box: null, all: false };

  constructor(
    readonly model: Model,
    readonly outbox: Outbox,
    makeMap: (onStroke: (stroke: Stroke) => void, onError: (error: unknown) => void) => SceneMap,
  ) {
    this.#map = makeMap((stroke) => this.draw(stroke), complainAbout);
    outbox.onSaved = ({ scene, stroke }, answer) => {
      // A newer stroke lies over it, and its own answer brings the pixels of both.
      if (outbox.of(scene).length === 0) this.#took(scene, answer, stroke.z);
      else this.#collect(scene, answer);
    };
  }

  get map(): SceneMap {
    return this.#map;
  }

  /** Opens a scene, and shows a slice and a part of it where they are given. */
  async open(id: string, place?: { z?: number; window?: [number, number, number, number] }): Promise<void> {
    const { model } = this;
    if (model.scene.value?.id !== id) {
      model.opening.set(id);
      try {
        const [scene, labels] = await Promise.all([calls.getScene(id), calls.getLabels(id)]);
        if (model.opening.value !== id) return;
        this.#map.drawing.finish(); // on the scene that it was begun on
        model.attempt.set(null);
        model.labels.set(labels);
        model.range.set(null);
        model.slice.set(place?.z ?? firstSlice(scene.shape[1], labels.slices));
        model.scene.set(scene);
        announce(`Scene ${id} is open.`);
      } catch (error) {
        complainAbout(error, { label: "Try again", act: () => void this.open(id, place) });
        if (error instanceof Refused) this.archiveVersion.set(this.archiveVersion.value + 1); // the list tells it, too
        return;
      } finally {
        if (model.opening.value === id) model.opening.set(null);
      }
    }
    if (place?.z !== undefined) model.slice.set(place.z);
    if (place?.window) this.#map.fit(place.window);
  }

  draw(stroke: Stroke): void {
    const scene = this.model.scene.value;
    if (scene) this.outbox.add(scene.id, stroke);
  }

  /** Takes back what is being drawn, else what was drawn last. */
  async undo(): Promise<void> {
    const scene = this.model.scene.value?.id;
    if (scene === undefined || this.#map.drawing.takeBack()) return;
    const taken = this.outbox.takeBack(scene);
    if (taken) {
      await this.#map.refreshLabels(reach(taken.stroke));
      return;
    }
    await this.#step(scene, calls.undo, "Nothing to undo");
  }

  async redo(): Promise<void> {
    const scene = this.model.scene.value?.id;
    if (scene !== undefined) await this.#step(scene, calls.redo, "Nothing to redo");
  }

  /** Gives up strokes that cannot be saved. */
  async discardUnsaved(): Promise<void> {
    if (!confirm("Give up what is not saved?")) return;
    this.outbox.discard();
    await this.#map.refreshLabels(null);
  }

  /** Fetches what another page changed. */
  async catchUp(revision: number): Promise<void> {
    const scene = this.model.scene.value?.id;
    await this.refreshExamples();
    if (scene === undefined) return;
    try {
      this.model.labels.set(await calls.getLabels(scene));
      await this.#map.refreshLabels(null, { changed: null, revision, undo: false, redo: false });
    } catch (error) {
      complainAbout(error);
    }
  }

  refreshExamples(): Promise<void> {
    this.knownExamples = this.#askForExamples();
    return this.knownExamples;
  }

  async #askForExamples(): Promise<void> {
    try {
      this.model.examples.set(await calls.getExamples());
    } catch (error) {
      complainAbout(error);
    }
  }

  /** After a run: scenes have other states, and there are new masks. */
  async refreshScenes(): Promise<void> {
    this.archiveVersion.set(this.archiveVersion.value + 1);
    const id = this.model.scene.value?.id;
    if (id === undefined) return;
    try {
      const scene = await calls.getScene(id);
      if (this.model.scene.value?.id === id) this.model.scene.set(scene);
    } catch (error) {
      complainAbout(error);
    }
  }

  async removeExample(scene: string, className: string): Promise<void> {
    try {
      await this.outbox.flush();
      this.model.examples.set(await calls.removeExample(scene, className));
      inform(`The labels of ${className} on ${scene} are gone.`);
      const { revision } = await calls.getState();
      this.#know(revision);
      if (scene === this.model.scene.value?.id) await this.catchUp(revision);
      this.archiveVersion.set(this.archiveVersion.value + 1);
    } catch (error) {
      complainAbout(error);
    }
  }

  async addClass(name: string, color: string): Promise<boolean> {
    try {
      const { classes } = await calls.addClass(name, color);
      this.model.classes.set(classes);
      const added = classes.find((one) => one.name === name);
      if (added) this.model.value.set(added.value);
      return true;
    } catch (error) {
      complainAbout(error);
      return false;
    }
  }

  async #step(scene: string, step: (id: string) => Promise<Changed>, nothing: string): Promise<void> {
    try {
      await this.outbox.flush();
      const answer = await step(scene);
      if (answer.changed) this.#took(scene, answer, null);
      else announce(nothing);
    } catch (error) {
      complainAbout(error);
    }
  }

  /** Takes over what the server says of a change. */
  #took(scene: string, answer: Changed, z: number | null): void {
    this.#collect(scene, answer);
    const { model } = this;
    if (scene === model.scene.value?.id && model.labels.value) {
      const { revision, undo, redo } = answer;
      model.labels.set({ ...model.labels.value, revision, undo, redo });
      const { box, all } = this.#behind;
      const here = z === null || z === model.slice.value;
      if (here && (box || all)) void this.#map.refreshLabels(all ? null : box, answer);
      void this.#count(scene);
    }
    this.#behind = { scene, box: null, all: false };
    this.onLabelsChanged();
  }

  async #count(scene: string): Promise<void> {
    try {
      const labels = await calls.getLabels(scene);
      const open = this.model.scene.value;
      if (scene !== open?.id) return;
      this.model.labels.set(labels);
      if (open.labeled !== Object.keys(labels.slices).length > 0) await this.refreshScenes();
    } catch (error) {
      complainAbout(error);
    }
  }

  /** Remembers what an answer says has changed; a revision that rose by more than one tells of somebody else. */
  #collect(scene: string, answer: Changed): void {
    const behind = this.#behind.scene === scene ? this.#behind : { scene, box: null, all: false };
    const alone = answer.revision <= this.model.studio.value.revision + 1;
    this.#behind = { scene, box: around(behind.box, answer.changed), all: behind.all || !alone };
    this.#know(answer.revision);
  }

  #know(revision: number): void {
    this.model.studio.set({ ...this.model.studio.value, revision });
  }
}

/** The first slice that is labelled, else the middle one. */
function firstSlice(depth: number, slices: Record<string, unknown>): number {
  const labelled = Object.keys(slices).map(Number);
  return labelled.length > 0 ? Math.min(...labelled) : Math.floor(depth / 2);
}

/** The smallest box around two, of which either may be missing. */
function around(one: Box | null, other: Box | null): Box | null {
  if (!one || !other) return one ?? other;
  const [x, y] = [Math.min(one[0], other[0]), Math.min(one[1], other[1])];
  const right = Math.max(one[0] + one[2], other[0] + other[2]);
  const bottom = Math.max(one[1] + one[3], other[1] + other[3]);
  return [x, y, right - x, bottom - y];
}
