// The panel beside the map: one tab a subject.

import type { Desk } from "../app/desk.js";
import type { Tries } from "../app/tries.js";
import type { Watch } from "../app/watch.js";
import { freshId, h } from "../core/dom.js";
import { examplesPanel } from "./examples_panel.js";
import { labelPanel } from "./label_panel.js";
import type { NextPanel } from "./next_panel.js";
import { runPanel } from "./run_panel.js";
import { tryPanel } from "./try_panel.js";

interface Tab {
  label: string;
  body: HTMLElement;
  shown?: () => void;
}

export function sidePanel(desk: Desk, tries: Tries, watch: Watch, next: NextPanel): HTMLElement {
  const tabs: Tab[] = [
    { label: "Label", body: h("div", { class: "panel-body" }, labelPanel(desk), tryPanel(desk, tries)) },
    { label: "Examples", body: examplesPanel(desk), shown: () => void desk.refreshExamples() },
    { label: "Next", body: next.element, shown: () => void next.look() },
    { label: "Run", body: runPanel(desk, watch) },
  ];
  const ids = tabs.map(() => [freshId(), freshId()] as const);
  const buttons = tabs.map(({ label }, index) =>
    h(
      "button",
      {
        type: "button",
        role: "tab",
        id: ids[index]?.[0] ?? "",
        "aria-controls": ids[index]?.[1] ?? "",
        onclick: () => show(index),
      },
      label,
    ),
  );
  const panels = tabs.map(({ body }, index) =>
    h(
      "div",
      {
        class: "panel",
        role: "tabpanel",
        tabindex: 0,
        id: ids[index]?.[1] ?? "",
        "aria-labelledby": ids[index]?.[0] ?? "",
      },
      body,
    ),
  );
  const show = (chosen: number): void => {
    for (const [index, button] of buttons.entries()) {
      button.setAttribute("aria-selected", String(index === chosen));
      button.tabIndex = index === chosen ? 0 : -1;
    }
    for (const [index, panel] of panels.entries()) panel.hidden = index !== chosen;
    tabs[chosen]?.shown?.();
  };
  const bar = h("div", { class: "tabs", role: "tablist", "aria-label": "Work" }, ...buttons);
  bar.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    const from = buttons.indexOf(document.activeElement as HTMLButtonElement);
    if (step === undefined || from < 0) return;
    event.preventDefault();
    const to = (from + step + buttons.length) % buttons.length;
    show(to);
    buttons[to]?.focus();
  });
  show(0);
  watch.run.follow(({ state }) => buttons[3]?.classList.toggle("busy", state === "running" || state === "stopping"));
  return h("aside", { class: "side", "aria-label": "Tools and results" }, bar, ...panels);
}
