// From the pointer to strokes.

import type OlMap from "ol/Map.js";
import type MapBrowserEvent from "ol/MapBrowserEvent.js";
import type { DrawTool, Point, Stroke } from "../api/types.js";
import type { Model } from "../app/model.js";
import type { SceneGrid } from "./grid.js";
import type { Hands } from "./pointer.js";
import { Follow } from "./pointer.js";
import { Sketch } from "./sketch.js";

type Event = MapBrowserEvent<PointerEvent>;

/** Screen pixels: how near to the first corner a click closes a polygon, how far a drag draws freehand. */
const NEAR = 12;
const DOUBLE_CLICK_MS = 350;
/** Points of a stroke; minutes of drawing without lifting the pen. The server takes a few times more. */
const MOST_POINTS = 20000;

export interface DrawingEvents {
  /** More of a stroke is there, from one of its points on. */
  onPart: (stroke: Stroke, from: number) => void;
  onDone: (stroke: Stroke) => void;
  /** The stroke was taken back before it was done. */
  onCancel: (stroke: Stroke) => void;
}

export class Drawing {
  readonly interaction: Follow;
  readonly sketch = new Sketch();
  /** The stroke that is being drawn. */
  current: Stroke | null = null;
  #corners: Point[] = [];
  #freehand = false;
  /** Points of the current stroke that are painted already. */
  #shown = 1;
  #lastDown = 0;
  #pointer: Point | null = null;

  constructor(
    private readonly map: OlMap,
    private readonly model: Model,
    private readonly grid: () => SceneGrid | null,
    hands: Hands,
    private readonly events: DrawingEvents,
  ) {
    this.interaction = new Follow({
      begins: (event, fingers) => this.grid() !== null && hands.draws(event, fingers),
      start: (event) => this.#start(event),
      move: (event) => this.#move(event),
      end: () => this.#end(),
      cancel: () => this.cancel(),
    });
    map.on("pointermove", (event) => this.#hover(event as Event));
    map.getTargetElement()?.addEventListener("pointerleave", () => this.#leave());
    map.on("moveend", () => this.#redraw());
    for (const event of ["focus", "blur"]) map.getTargetElement()?.addEventListener(event, () => this.#redraw());
    for (const signal of [model.tool, model.value, model.radius, model.classes]) signal.onChange(() => this.#redraw());
    for (const signal of [model.tool, model.slice]) {
      signal.onChange(() => {
        this.finish();
        this.cancel();
      });
    }
  }

  /** Takes back what is not done. */
  cancel(): void {
    const stroke = this.current;
    this.current = null;
    this.#shown = 1;
    this.#corners = [];
    this.#freehand = false;
    this.#redraw();
    if (stroke) this.events.onCancel(stroke);
  }

  /** Takes back the stroke in the making, or the last corner of a polygon; false if there is neither. */
  takeBack(): boolean {
    if (this.current || this.#freehand) this.cancel();
    else if (this.isOpen) {
      this.#corners = this.#corners.slice(0, -1);
      this.#redraw();
    } else return false;
    return true;
  }

  /** Ends a stroke as if the pointer were lifted now, as what is drawn on goes. A polygon that is clicked stays open. */
  finish(): void {
    this.#end();
  }

  /** Whether there is a polygon that is not closed. */
  get isOpen(): boolean {
    return this.#corners.length > 0;
  }

  /** Closes the polygon in the making; false if there is none. */
  close(): boolean {
    const points = this.#corners;
    if (points.length < 3) return false;
    this.#corners = [];
    this.#redraw();
    const stroke = { ...this.#begin("polygon"), points: thinned(points) };
    this.events.onPart(stroke, 0);
    this.events.onDone(stroke);
    return true;
  }

  /** Draws in the middle of what is seen, for people without a pointer: a spot, or a corner of the polygon. */
  mark(): void {
    const at = this.#middle();
    const tool = this.model.tool.value;
    if (!at || this.current || tool === "pan" || tool === "contrast") return;
    if (tool === "polygon") {
      this.#corners = [...this.#corners, at];
      this.#redraw();
      return;
    }
    const stroke = { ...this.#begin(tool), points: [at] };
    this.events.onPart(stroke, 0);
    this.events.onDone(stroke);
  }

  #middle(): Point | null {
    const center = this.map.getView().getCenter();
    return center && this.grid() ? this.#rounded(center) : null;
  }

  /** Where the next mark is: under the pointer, or for who came by the keyboard in the middle. */
  #aim(): Point | null {
    return (
      this.#pointer ?? (this.map.getTargetElement()?.matches(":focus-visible:not(.by-pointer)") ? this.#middle() : null)
    );
  }

  #begin(tool: DrawTool): Stroke {
    const radius = tool === "polygon" ? 0 : this.model.radius.value;
    return { z: this.model.slice.value, tool, value: this.model.value.value, radius, points: [] };
  }

  #start(event: Event): void {
    const at = this.#place(event);
    const tool = this.model.tool.value as DrawTool;
    if (tool === "polygon") {
      this.#corner(at, event.originalEvent.timeStamp);
      return;
    }
    this.current = { ...this.#begin(tool), points: [at] };
    this.events.onPart(this.current, 0);
    if (tool === "point") this.#end();
  }

  #corner(at: Point, time: number): void {
    const first = this.#corners[0];
    const last = this.#corners.at(-1);
    const twice = last !== undefined && time - this.#lastDown < DOUBLE_CLICK_MS && this.#isNear(at, last);
    this.#lastDown = time;
    if (this.#corners.length > 2 && first && (twice || this.#isNear(at, first))) {
      this.close();
      return;
    }
    this.#freehand = false;
    if (!twice) this.#corners = [...this.#corners, at];
    this.#redraw();
  }

  #move(event: Event): void {
    const stroke = this.current;
    for (const original of coalesced(event.originalEvent)) {
      const at = this.#placeOf(original);
      if (this.model.tool.value === "polygon") this.#drag(at);
      else if (stroke && this.#farEnough(stroke, at)) stroke.points.push(at);
      this.#pointer = at;
    }
    if (stroke) {
      this.events.onPart(stroke, Math.max(0, this.#shown - 1));
      this.#shown = stroke.points.length;
    }
    this.#redraw();
  }

  #drag(at: Point): void {
    const last = this.#corners.at(-1);
    if (!last) return;
    if (!this.#freehand && this.#isNear(at, last)) return;
    this.#freehand = true;
    const step = 2 * (this.map.getView().getResolution() ?? 1);
    if (Math.hypot(at[0] - last[0], at[1] - last[1]) >= step) this.#corners.push(at);
  }

  #end(): void {
    if (this.#freehand && this.model.tool.value === "polygon") {
      this.#freehand = false;
      if (!this.close()) this.cancel();
      return;
    }
    const stroke = this.current;
    this.current = null;
    this.#shown = 1;
    if (stroke) this.events.onDone({ ...stroke, points: thinned(stroke.points) });
  }

  #farEnough(stroke: Stroke, at: Point): boolean {
    const [x, y] = stroke.points.at(-1) ?? at;
    const resolution = this.map.getView().getResolution() ?? 1;
    return Math.hypot(at[0] - x, at[1] - y) >= Math.max(stroke.radius / 8, resolution / 2);
  }

  #hover(event: Event): void {
    if (event.originalEvent.pointerType === "touch") return;
    this.#pointer = this.grid() ? this.#place(event) : null;
    this.#redraw();
  }

  #leave(): void {
    this.#pointer = null;
    this.#redraw();
  }

  #redraw(): void {
    const grid = this.grid();
    if (!grid) return;
    const tool = this.model.tool.value;
    const color = tool === "eraser" ? "#ffffff" : this.model.color(this.model.value.value);
    const round = tool === "brush" || tool === "eraser" || tool === "point";
    const aim = this.#aim();
    const byKey = tool === "polygon" && this.#pointer === null;
    const radius = byKey ? NEAR * (this.map.getView().getResolution() ?? 1) : this.model.radius.value;
    this.sketch.ring(grid, round || byKey ? aim : null, radius, color);
    const loose = aim && !this.#freehand && this.#corners.length > 0 ? [aim] : [];
    this.sketch.outline(grid, [...this.#corners, ...loose], color);
  }

  #place(event: Event): Point {
    return this.#rounded(event.coordinate);
  }

  #placeOf(event: PointerEvent): Point {
    return this.#rounded(this.map.getCoordinateFromPixel(this.map.getEventPixel(event)));
  }

  /** To hundredths of a pixel: more is noise, and makes a stroke long. */
  #rounded(coordinate: number[]): Point {
    const [x, y] = this.grid()?.toScene(coordinate) ?? [0, 0];
    return [Math.round(100 * x) / 100, Math.round(100 * y) / 100];
  }

  #isNear(a: Point, b: Point): boolean {
    return Math.hypot(a[0] - b[0], a[1] - b[1]) < NEAR * (this.map.getView().getResolution() ?? 1);
  }
}

function coalesced(event: PointerEvent): PointerEvent[] {
  const events = event.getCoalescedEvents?.() ?? [];
  return events.length > 0 ? events : [event];
}

function thinned(points: Point[]): Point[] {
  const every = Math.ceil(points.length / MOST_POINTS);
  return points.filter((_, index) => index % every === 0 || index === points.length - 1);
}
