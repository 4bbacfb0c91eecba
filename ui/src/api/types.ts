// The server's answers, as docs/decisions/studio.md states them. Places and sizes are pixels of the scene.

export type Box = [x: number, y: number, width: number, height: number];
export type Range = [low: number, high: number];
export type Point = [x: number, y: number];

export interface ClassInfo {
  value: number;
  name: string;
  color: string;
}

export interface Trouble {
  type: string;
  what: string;
  where: string;
  remedy: string;
}

export type RunPhase = "idle" | "running" | "stopping" | "done" | "failed" | "stopped";

export interface RunState {
  state: RunPhase;
  phase: string;
  ours: boolean;
  owner: string;
  scenes: { done: number; total: number; quarantined: number };
  tiles_per_second: number | null;
  seconds_left: number | null;
  error: Trouble | null;
  /** While examples are prepared: which step, and how many of its parts are done. */
  doing: string;
  steps: [done: number, total: number] | null;
  report: string | null;
}

/** What a run would do now. */
export interface Plan {
  scenes: number;
  pending: number;
  again: number;
  done: number;
  quarantined: number;
}

export interface NamedRange {
  name: string;
  low: number;
  high: number;
}

export interface StudioState {
  pipeline: { name: string; file: string; writable: boolean };
  kind: "raster" | "volume";
  classes: ClassInfo[];
  bands: string[];
  threshold: number;
  windows: NamedRange[];
  revision: number;
  run: RunState;
  version: string;
}

export type SceneStateName = "new" | "unreadable" | "running" | "done" | "quarantined";

export interface Warning {
  kind: string;
  what: string;
  remedy: string;
  suspect: boolean;
}

export interface Scene {
  id: string;
  /** The file's own name, where the id could not take all of it; else empty. */
  name: string;
  state: SceneStateName;
  error: Partial<Trouble>;
  warnings: Warning[];
  date: string;
  measures: Record<string, Record<string, number>>;
  uncertainty: number | null;
  outputs: string[];
  labeled: boolean;
}

export interface SceneDetail extends Scene {
  shape: [bands: number, z: number, y: number, x: number];
  pixel_size_m: [x: number, y: number] | null;
  spacing_mm: [z: number, y: number, x: number] | null;
  levels: number;
  tile: number;
  ranges: Range[];
  bands: string[];
}

export interface SceneList {
  total: number;
  counts: Record<string, number>;
  scenes: Scene[];
}

export interface SceneLabels {
  revision: number;
  undo: boolean;
  redo: boolean;
  slices: Record<string, Record<string, number>>;
}

export type DrawTool = "brush" | "eraser" | "polygon" | "point";

export interface Stroke {
  z: number;
  tool: DrawTool;
  value: number;
  radius: number;
  points: Point[];
}

export interface Changed {
  changed: Box | null;
  revision: number;
  undo: boolean;
  redo: boolean;
}

export interface Attempt {
  id: string;
  window: Box;
  seconds: Record<string, number>;
  pixels: Record<string, number>;
  revision: number;
}

export interface Example {
  class_name: string;
  name: string;
  scene: string;
  target: number;
  background: number;
  iou: number | null;
  note: string;
}

export interface Examples {
  examples: Example[];
  saved: boolean;
  /** Whether the examples have judged each other as they are now. */
  settled: boolean;
}

export interface Suggestion {
  scene: string;
  window: Box;
  z: number;
  worth: number;
  reason: string;
}

export interface Suggestions {
  state: "idle" | "working" | "done" | "failed";
  progress: number;
  suggestions: Suggestion[];
  error?: Trouble | null;
}

export type Sort = "id" | "uncertainty" | "area" | "date";

export interface SceneQuery {
  state: string;
  text: string;
  sort: Sort;
  offset: number;
  limit: number;
}
