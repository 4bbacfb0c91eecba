// Controls that several panels use.

import { freshId, h, setAttribute } from "./dom.js";
import { type Icon, icon } from "./icons.js";
import type { Signal } from "./signal.js";

interface Button {
  label: string;
  icon?: Icon;
  /** The key that does the same. */
  key?: string;
  class?: string;
  act: () => void;
}

/** A button that shows an icon only; its label is its name and its tip. */
export function iconButton({
  label,
  icon: name,
  key,
  class: kind = "quiet",
  act,
}: Button & { icon: Icon }): HTMLButtonElement {
  return h(
    "button",
    {
      type: "button",
      class: `${kind} icon-only`,
      "aria-label": label,
      "aria-keyshortcuts": key ?? null,
      title: key ? `${label} (${key})` : label,
      onclick: act,
    },
    icon(name),
  );
}

/** A button with a text, and an icon before it. */
export function textButton({ label, icon: name, key, class: kind = "", act }: Button): HTMLButtonElement {
  return h(
    "button",
    { type: "button", class: kind || null, title: key ? `${label} (${key})` : null, onclick: act },
    name ? icon(name) : null,
    h("span", {}, label),
    key ? h("kbd", { "aria-hidden": "true" }, key) : null,
  );
}

/** A slider that follows a signal. */
export function slider(
  label: string,
  signal: Signal<number>,
  { min, max, step, shown }: { min: number; max: number; step: number; shown: (value: number) => string },
): HTMLElement {
  const id = freshId();
  const output = h("output", { for: id });
  const input = h("input", { id, type: "range", min, max, step });
  input.addEventListener("input", () => signal.set(Number(input.value)));
  signal.follow((value) => {
    input.value = String(value);
    input.setAttribute("aria-valuetext", shown(value));
    output.textContent = shown(value);
  });
  return h("div", { class: "slider" }, h("label", { for: id }, label), output, input);
}

/** A switch that follows a signal. */
export function toggle(label: string, signal: Signal<boolean>, key?: string): HTMLElement {
  const id = freshId();
  const input = h("input", { id, type: "checkbox", role: "switch", "aria-keyshortcuts": key ?? null });
  input.addEventListener("change", () => signal.set(input.checked));
  signal.follow((value) => {
    input.checked = value;
  });
  const title = key ? `${label} (${key})` : null;
  return h("label", { class: "toggle", for: id, title }, input, h("span", {}, label));
}

/** A row of choices of which one is taken. */
export function choices<T extends string>(
  label: string,
  signal: Signal<T>,
  options: { value: T; label: string; title?: string }[],
): HTMLElement {
  const group = freshId();
  const inputs = options.map(({ value, label: text, title }) => {
    const input = h("input", { type: "radio", name: group, value });
    input.addEventListener("change", () => signal.set(value));
    signal.follow((now) => {
      input.checked = now === value;
    });
    return h("label", { title: title ?? null }, input, h("span", {}, text));
  });
  return h("div", { class: "choices", role: "radiogroup", "aria-label": label }, ...inputs);
}

/** A part of a panel under a heading. */
export function section(title: string, ...children: (Node | null)[]): HTMLElement {
  return h("section", { class: "part" }, h("h3", {}, title), ...children);
}

/** Marks a button as pressed while a condition holds. */
export function pressed(button: HTMLElement, on: boolean): void {
  setAttribute(button, "aria-pressed", on ? "true" : "false");
}
