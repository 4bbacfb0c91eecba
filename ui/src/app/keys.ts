// Keyboard shortcuts.

import { setting } from "../core/settings.js";

/** Single letters may be in the way of speech input and screen readers, so they can be switched off. */
export const shortcutsOn = setting("shortcuts", true);

export interface Shortcut {
  /** As people read them: the last part is the key, before it Ctrl or Shift. */
  keys: string[];
  label: string;
  act: () => void;
}

const NAMES: Record<string, string> = { pageup: "Page up", pagedown: "Page down", escape: "Esc", enter: "Enter" };

/** Listens to all keys that no field or dialog wants. */
export function listenToKeys(shortcuts: Shortcut[]): void {
  const acts = new Map(shortcuts.flatMap(({ keys, act }) => keys.map((key) => [key.toLowerCase(), act] as const)));
  window.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || document.querySelector("dialog[open]") || isTyping(event)) return;
    const name = keyName(event);
    const act = acts.get(name.toLowerCase());
    if (!act || (!shortcutsOn.value && !event.ctrlKey && !event.metaKey && event.key.length === 1)) return;
    if (event.key === "Enter" && event.target instanceof Element && event.target.closest("a, button, summary")) return;
    event.preventDefault();
    act();
  });
}

function keyName(event: KeyboardEvent): string {
  const key = NAMES[event.key.toLowerCase()] ?? event.key;
  if (event.ctrlKey || event.metaKey) return `Ctrl+${event.shiftKey ? "Shift+" : ""}${key}`;
  return key;
}

function isTyping({ target, key }: KeyboardEvent): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement && target.type === "range") return key.startsWith("Page");
  if (target instanceof HTMLInputElement) return target.type !== "checkbox" && target.type !== "radio";
  return target instanceof HTMLTextAreaElement || target instanceof HTMLSelectElement || target.isContentEditable;
}
