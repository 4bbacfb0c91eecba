// Window and level by dragging: to the right for more contrast range, upwards for brighter.

import type MapBrowserEvent from "ol/MapBrowserEvent.js";
import type { Range } from "../api/types.js";
import type { Model } from "../app/model.js";
import type { Hands } from "./pointer.js";
import { Follow } from "./pointer.js";

/** Screen pixels of a drag that make the range twice as wide, or move it by its own width. */
const WHOLE_DRAG = 300;
const EVERY_MS = 60;

/** Whether one range makes sense for all bands of the scene. */
export function hasOneRange(model: Model): boolean {
  const ranges = model.scene.value?.ranges ?? [];
  return ranges.length > 0 && ranges.every(([low, high]) => low === ranges[0]?.[0] && high === ranges[0]?.[1]);
}

export function contrastDrag(model: Model, hands: Hands): Follow {
  let from: { range: Range; x: number; y: number } | null = null;
  let timer = 0;
  const range = ({ originalEvent: { clientX, clientY } }: MapBrowserEvent<PointerEvent>): Range | null => {
    if (!from) return null;
    const [low, high] = from.range;
    const width = (high - low) * 2 ** ((clientX - from.x) / WHOLE_DRAG);
    const center = (low + high) / 2 + ((high - low) * (clientY - from.y)) / WHOLE_DRAG;
    return [rounded(center - width / 2, width), rounded(center + width / 2, width)];
  };
  return new Follow({
    begins: (event, fingers) => hasOneRange(model) && hands.setsContrast(event, fingers),
    start: ({ originalEvent: { clientX, clientY } }) => {
      const now = model.range.value ?? model.scene.value?.ranges[0];
      from = now ? { range: now, x: clientX, y: clientY } : null;
    },
    move: (event) => {
      clearTimeout(timer);
      timer = window.setTimeout(() => model.range.set(range(event)), EVERY_MS);
    },
    end: (event) => {
      clearTimeout(timer);
      const { clientX, clientY } = event.originalEvent;
      if (from && (clientX !== from.x || clientY !== from.y)) model.range.set(range(event));
      from = null;
    },
    cancel: () => {
      clearTimeout(timer);
      from = null;
    },
  });
}

function rounded(value: number, width: number): number {
  const digits = Math.max(0, 2 - Math.floor(Math.log10(Math.max(width, 1e-9))));
  return Number(value.toFixed(Math.min(digits, 12)));
}
