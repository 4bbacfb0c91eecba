// Dialogs: help with the keyboard, and what saving entered into the pipeline file.

import * as calls from "../api/calls.js";
import { Refused } from "../api/http.js";
import type { Desk } from "../app/desk.js";
import { type Shortcut, shortcutsOn } from "../app/keys.js";
import { complain, complainAbout, inform, troubleText } from "../app/notices.js";
import { iconButton, toggle } from "../core/controls.js";
import { freshId, h } from "../core/dom.js";

function dialog(title: string, ...content: (Node | null)[]): HTMLDialogElement {
  const id = freshId();
  const close = iconButton({ label: "Close", icon: "close", act: () => box.close() });
  const box = h(
    "dialog",
    { "aria-labelledby": id },
    h("div", { class: "dialog-head" }, h("h2", { id }, title), close),
    h("div", { class: "dialog-body", tabindex: 0, role: "region", "aria-labelledby": id }, ...content),
  );
  box.addEventListener("close", () => box.remove());
  box.addEventListener("click", (event) => {
    if (event.target === box) box.close();
  });
  document.body.append(box);
  box.showModal();
  return box;
}

export function showHelp(desk: Desk, shortcuts: Shortcut[]): void {
  const rows = shortcuts.map(({ keys, label }) =>
    h(
      "tr",
      {},
      h("td", {}, ...keys.flatMap((key, index) => [index > 0 ? " or " : null, h("kbd", {}, key)])),
      h("td", {}, label),
    ),
  );
  const { version, pipeline } = desk.model.studio.value;
  dialog(
    "How this page works",
    h(
      "ol",
      { class: "steps" },
      h("li", {}, h("strong", {}, "Label"), " a little of each class on one to five scenes, and some background."),
      h("li", {}, h("strong", {}, "Try"), " what you see. Where it is wrong, paint it right, and it is tried again."),
      h(
        "li",
        {},
        h("strong", {}, "Save"),
        " the labels into the pipeline file, then ",
        h("strong", {}, "run"),
        " over the archive.",
      ),
    ),
    h("h3", {}, "Keyboard"),
    toggle("Single keys are shortcuts", shortcutsOn),
    h("table", { class: "keys" }, h("tbody", {}, ...rows)),
    h("h3", {}, "Mouse, fingers, pen"),
    h(
      "ul",
      {},
      h("li", {}, "The wheel zooms; in a volume it turns over slices, and zooms with Ctrl."),
      h("li", {}, "The middle button, Space with the left one, or two fingers move the picture."),
      h("li", {}, "The right button, dragged, changes brightness and contrast where the bands share one range."),
      h("li", {}, "Once you draw with a pen, one finger moves the picture."),
    ),
    h(
      "p",
      { class: "muted" },
      `hdm_pipeline ${version} · ${pipeline.file} · `,
      h("a", { href: "/LICENSES.txt", target: "_blank" }, "Licenses"),
    ),
  );
}

/** Enters the labels into the pipeline file, and shows what was entered, or what to enter by hand. */
export async function save(desk: Desk): Promise<void> {
  await desk.outbox.flush();
  if (desk.outbox.state.value.waiting > 0) {
    complain({ what: "there are strokes that are not saved yet", remedy: "see the message over the scene" });
    return;
  }
  try {
    const { file, examples, left_out } = await calls.save();
    await desk.refreshExamples();
    await desk.refreshScenes();
    if (examples.length + left_out.length === 0)
      inform("The pipeline file names no labels of yours: nothing is drawn.");
    else showSaved(file, examples, left_out);
  } catch (error) {
    if (error instanceof Refused && error.status !== 401) await showByHand(error);
    else complainAbout(error);
  }
}

function showSaved(file: string, examples: calls.Entered[], leftOut: calls.LeftOut[]): void {
  const rows = examples.map((one) => h("li", {}, h("strong", {}, one.class), ` on ${one.scene}`));
  dialog(
    "Saved",
    h("p", {}, "The pipeline file names these labels as examples; all else in it is as it was."),
    h("ul", {}, ...rows),
    leftOut.length === 0 ? null : h("p", { class: "note" }, "These labels could not be entered, and no run uses them:"),
    h("ul", {}, ...leftOut.map((one) => h("li", {}, h("strong", {}, one.scene), `: ${one.why}`))),
    h("p", { class: "muted" }, h("code", {}, file)),
  );
}

/** The file could not be written: shows what it would hold. */
async function showByHand(refused: Refused): Promise<void> {
  let text: string;
  try {
    text = (await calls.getSaveText()).text;
  } catch {
    complainAbout(refused);
    return;
  }
  const copy = h("button", { type: "button", class: "primary" }, "Copy");
  copy.addEventListener("click", () => {
    navigator.clipboard.writeText(text).then(
      () => inform("Copied."),
      () => inform("This browser does not let the page copy: mark the text and press Ctrl+C."),
    );
  });
  dialog(
    "The pipeline file was not changed",
    troubleText(refused.trouble),
    h("p", {}, "The labels themselves are saved. With them the pipeline file would be:"),
    h("pre", {}, text),
    copy,
  );
}
