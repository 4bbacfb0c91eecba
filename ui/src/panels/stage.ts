// What lies over the map: tools, banners, slices, zoom, the place under the pointer.

import { reachable } from "../api/http.js";
import type { Desk } from "../app/desk.js";
import { sentence } from "../app/notices.js";
import type { Tries } from "../app/tries.js";
import { iconButton } from "../core/controls.js";
import { h, say } from "../core/dom.js";
import { followAll } from "../core/signal.js";
import { swipeHandle } from "../map/swipe.js";
import { unsavedBanner } from "./label_panel.js";
import { rangePicker, sliceSlider } from "./slices.js";
import { toolbar } from "./toolbar.js";

export function stageOf(target: HTMLElement): HTMLElement {
  return h("div", { class: "stage" }, target);
}

export function mapParts(stage: HTMLElement, desk: Desk, tries: Tries): void {
  const { map } = desk;
  stage.append(
    toolbar(desk),
    h("div", { class: "banners" }, awayBanner(), unsavedBanner(desk), sceneBanner(desk), loadingBanner(tries)),
    welcome(desk),
    swipeHandle(desk.model, stage, () => map.redraw()),
    foot(desk),
    h(
      "div",
      { class: "zoom", role: "group", "aria-label": "Zoom" },
      iconButton({ label: "Zoom in", icon: "plus", key: "+", class: "tool", act: () => map.zoom(1) }),
      iconButton({ label: "Zoom out", icon: "minus", key: "-", class: "tool", act: () => map.zoom(-1) }),
      iconButton({ label: "Show the whole scene", icon: "fit", key: "F", class: "tool", act: () => map.fit() }),
    ),
  );
  holdSpace(desk);
  cursor(desk);
}

function awayBanner(): HTMLElement {
  const text = h("p");
  const banner = h("div", { class: "banner error", role: "alert" }, text);
  reachable.follow((state) => {
    banner.hidden = state === "yes";
    if (state === "no")
      say(text, "The studio's server does not answer. What you draw is kept here and sent when it is back.");
    if (state === "locked") {
      say(
        text,
        "This browser has not been let in: the studio was started anew. Open the address that it printed in the terminal. What you drew is kept here.",
      );
    }
  });
  return banner;
}

/** Why the open scene is quarantined or cannot be read in full, and what was noticed of it. */
function sceneBanner(desk: Desk): HTMLElement {
  const text = h("p");
  const close = iconButton({ label: "Dismiss", icon: "close", act: () => banner.toggleAttribute("hidden", true) });
  const banner = h("div", { class: "banner warned", role: "status" }, text, close);
  desk.model.scene.follow((scene) => {
    const { what = "", remedy = "" } = scene?.error ?? {};
    const told: string[] = [];
    if (scene?.state === "quarantined") told.push(`Quarantined: ${what}`, remedy);
    if (scene?.state === "unreadable") told.push(`Cannot be read: ${what}`, remedy);
    for (const warning of scene?.warnings ?? []) told.push(warning.what, warning.remedy);
    banner.hidden = told.length === 0;
    say(text, told.filter(Boolean).map(sentence).join(" "));
  });
  return banner;
}

function welcome(desk: Desk): HTMLElement {
  const box = h(
    "div",
    { class: "welcome" },
    h("h2", {}, "Choose a scene"),
    h("p", {}, "Open one from the archive, paint a little of what you look for and of what it is not, and try."),
  );
  followAll([desk.model.scene, desk.model.opening], () => {
    box.hidden = desk.model.scene.value !== null || desk.model.opening.value !== null;
  });
  return box;
}

/** A first try takes longer: says why, where the person looks. */
function loadingBanner(tries: Tries): HTMLElement {
  const banner = h(
    "div",
    { class: "banner info", role: "status" },
    h("p", {}, "Loading the network and the examples: a few seconds, once."),
  );
  tries.warming.follow((warming) => {
    banner.hidden = !warming;
  });
  return banner;
}

/** The line below the map; without a scene there is nothing to say in it. */
function foot(desk: Desk): HTMLElement {
  const bar = h(
    "div",
    { class: "foot" },
    h("div", { class: "foot-line" }, place(desk), rangePicker(desk)),
    sliceSlider(desk),
  );
  desk.model.scene.follow((scene) => {
    bar.hidden = scene === null;
  });
  return bar;
}

/** The pixel under the pointer, and the magnification. */
function place(desk: Desk): HTMLElement {
  const text = h("p", { class: "place", "aria-hidden": "true" });
  const { map } = desk.map;
  let at = "";
  const show = (): void => {
    const resolution = map.getView().getResolution();
    const zoom = resolution && desk.map.grid ? `${Math.round(100 / resolution)} %` : "";
    say(text, [at, zoom].filter(Boolean).join(" · "));
  };
  map.on("pointermove", (event) => {
    const [x = 0, y = 0] = desk.map.grid?.toScene(event.coordinate as number[]) ?? [];
    const { width = 0, height = 0 } = desk.map.grid ?? {};
    at = x >= 0 && y >= 0 && x < width && y < height ? `x ${Math.floor(x)}, y ${Math.floor(y)}` : "";
    show();
  });
  map.on("moveend", show);
  return text;
}

/** Space moves the picture for as long as it is held. */
function holdSpace(desk: Desk): void {
  const set = (held: boolean): void => {
    desk.map.hands.space = held;
    desk.map.target.classList.toggle("panning", held);
  };
  window.addEventListener("keydown", (event) => {
    const elsewhere =
      event.target instanceof Element && event.target.closest("button, input, select, textarea, a, dialog");
    if (event.key !== " " || elsewhere) return;
    event.preventDefault();
    set(true);
  });
  window.addEventListener("keyup", (event) => {
    if (event.key === " ") set(false);
  });
  window.addEventListener("blur", () => set(false));
}

function cursor(desk: Desk): void {
  desk.model.tool.follow((tool) => {
    desk.map.target.dataset.tool = tool;
  });
}
