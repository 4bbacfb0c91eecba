// What is drawn with: classes, the size of the brush, and how labels are shown.

import type { Desk } from "../app/desk.js";
import { BACKGROUND, LARGEST_RADIUS } from "../app/model.js";
import { sentence } from "../app/notices.js";
import { pressed, section, slider, textButton, toggle } from "../core/controls.js";
import { fill, freshId, h, say } from "../core/dom.js";
import { count, percent } from "../core/format.js";
import { followAll } from "../core/signal.js";

/** Colors that people with color blindness tell apart (Okabe and Ito, 2008): offered in this order. */
const COLORS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"];

export function labelPanel(desk: Desk): HTMLElement {
  const { model } = desk;
  return section(
    "Draw",
    classList(desk),
    newClass(desk),
    slider("Brush size", model.radius, {
      min: 1,
      max: LARGEST_RADIUS,
      step: 0.5,
      shown: (radius) => `${Math.round(2 * radius)} px`,
    }),
    slider("Labels' opacity", model.labelOpacity, { min: 0.1, max: 1, step: 0.05, shown: percent }),
    toggle("Show labels", model.labelsShown, "L"),
  );
}

function classList(desk: Desk): HTMLElement {
  const { model } = desk;
  const list = h("div", { class: "classes", role: "group", "aria-label": "Class to draw" });
  const counts = new Map<number, HTMLElement>();
  const buttons = new Map<number, HTMLElement>();
  const choose = (): void => {
    for (const [value, button] of buttons) pressed(button, value === model.value.value);
  };
  const tell = (): void => {
    for (const [value, output] of counts) {
      let pixels = 0;
      for (const slice of Object.values(model.labels.value?.slices ?? {})) pixels += slice[value] ?? 0;
      say(output, pixels > 0 ? count(pixels, "pixel") : "");
    }
  };
  model.classes.follow((classes) => {
    counts.clear();
    buttons.clear();
    const rows = [...classes, { value: 0, name: "background", color: BACKGROUND }].map(({ value, name, color }) => {
      const output = h("span", { class: "count" });
      counts.set(value, output);
      const swatch = h("span", { class: "swatch" });
      swatch.style.backgroundColor = color;
      const key = value <= 9 ? h("kbd", { "aria-hidden": "true" }, String(value)) : null;
      const button = h(
        "button",
        { type: "button", class: "class", onclick: () => take(value) },
        swatch,
        h("span", { class: "name" }, name),
        output,
        key,
      );
      buttons.set(value, button);
      return button;
    });
    fill(list, ...rows);
    choose();
    tell();
  });
  const take = (value: number): void => {
    model.value.set(value);
    if (model.tool.value === "pan" || model.tool.value === "contrast" || model.tool.value === "eraser") {
      model.tool.set("brush");
    }
  };
  model.value.onChange(choose);
  model.labels.onChange(tell);
  return list;
}

function newClass(desk: Desk): HTMLElement {
  const ids = [freshId(), freshId()];
  const name = h("input", { id: ids[0] ?? "", type: "text", maxlength: 100, required: true, placeholder: "name" });
  const color = h("input", { id: ids[1] ?? "", type: "color" });
  const form = h(
    "form",
    { class: "new-class" },
    h("label", { class: "visually-hidden", for: ids[0] ?? "" }, "Name of the new class"),
    name,
    h("label", { class: "visually-hidden", for: ids[1] ?? "" }, "Color of the new class"),
    color,
    h("button", { type: "submit" }, "Add"),
  );
  const open = textButton({ label: "Add a class", icon: "plus", class: "quiet small", act: () => show(true) });
  const show = (shown: boolean): void => {
    form.hidden = !shown;
    open.hidden = shown;
    if (shown) {
      const used = desk.model.classes.value.map((one) => one.color);
      color.value = COLORS.find((one) => !used.includes(one)) ?? "#888888";
      name.focus();
    }
  };
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    if (await desk.addClass(name.value.trim(), color.value)) {
      name.value = "";
      show(false);
    }
  });
  form.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      event.stopPropagation();
      show(false);
      open.focus();
    }
  });
  show(false);
  return h("div", {}, open, form);
}

/** Says what is not saved, over the map. */
export function unsavedBanner(desk: Desk): HTMLElement {
  const text = h("p");
  const banner = h(
    "div",
    { class: "banner error", role: "alert" },
    text,
    h("button", { type: "button", class: "small", onclick: () => void desk.outbox.flush() }, "Try now"),
    h("button", { type: "button", class: "small quiet", onclick: () => void desk.discardUnsaved() }, "Discard them"),
  );
  followAll([desk.outbox.state], () => {
    const { waiting, trouble, kept } = desk.outbox.state.value;
    banner.hidden = trouble === null;
    if (!trouble) return;
    const where = kept ? "They are kept in this browser." : "This browser keeps nothing: leave this page open.";
    const unsaved = `${count(waiting, "stroke is", "strokes are")} not saved: ${trouble.what}`;
    say(text, [unsaved, where, trouble.remedy].filter(Boolean).map(sentence).join(" "));
  });
  return banner;
}
