// One scene in the archive's list.

import { thumbnailUrl } from "../api/calls.js";
import type { Scene } from "../api/types.js";
import { h } from "../core/dom.js";
import { area, count, date, percent, short, whole } from "../core/format.js";
import { icon } from "../core/icons.js";

const STATES = {
  new: "New",
  unreadable: "Cannot be read",
  running: "Running",
  done: "Done",
  quarantined: "Quarantined",
};

/** @param unseen called where the scene has no picture: why, the list tells when it is asked again. */
export function sceneRow(scene: Scene, open: () => void, unseen: () => void): HTMLElement {
  const suspect = scene.warnings.length;
  const version = `${scene.state}${JSON.stringify(scene.measures)}`;
  const bad = scene.state === "quarantined" || scene.state === "unreadable";
  const reason = [scene.error.what, scene.error.where, scene.error.remedy].filter(Boolean).join("\n");
  const warnings = scene.warnings.map(({ what, remedy }) => [what, remedy].filter(Boolean).join(": ")).join("\n");
  return h(
    "div",
    { class: "row-item", role: "listitem" },
    h(
      "button",
      {
        type: "button",
        class: "scene",
        title: [scene.name && `${scene.name}\n${scene.id}`, reason || warnings].filter(Boolean).join("\n") || null,
        onclick: open,
      },
      h("img", {
        src: thumbnailUrl(scene.id, version),
        alt: "",
        width: 60,
        height: 60,
        loading: "lazy",
        decoding: "async",
        // Without a source nothing is shown; with one that cannot be read, browsers show a broken picture.
        onerror: ({ currentTarget }: Event) => {
          (currentTarget as HTMLImageElement).removeAttribute("src");
          unseen();
        },
      }),
      h(
        "span",
        { class: "about" },
        scene.name
          ? h("span", { class: "id" }, scene.name, " ", h("span", { class: "made" }, scene.id))
          : h("span", { class: "id" }, scene.id),
        h(
          "span",
          { class: "tags" },
          h("span", { class: `state ${scene.state}` }, STATES[scene.state]),
          scene.labeled ? h("span", { class: "state labeled" }, "Labelled") : null,
          suspect > 0 ? h("span", { class: "state warned" }, icon("warning"), count(suspect, "warning")) : null,
        ),
        h("span", { class: "facts" }, bad ? (scene.error.what ?? "") : facts(scene)),
      ),
    ),
  );
}

function facts(scene: Scene): string {
  const parts: string[] = [];
  for (const [name, measures] of Object.entries(scene.measures)) {
    if (measures.volume_ml !== undefined) parts.push(`${name} ${short(measures.volume_ml)} ml`);
    else if (measures.area_m2 !== undefined) parts.push(`${name} ${area(measures.area_m2)}`);
    else if (measures.pixels !== undefined) parts.push(`${name} ${whole(measures.pixels)} px`);
  }
  if (scene.uncertainty !== null) parts.push(`unsure ${percent(scene.uncertainty)}`);
  if (scene.date) parts.push(date(scene.date));
  return parts.join(" · ");
}
