// Trying: what the network finds with the examples as they are, and how that is shown.

import type { Desk } from "../app/desk.js";
import type { View } from "../app/model.js";
import { LARGEST_SIDE, type Tries } from "../app/tries.js";
import { choices, section, slider, textButton, toggle } from "../core/controls.js";
import { fill, freshId, h } from "../core/dom.js";
import { area, percent, seconds, whole } from "../core/format.js";
import { followAll, Signal } from "../core/signal.js";

const VIEWS: { value: View; label: string; title: string }[] = [
  { value: "mask", label: "Mask", title: "What was found" },
  { value: "score", label: "Score", title: "How likely each pixel is the class: from dark blue to yellow" },
  { value: "uncertainty", label: "Unsure", title: "Where the network is not sure: from dark blue to yellow" },
  { value: "result", label: "Last run", title: "The mask that the last run published" },
  { value: "none", label: "None", title: "The picture alone" },
];

const TRY = "Try what I see";

export function tryPanel(desk: Desk, tries: Tries): HTMLElement {
  const { model } = desk;
  const go = textButton({
    label: TRY,
    icon: "spark",
    key: "T",
    class: "primary wide",
    act: () => void tries.now(),
  });
  const label = go.querySelector("span");
  let timer = 0;
  model.trying.follow((trying) => {
    go.setAttribute("aria-busy", String(trying));
    go.classList.toggle("busy", trying);
    clearInterval(timer);
    if (label) label.textContent = TRY;
    const start = Date.now();
    // The first try loads the network, and reads all examples: say that it goes on.
    const tell = (): void => {
      const passed = Math.floor((Date.now() - start) / 1000);
      if (label && passed > 0) label.textContent = `Trying … ${passed} s`;
    };
    if (trying) timer = window.setInterval(tell, 500);
  });
  return section(
    "Try",
    go,
    toggle("Try by itself after each stroke", model.autoTry, "A"),
    result(desk, tries),
    h("h4", {}, "Show"),
    choices("What is shown over the picture", model.view, VIEWS),
    scoreClass(desk),
    slider("Opacity", model.maskOpacity, { min: 0.05, max: 1, step: 0.05, shown: percent }),
    toggle("Outline only", model.outlined, "V"),
    swipeToggle(desk),
  );
}

function result(desk: Desk, tries: Tries): HTMLElement {
  const { model } = desk;
  const box = h("div", { class: "result" });
  followAll([model.attempt, model.classes, tries.cropped], () => {
    const attempt = model.attempt.value;
    if (!attempt) {
      fill(box, h("p", { class: "muted" }, "Draw a little of each thing, then try. Background is a thing, too."));
      return;
    }
    const rows = Object.entries(attempt.pixels).map(([name, pixels]) => {
      const swatch = h("span", { class: "swatch" });
      swatch.style.backgroundColor = model.classes.value.find((one) => one.name === name)?.color ?? "transparent";
      return h(
        "tr",
        {},
        h("th", { scope: "row" }, swatch, name),
        h("td", {}, `${whole(pixels)} px`),
        h("td", {}, size(desk, pixels)),
      );
    });
    const took = Object.values(attempt.seconds).reduce((sum, part) => sum + part, 0);
    fill(
      box,
      h("table", {}, h("tbody", {}, ...rows)),
      h(
        "p",
        { class: "muted" },
        `In ${seconds(took)}${tries.cropped.value ? `, in the middle ${LARGEST_SIDE} × ${LARGEST_SIDE} pixels` : ""}.`,
      ),
      h("p", { class: "hint" }, "Wrong somewhere? Paint it right: corrections are examples."),
    );
  });
  return box;
}

/** The area of pixels in the scene's units; empty where they are unknown. */
function size(desk: Desk, pixels: number): string {
  const scene = desk.model.scene.value;
  if (scene?.pixel_size_m) return area(pixels * scene.pixel_size_m[0] * scene.pixel_size_m[1]);
  if (scene?.spacing_mm) return area((pixels * scene.spacing_mm[1] * scene.spacing_mm[2]) / 1e6);
  return "";
}

function scoreClass(desk: Desk): HTMLElement {
  const { model } = desk;
  const id = freshId();
  const select = h("select", { id });
  select.addEventListener("change", () => model.scoreClass.set(select.value));
  const row = h("div", { class: "field" }, h("label", { for: id }, "Score of"), select);
  followAll([model.classes, model.scoreClass, model.view], () => {
    fill(select, ...model.classes.value.map(({ name }) => h("option", { value: name }, name)));
    select.value = model.scoreClass.value;
    row.hidden = model.view.value !== "score" || model.classes.value.length < 2;
  });
  return row;
}

function swipeToggle(desk: Desk): HTMLElement {
  const on = new Signal(desk.model.swipe.value !== null);
  on.onChange((value) => {
    if (value !== (desk.model.swipe.value !== null)) desk.model.swipe.set(value ? 0.5 : null);
  });
  desk.model.swipe.onChange((share) => on.set(share !== null));
  return toggle("Swipe to compare", on, "W");
}
