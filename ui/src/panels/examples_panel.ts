// The examples: how well each is found from the others, and what is wrong with it.

import { reachable } from "../api/http.js";
import type { Example } from "../api/types.js";
import type { Desk } from "../app/desk.js";
import { iconButton } from "../core/controls.js";
import { fill, h } from "../core/dom.js";
import { count } from "../core/format.js";
import { followAll } from "../core/signal.js";

/** How often the panel looks whether the examples have judged each other. */
const LOOK_MS = 3000;

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
  const body = h(
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
  window.setInterval(() => {
    const seen = body.offsetParent !== null && reachable.value === "yes";
    if (seen && !model.examples.value.settled) void desk.refreshExamples();
  }, LOOK_MS);
  return body;
}

function card(desk: Desk, example: Example): HTMLElement {
  const { class_name, name, scene, target, background, iou, note } = example;
  const swatch = h("span", { class: "swatch" });
  swatch.style.backgroundColor =
    desk.model.classes.value.find((one) => one.name === class_name)?.color ?? "transparent";
  const title = scene
    ? h("button", { type: "button", class: "link", onclick: () => void desk.open(scene) }, name)
    : h("span", { class: "title" }, name);
  const remove =
    scene && target > 0
      ? iconButton({
          label: `Remove the labels of ${class_name} on ${scene}`,
          icon: "trash",
          act: () => {
            if (confirm(`Remove all labels of "${class_name}" on ${scene}?`))
              void desk.removeExample(scene, class_name);
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
    target === 0 && background > 0
      ? h("p", { class: "muted" }, "Shows background only: it says what the class is not.")
      : agreement(iou, !desk.model.examples.value.settled),
    note ? h("p", { class: "note" }, note) : null,
  );
}

function agreement(iou: number | null, soon: boolean): HTMLElement {
  if (iou === null) {
    const text = soon
      ? "How well the others find it is found out when you rest."
      : "Not found from others: that needs two examples of the class.";
    return h("p", { class: "muted" }, text);
  }
  const bar = h("meter", { min: 0, max: 1, low: 0.5, high: 0.75, optimum: 1, value: iou, "aria-label": "IoU" });
  return h("div", { class: "agreement" }, bar, h("span", {}, `IoU ${iou.toFixed(2)} on the pixels that are labelled`));
}
