// What the page knows; panels and map follow it.

import type { Attempt, ClassInfo, Examples, Range, SceneDetail, SceneLabels, StudioState } from "../api/types.js";
import { setting } from "../core/settings.js";
import { Signal } from "../core/signal.js";

export type Tool = "brush" | "eraser" | "polygon" | "point" | "pan" | "contrast";
export type View = "mask" | "score" | "uncertainty" | "result" | "none";

export const LARGEST_RADIUS = 150;

export class Model {
  readonly studio: Signal<StudioState>;
  readonly classes: Signal<ClassInfo[]>;

  readonly scene = new Signal<SceneDetail | null>(null);
  readonly opening = new Signal<string | null>(null);
  readonly slice = new Signal(0);
  readonly labels = new Signal<SceneLabels | null>(null);
  readonly range = new Signal<Range | null>(null);

  readonly tool = new Signal<Tool>("brush");
  readonly value = new Signal(1);
  readonly radius = setting("radius", 8);
  readonly labelOpacity = setting("label-opacity", 0.6);
  readonly labelsShown = new Signal(true);

  readonly attempt = new Signal<Attempt | null>(null);
  readonly trying = new Signal(false);
  readonly autoTry = setting("auto-try", true);
  readonly view = new Signal<View>("mask");
  readonly scoreClass = new Signal("");
  readonly outlined = setting("outlined", false);
  readonly maskOpacity = setting("mask-opacity", 0.5);
  readonly swipe = new Signal<number | null>(null);

  readonly examples = new Signal<Examples>({ examples: [], saved: true, settled: true });

  constructor(studio: StudioState) {
    this.studio = new Signal(studio);
    this.classes = new Signal(studio.classes);
    this.value.set(studio.classes[0]?.value ?? 1);
    this.scoreClass.set(studio.classes[0]?.name ?? "");
  }

  get isVolume(): boolean {
    return (this.scene.value?.shape[1] ?? 1) > 1;
  }

  color(value: number): string {
    if (value === 0) return BACKGROUND;
    return this.classes.value.find((one) => one.value === value)?.color ?? BACKGROUND;
  }

  className(value: number): string {
    if (value === 0) return "background";
    return this.classes.value.find((one) => one.value === value)?.name ?? `class ${value}`;
  }
}

/** The gray in which the server paints background. */
export const BACKGROUND = "#808080";
