// Which key does what.

import { TOOLS } from "../panels/toolbar.js";
import type { Desk } from "./desk.js";
import type { Shortcut } from "./keys.js";
import { LARGEST_RADIUS } from "./model.js";
import type { Tries } from "./tries.js";

export interface PageActions {
  save: () => void;
  help: () => void;
  neighbor: (steps: number) => void;
  suggestion: () => void;
}

export function pageShortcuts(desk: Desk, tries: Tries, page: PageActions): Shortcut[] {
  const { model, map } = desk;
  const flip = (signal: { value: boolean; set(value: boolean): void }) => (): void => signal.set(!signal.value);
  const slice = (steps: number) => (): void => {
    const depth = model.scene.value?.shape[1] ?? 1;
    model.slice.set(Math.min(depth - 1, Math.max(0, model.slice.value + steps)));
  };
  const grow = (factor: number) => (): void => {
    const radius =
      factor > 1 ? Math.max(model.radius.value * factor, model.radius.value + 0.5) : model.radius.value * factor;
    model.radius.set(Math.min(LARGEST_RADIUS, Math.max(1, Math.round(2 * radius) / 2)));
  };
  const classes = Array.from(
    { length: 10 },
    (_, value): Shortcut => ({
      keys: [String(value)],
      label: value === 0 ? "Draw background" : `Draw class ${value}`,
      act: () => {
        if (value === 0 || model.classes.value.some((one) => one.value === value)) model.value.set(value);
      },
    }),
  );
  return [
    ...TOOLS.map(({ tool, label, key }): Shortcut => ({ keys: [key], label, act: () => model.tool.set(tool) })),
    { keys: ["["], label: "Smaller brush", act: grow(1 / 1.25) },
    { keys: ["]"], label: "Larger brush", act: grow(1.25) },
    ...classes.slice(0, 1),
    ...classes.slice(1).filter(({ keys }) => Number(keys[0]) <= Math.max(3, model.classes.value.length)),
    { keys: ["X"], label: "Draw in the middle: a spot, or a corner", act: () => map.drawing.mark() },
    { keys: ["Enter"], label: "Close the polygon", act: () => void map.drawing.close() },
    { keys: ["Esc"], label: "Give up the polygon", act: () => map.drawing.cancel() },
    { keys: ["Ctrl+Z"], label: "Undo", act: () => void desk.undo() },
    { keys: ["Ctrl+Shift+Z", "Ctrl+Y"], label: "Redo", act: () => void desk.redo() },
    { keys: ["T"], label: "Try what I see", act: () => void tries.now() },
    { keys: ["A"], label: "Try by itself after each stroke, or not", act: flip(model.autoTry) },
    { keys: ["L"], label: "Show or hide labels", act: flip(model.labelsShown) },
    {
      keys: ["M"],
      label: "Show or hide what was found",
      act: () => model.view.set(model.view.value === "none" ? "mask" : "none"),
    },
    { keys: ["V"], label: "Outline or area", act: flip(model.outlined) },
    { keys: ["W"], label: "Swipe to compare", act: () => model.swipe.set(model.swipe.value === null ? 0.5 : null) },
    { keys: ["F"], label: "Show the whole scene", act: () => map.fit() },
    { keys: ["+", "="], label: "Zoom in", act: () => map.zoom(1) },
    { keys: ["-"], label: "Zoom out", act: () => map.zoom(-1) },
    { keys: ["Page up"], label: "Next slice", act: slice(1) },
    { keys: ["Page down"], label: "Previous slice", act: slice(-1) },
    { keys: ["."], label: "Next scene", act: () => page.neighbor(1) },
    { keys: [","], label: "Previous scene", act: () => page.neighbor(-1) },
    { keys: ["N"], label: "Next suggestion of what to label", act: page.suggestion },
    { keys: ["Ctrl+S"], label: "Save labels into the pipeline file", act: page.save },
    { keys: ["?"], label: "This help", act: page.help },
  ];
}
