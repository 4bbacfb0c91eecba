// Hands on the map: what draws, what pans, what changes the window and level.

import { shiftKeyOnly } from "ol/events/condition.js";
import PointerInteraction from "ol/interaction/Pointer.js";
import { DragPan, KeyboardPan, KeyboardZoom, MouseWheelZoom, PinchZoom } from "ol/interaction.js";
import Kinetic from "ol/Kinetic.js";
import type MapBrowserEvent from "ol/MapBrowserEvent.js";
import type { Tool } from "../app/model.js";

type Event = MapBrowserEvent<PointerEvent>;

/** Says what a pointer is for. Once a pen was seen, fingers pan and the pen draws. */
export class Hands {
  space = false;
  #pen = false;

  constructor(private readonly tool: () => Tool) {
    window.addEventListener("blur", () => {
      this.space = false;
    });
  }

  notice(event: PointerEvent): void {
    if (event.pointerType === "pen") this.#pen = true;
  }

  pans(event: PointerEvent, fingers: number): boolean {
    if (fingers > 1 || event.button === 1 || event.buttons === 4) return true;
    if (event.button === 2 || event.buttons === 2) return false;
    return this.space || this.tool() === "pan" || (this.#pen && event.pointerType === "touch");
  }

  setsContrast(event: PointerEvent, fingers: number): boolean {
    if (fingers > 1) return false;
    return event.button === 2 || (event.button === 0 && this.tool() === "contrast" && !this.space);
  }

  draws(event: PointerEvent, fingers: number): boolean {
    const drawing = this.tool() !== "pan" && this.tool() !== "contrast";
    return drawing && event.button === 0 && !this.pans(event, fingers);
  }
}

/** What moves the view; `slices` is called for a wheel that turns over a volume, with +1 or -1. */
export function navigation(
  hands: Hands,
  isVolume: () => boolean,
): (DragPan | PinchZoom | MouseWheelZoom | KeyboardPan | KeyboardZoom)[] {
  return [
    new DragPan({
      kinetic: new Kinetic(-0.005, 0.05, 100),
      condition(event) {
        const original = event.originalEvent;
        return original instanceof PointerEvent && hands.pans(original, event.activePointers?.length ?? 1);
      },
    }),
    new PinchZoom(),
    new MouseWheelZoom({ condition: (event) => !isVolume() || event.originalEvent.ctrlKey }),
    new KeyboardPan({ pixelDelta: 96 }),
    new KeyboardPan({ pixelDelta: 8, condition: shiftKeyOnly }),
    new KeyboardZoom({ duration: 150 }),
  ];
}

/** Drags that are followed from down to up; a second finger takes them back. */
export class Follow extends PointerInteraction {
  constructor(
    private readonly what: {
      begins: (event: PointerEvent, fingers: number) => boolean;
      start: (event: Event) => void;
      move: (event: Event) => void;
      end: (event: Event) => void;
      cancel: () => void;
    },
  ) {
    super();
  }

  override handleDownEvent(event: Event): boolean {
    if (!this.what.begins(event.originalEvent, event.activePointers?.length ?? 1)) return false;
    this.what.start(event);
    return true;
  }

  override handleDragEvent(event: Event): void {
    if ((event.activePointers?.length ?? 1) > 1) {
      this.handlingDownUpSequence = false;
      this.what.cancel();
      return;
    }
    this.what.move(event);
  }

  override handleUpEvent(event: Event): boolean {
    this.what.end(event);
    return false;
  }
}
