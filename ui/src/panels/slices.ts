// The slices of a volume, and the window and level of its pixels.

import type { Range } from "../api/types.js";
import type { Desk } from "../app/desk.js";
import { iconButton } from "../core/controls.js";
import { fill, freshId, h, say } from "../core/dom.js";
import { short } from "../core/format.js";
import { followAll } from "../core/signal.js";
import { hasOneRange } from "../map/contrast.js";

export function sliceSlider(desk: Desk): HTMLElement {
  const { model } = desk;
  const id = freshId();
  const input = h("input", { id, type: "range", min: 0, step: 1 });
  const output = h("output", { for: id });
  const marks = h("div", { class: "marks", "aria-hidden": "true" });
  const go = (steps: number): void => {
    const depth = model.scene.value?.shape[1] ?? 1;
    model.slice.set(Math.min(depth - 1, Math.max(0, model.slice.value + steps)));
  };
  input.addEventListener("input", () => model.slice.set(Number(input.value)));
  const bar = h(
    "div",
    { class: "slices" },
    iconButton({ label: "Previous slice", icon: "previous", key: "Page down", act: () => go(-1) }),
    h("label", { class: "visually-hidden", for: id }, "Slice"),
    h("div", { class: "track" }, input, marks),
    output,
    iconButton({ label: "Next slice", icon: "next", key: "Page up", act: () => go(1) }),
  );
  followAll([model.scene, model.slice, model.labels], () => {
    const depth = model.scene.value?.shape[1] ?? 1;
    bar.hidden = depth === 1;
    input.max = String(depth - 1);
    input.value = String(model.slice.value);
    const labelled = Object.keys(model.labels.value?.slices ?? {}).map(Number);
    const here = labelled.includes(model.slice.value) ? ", labelled" : "";
    input.setAttribute("aria-valuetext", `slice ${model.slice.value + 1} of ${depth}${here}`);
    say(output, `${model.slice.value + 1} / ${depth}`);
    fill(
      marks,
      ...labelled.map((z) => {
        const mark = h("span");
        mark.style.left = `${(100 * z) / Math.max(1, depth - 1)}%`;
        return mark;
      }),
    );
  });
  return bar;
}

/** Ranges of values to look at, by name. */
export function rangePicker(desk: Desk): HTMLElement {
  const { model } = desk;
  const id = freshId();
  const select = h("select", { id });
  const box = h("div", { class: "range" }, h("label", { for: id }, "Contrast"), select);
  followAll([model.scene, model.range, model.studio], () => {
    const own = model.scene.value?.ranges[0];
    box.hidden = !hasOneRange(model);
    const options = new Map<string, string>([
      ["", own ? `as the network sees it (${told(own)})` : "as the network sees it"],
    ]);
    for (const { name, low, high } of model.studio.value.windows) {
      if (low !== own?.[0] || high !== own?.[1]) options.set(`${low},${high}`, `${name} (${told([low, high])})`);
    }
    const now = model.range.value ? model.range.value.join(",") : "";
    if (model.range.value && !options.has(now)) options.set(now, `by hand (${told(model.range.value)})`);
    fill(select, ...[...options].map(([value, text]) => h("option", { value }, text)));
    select.value = now;
  });
  select.addEventListener("change", () => {
    const [low, high] = select.value.split(",").map(Number);
    model.range.set(select.value === "" || low === undefined || high === undefined ? null : [low, high]);
  });
  return box;
}

function told([low, high]: Range): string {
  return `${short(low)} to ${short(high)}`;
}
