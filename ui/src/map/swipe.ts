// A line that one moves over the map: what was found is shown to its left only.

import type Layer from "ol/layer/Layer.js";
import type OlMap from "ol/Map.js";
import type RenderEvent from "ol/render/Event.js";
import { getRenderPixel } from "ol/render.js";
import type { Model } from "../app/model.js";
import { h } from "../core/dom.js";

const STEP = 0.02;

/** The handle of the line. */
export function swipeHandle(model: Model, stage: HTMLElement, redraw: () => void): HTMLElement {
  const line = h("div", {
    class: "swipe",
    role: "slider",
    tabindex: 0,
    "aria-label": "Compare with and without what was found",
    "aria-valuemin": 0,
    "aria-valuemax": 100,
  });
  const move = (share: number): void => model.swipe.set(Math.min(1, Math.max(0, share)));
  line.addEventListener("pointerdown", (event) => {
    line.setPointerCapture(event.pointerId);
    event.preventDefault();
    line.focus();
  });
  line.addEventListener("pointermove", (event) => {
    if (!line.hasPointerCapture(event.pointerId)) return;
    const box = stage.getBoundingClientRect();
    move((event.clientX - box.left) / box.width);
  });
  line.addEventListener("keydown", (event) => {
    const direction = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (direction === undefined || model.swipe.value === null) return;
    event.preventDefault();
    event.stopPropagation();
    move(model.swipe.value + direction * STEP);
  });
  model.swipe.follow((share) => {
    line.hidden = share === null;
    if (share !== null) {
      line.style.left = `${100 * share}%`;
      line.setAttribute("aria-valuenow", String(Math.round(100 * share)));
    }
    redraw();
  });
  return line;
}

/** Cuts a layer off at the line. */
export function cutAtLine(layer: Layer, map: OlMap, share: () => number | null): void {
  layer.on("prerender", (event) => {
    const context = contextOf(event);
    const at = share();
    const [width = 0, height = 0] = map.getSize() ?? [];
    if (!context) return;
    context.save();
    if (at === null) return;
    const corners = [
      [0, 0],
      [width * at, 0],
      [width * at, height],
      [0, height],
    ].map((pixel) => getRenderPixel(event, pixel));
    context.beginPath();
    corners.forEach(([x = 0, y = 0], index) => {
      if (index === 0) context.moveTo(x, y);
      else context.lineTo(x, y);
    });
    context.closePath();
    context.clip();
  });
  layer.on("postrender", (event) => contextOf(event)?.restore());
}

function contextOf(event: RenderEvent): CanvasRenderingContext2D | null {
  return event.context instanceof CanvasRenderingContext2D ? event.context : null;
}
