// The examples: how well each is found from the others, and what is wrong with it.

import type { Example } from "../api/types.js";
import type { Desk } from "../app/desk.js";
import { iconButton } from "../core/controls.js";
import { fill, h } from "../core/dom.js";
import { count } from "../core/format.js";
import { followAll } from "../core/signal.js";

export function examplesPanel(desk: Desk): HTMLElement {
  const { model } = desk;
  const list = h("ul", { class: "cards" });
  const state = h("p", { class: "muted" });
  followAll([model.examples, model.classes], () => {
    const { examples, saved } = model.examples.value;
    fill(list, ...examples.map((example) => card(desk, example)));
    state.textContent =
      examples.length === 0
        ? "There is no example yet. Open a scene, choose a class, and draw a little of it and of what it is not."
        : saved
          ? "All of them stand in the pipeline file."
          : "New labels do not stand in the pipeline file yet. Save enters them.";
  });
  return h(
    "div",
    { class: "panel-body" },
    h(
      "p",
      { class: "lead" },
      "What the network learns from. The bar says how well an example is found from the others alone.",
    ),
    state,
    list,
  );
}

function card(desk: Desk, example: Example): HTMLElement {
  const { class_name, name, scene, target, background, iou, note } = example;
  const swatch = h("span", { class: "swatch" });
  swatch.style.backgroundColor =
    desk.model.classes.value.find((one) => one.name === class_name)?.color ?? "transparent";
  const title = scene
    ? h("button", { type: "button", class: "link", onclick: () => void desk.open(scene) }, name)
    : h("span", { class: "title" }, name);
  const remove = scene
    ? iconButton({
        label: `Remove the labels of ${class_name} on ${scene}`,
        icon: "trash",
        act: () => {
          if (confirm(`Remove all labels of "${class_name}" on ${scene}?`)) void desk.removeExample(scene, class_name);
        },
      })
    : null;
  return h(
    "li",
    { class: "card" },
    h("div", { class: "card-head" }, swatch, title, remove),
    h(
      "p",
      { class: "muted" },
      `${class_name}: ${count(target, "pixel")}, background: ${count(background, "pixel")}${scene ? "" : " · pipeline file"}`,
    ),
    agreement(iou),
    note ? h("p", { class: "note" }, note) : null,
  );
}

function agreement(iou: number | null): HTMLElement {
  if (iou === null)
    return h("p", { class: "muted" }, "Not found from others yet: that needs two examples of the class.");
  const bar = h("meter", { min: 0, max: 1, low: 0.5, high: 0.75, optimum: 1, value: iou, "aria-label": "IoU" });
  return h("div", { class: "agreement" }, bar, h("span", {}, `IoU ${iou.toFixed(2)}`));
}
