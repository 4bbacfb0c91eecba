// The tools over the map, and undo and redo.

import type { Desk } from "../app/desk.js";
import type { Tool } from "../app/model.js";
import { iconButton, pressed } from "../core/controls.js";
import { h } from "../core/dom.js";
import type { Icon } from "../core/icons.js";
import { followAll } from "../core/signal.js";
import { hasOneRange } from "../map/contrast.js";

export const TOOLS: { tool: Tool; label: string; key: string; icon: Icon }[] = [
  { tool: "brush", label: "Brush", key: "B", icon: "brush" },
  { tool: "eraser", label: "Eraser", key: "E", icon: "eraser" },
  { tool: "polygon", label: "Polygon: click its corners, or drag around", key: "P", icon: "polygon" },
  { tool: "point", label: "Point: one spot of the brush's size", key: "O", icon: "point" },
  { tool: "pan", label: "Move the picture", key: "H", icon: "pan" },
  { tool: "contrast", label: "Brightness and contrast: drag", key: "C", icon: "contrast" },
];

export function toolbar(desk: Desk): HTMLElement {
  const { model } = desk;
  const buttons = TOOLS.map(({ tool, label, key, icon }) => {
    const button = iconButton({ label, icon, key, class: "tool", act: () => model.tool.set(tool) });
    model.tool.follow((now) => pressed(button, now === tool));
    if (tool === "contrast") model.scene.follow(() => button.toggleAttribute("hidden", !hasOneRange(model)));
    return button;
  });
  const undo = iconButton({ label: "Undo", icon: "undo", key: "Ctrl+Z", class: "tool", act: () => void desk.undo() });
  const redo = iconButton({
    label: "Redo",
    icon: "redo",
    key: "Ctrl+Shift+Z",
    class: "tool",
    act: () => void desk.redo(),
  });
  followAll([model.labels, desk.outbox.state], () => {
    undo.disabled = !model.labels.value?.undo && desk.outbox.state.value.waiting === 0;
    redo.disabled = !model.labels.value?.redo;
  });
  return h(
    "div",
    { class: "toolbar", role: "toolbar", "aria-label": "Tools", "aria-orientation": "vertical" },
    ...buttons,
    h("hr"),
    undo,
    redo,
  );
}
