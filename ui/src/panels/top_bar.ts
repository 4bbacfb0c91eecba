// The bar on top: what is open, whether all is saved, and what concerns the page as a whole.

import type { Desk } from "../app/desk.js";
import { iconButton, textButton } from "../core/controls.js";
import { h, say, setAttribute } from "../core/dom.js";
import { setting } from "../core/settings.js";
import { followAll } from "../core/signal.js";

export interface TopActions {
  save: () => void;
  help: () => void;
  previous: () => void;
  next: () => void;
}

export function topBar(desk: Desk, actions: TopActions): HTMLElement {
  const { model, outbox } = desk;
  const title = h("h1", {}, model.studio.value.pipeline.name);
  const scene = h("h2", { class: "open-scene" });
  followAll([model.scene, model.opening], () => {
    const open = model.scene.value;
    say(scene, model.opening.value ? `Opening ${model.opening.value} …` : open?.name || open?.id || "No scene is open");
    scene.title = open?.name ? `${open.name}\n${open.id}` : (open?.id ?? "");
  });
  const saved = h("span", { class: "saved", role: "status" });
  followAll([outbox.state, model.examples], () => {
    const { waiting, trouble } = outbox.state.value;
    saved.classList.toggle("bad", trouble !== null);
    say(saved, trouble ? "Not saved" : waiting > 0 ? "Saving …" : "Labels saved");
  });
  const save = textButton({ label: "Save to pipeline", icon: "save", class: "save", act: actions.save });
  model.examples.follow(({ saved: entered }) => save.classList.toggle("primary", !entered));
  return h(
    "header",
    { class: "top" },
    archiveButton(),
    h("div", { class: "brand" }, title),
    h(
      "div",
      { class: "scene-title" },
      iconButton({ label: "Previous scene", icon: "previous", key: ",", act: actions.previous }),
      scene,
      iconButton({ label: "Next scene", icon: "next", key: ".", act: actions.next }),
    ),
    h(
      "div",
      { class: "actions" },
      saved,
      save,
      themeButton(),
      iconButton({ label: "Keyboard shortcuts and help", icon: "help", key: "?", act: actions.help }),
    ),
  );
}

function archiveButton(): HTMLElement {
  const { dataset } = document.body;
  const button = iconButton({
    label: "Show or hide the archive",
    icon: "archive",
    act: () => {
      dataset.archive = dataset.archive === "open" ? "closed" : "open";
    },
  });
  button.setAttribute("aria-controls", "archive");
  const tell = (): void => setAttribute(button, "aria-expanded", String(dataset.archive === "open"));
  new MutationObserver(tell).observe(document.body, { attributeFilter: ["data-archive"] });
  dataset.archive = window.innerWidth > 1000 ? "open" : "closed";
  return button;
}

function themeButton(): HTMLElement {
  const theme = setting<string>("theme", "");
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const now = (): string => theme.value || (dark.matches ? "dark" : "light");
  const show = (): void => {
    document.documentElement.dataset.theme = now();
  };
  theme.follow(show);
  dark.addEventListener("change", show);
  return iconButton({
    label: "Light or dark",
    icon: "theme",
    act: () => theme.set(now() === "dark" ? "light" : "dark"),
  });
}
