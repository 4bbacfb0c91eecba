// The studio's page: puts its parts together.

import "./styles/index.css";
import { getState } from "./api/calls.js";
import { Refused, reachable } from "./api/http.js";
import { Outbox } from "./api/outbox.js";
import type { StudioState } from "./api/types.js";
import { Desk } from "./app/desk.js";
import { listenToKeys } from "./app/keys.js";
import { Model } from "./app/model.js";
import { complainAbout, inform, mountNotices, troubleText } from "./app/notices.js";
import { pageShortcuts } from "./app/shortcuts.js";
import { Tries } from "./app/tries.js";
import { Watch } from "./app/watch.js";
import { h } from "./core/dom.js";
import { SceneMap } from "./map/scene_map.js";
import { Archive } from "./panels/archive.js";
import { save, showHelp } from "./panels/dialogs.js";
import { NextPanel } from "./panels/next_panel.js";
import { sidePanel } from "./panels/side.js";
import { mapParts, stageOf } from "./panels/stage.js";
import { topBar } from "./panels/top_bar.js";

async function begin(): Promise<void> {
  let state: StudioState;
  try {
    state = await getState();
  } catch (error) {
    showNoStart(error);
    return;
  }
  document.body.replaceChildren();
  openPage(state);
}

function openPage(state: StudioState): void {
  document.title = `${state.pipeline.name} · studio`;
  const model = new Model(state);
  const outbox = new Outbox(state.pipeline.file);
  const target = h("div", {
    class: "map",
    tabindex: 0,
    role: "application",
    "aria-label": "Scene. Arrow keys move it, with Shift by little; plus and minus zoom; X draws in the middle.",
  });
  const stage = stageOf(target);
  const desk = new Desk(model, outbox, (onStroke, onError) => new SceneMap(target, model, outbox, onStroke, onError));
  const tries = new Tries(desk);
  const watch = new Watch(desk);
  const archive = new Archive(desk);
  const next = new NextPanel(desk);
  desk.onLabelsChanged = () => {
    tries.soon();
    void desk.refreshExamples();
  };
  const openNeighbor = (steps: number): void => {
    const id = archive.neighbor(steps);
    if (id === null) inform("There is no further scene in this list.");
    else void desk.open(id);
  };
  const actions = {
    save: () => void save(desk),
    help: () => showHelp(desk, shortcuts),
    neighbor: openNeighbor,
    suggestion: () => next.next(),
    previous: () => openNeighbor(-1),
    next: () => openNeighbor(1),
  };
  const shortcuts = pageShortcuts(desk, tries, actions);
  listenToKeys(shortcuts);
  const work = h("main", { class: "work" }, stage, sidePanel(desk, tries, watch, next));
  document.body.append(topBar(desk, actions), h("div", { class: "body" }, archive.element, work));
  mapParts(stage, desk, tries);
  mountNotices(document.body);
  void desk.refreshExamples();
  void desk.outbox.flush();
  const { drawing } = desk.map;
  window.addEventListener("pagehide", () => drawing.finish()); // on tablets nothing else tells
  window.addEventListener("beforeunload", (event) => {
    drawing.finish();
    const { waiting, kept } = outbox.state.value;
    if ((waiting > 0 && !kept) || drawing.isOpen) event.preventDefault();
  });
  window.addEventListener("unhandledrejection", (event) => complainAbout(event.reason));
}

/** The page cannot begin: says why, and tries again. */
function showNoStart(error: unknown): void {
  const trouble =
    error instanceof Refused
      ? error.trouble
      : {
          what: "the studio's server does not answer",
          remedy: "start it in a terminal: python -m hdm_pipeline studio PIPELINE.yaml",
        };
  const again = h("button", { type: "button", class: "primary", onclick: () => void begin() }, "Try again");
  document.body.replaceChildren(
    h("main", { class: "no-start" }, h("h1", {}, "The studio is not ready"), troubleText(trouble), again),
  );
  if (reachable.value === "no") window.setTimeout(() => void begin(), 3000);
}

void begin();
