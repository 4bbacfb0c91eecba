// The run over the whole archive: started, watched, stopped; what could not be done; the report.

import * as calls from "../api/calls.js";
import type { Plan, RunState, Scene } from "../api/types.js";
import type { Desk } from "../app/desk.js";
import { complainAbout, inform, troubleText } from "../app/notices.js";
import type { LogLine, Watch } from "../app/watch.js";
import { section, textButton } from "../core/controls.js";
import { fill, h, say } from "../core/dom.js";
import { count, seconds, short } from "../core/format.js";

/** Quarantined scenes that are listed here; the archive lists all. */
const LISTED = 20;

export function runPanel(desk: Desk, watch: Watch): HTMLElement {
  const start = textButton({
    label: "Run over the archive",
    icon: "play",
    class: "primary wide",
    act: () => void begin(desk, watch),
  });
  const stop = textButton({ label: "Stop", icon: "stop", class: "wide", act: () => void end(watch) });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Scenes done" });
  const words = h("p", { role: "status" });
  const plan = h("p", { class: "muted" });
  const report = h("a", { class: "button wide", target: "_blank", rel: "noopener" }, "Open the report");
  const failure = h("div");
  watch.run.follow((run) => {
    const going = run.state === "running" || run.state === "stopping";
    start.hidden = going;
    stop.hidden = !going;
    bar.hidden = !going;
    const { done, total, quarantined } = run.scenes;
    if (run.steps && run.steps[1] > 0) bar.value = run.steps[0] / run.steps[1];
    else if (total > 0 && run.phase !== "examples") bar.value = (done + quarantined) / total;
    else bar.removeAttribute("value");
    say(words, inWords(run));
    report.hidden = run.report === null;
    if (run.report !== null) report.href = `/output/${run.report}`;
    fill(failure, run.error ? h("div", { class: "card error" }, troubleText(run.error)) : null);
    failure.hidden = run.error === null;
    plan.hidden = going;
  });
  const told = async (): Promise<void> => {
    try {
      plan.textContent = planned(await calls.getPlan());
    } catch (error) {
      complainAbout(error);
    }
  };
  desk.archiveVersion.follow(() => void told());
  desk.model.examples.onChange(() => void told());
  return h(
    "div",
    { class: "panel-body" },
    h(
      "p",
      { class: "lead" },
      "Makes the masks of all scenes with the examples in the pipeline file. Only what changed is done again.",
    ),
    start,
    stop,
    bar,
    words,
    plan,
    failure,
    report,
    quarantine(desk),
    log(watch),
  );
}

/** What a run would do, and what it would leave as it is. */
function planned({ pending, again, done, quarantined }: Plan): string {
  const told = [pending > 0 ? `A run does ${count(pending, "scene")}.` : "A run has nothing to do."];
  if (again > 0) {
    const which =
      again === pending ? (again === 1 ? "It has" : "All of them have") : count(again, "of them has", "of them have");
    told.push(`${which} a mask already, which is made anew: examples or settings have changed since.`);
  }
  if (done > 0) told.push(`${count(done, "scene is", "scenes are")} up to date.`);
  if (quarantined > 0) told.push(`${count(quarantined, "scene is", "scenes are")} quarantined.`);
  return told.join(" ");
}

function inWords(run: RunState): string {
  const { done, total, quarantined } = run.scenes;
  const bad = quarantined > 0 ? `, ${quarantined} quarantined` : "";
  const speed = run.tiles_per_second ? `, ${short(run.tiles_per_second)} tiles a second` : "";
  const left = run.seconds_left !== null ? `, about ${seconds(run.seconds_left)} left` : "";
  switch (run.state) {
    case "running":
      if (run.phase === "examples" || total === 0) return `Getting ready: ${preparing(run)}${left}.`;
      return `${done} of ${count(total, "scene")} done${bad}${speed}${left}${run.ours ? "" : ". Started elsewhere"}.`;
    case "stopping":
      return "Stopping: what is being worked on is finished first. Stop again to stop at once.";
    case "done":
      return `Done: ${count(done, "scene")}${bad}.`;
    case "stopped":
      return `Stopped: ${done} of ${count(total, "scene")} done${bad}. A new run goes on from there.`;
    case "failed":
      return "The run failed. What was done is kept.";
    default:
      return "";
  }
}

/** Steps of the preparation in words. */
const STEPS: Record<string, string> = {
  reading: "reading the examples",
  loading: "loading the network",
  reduction: "choosing how large the network sees the images",
  adaptation: "trying to adapt the network to the examples",
  encoding: "learning the examples",
  checking: "checking how well the examples agree",
};

function preparing({ doing, steps }: RunState): string {
  const words = STEPS[doing] ?? "reading the examples";
  return steps && steps[1] > 1 ? `${words}, ${steps[0]} of ${steps[1]}` : words;
}

async function begin(desk: Desk, watch: Watch): Promise<void> {
  const start = async (): Promise<void> => {
    try {
      watch.log.set([]);
      watch.run.set(await calls.startRun());
    } catch (error) {
      complainAbout(error);
    }
  };
  await desk.outbox.flush();
  await desk.refreshExamples();
  if (!desk.model.examples.value.saved) {
    inform("The newest labels do not stand in the pipeline file, so the run would not use them.", {
      label: "Run without them",
      act: () => void start(),
    });
    return;
  }
  await start();
}

async function end(watch: Watch): Promise<void> {
  try {
    watch.run.set(await calls.stopRun());
  } catch (error) {
    complainAbout(error);
  }
}

function quarantine(desk: Desk): HTMLElement {
  const list = h("ul", { class: "cards" });
  const more = h("p", { class: "muted" });
  const part = section("Quarantined scenes", list, more);
  desk.archiveVersion.follow(async () => {
    try {
      const found = await calls.getScenes({ state: "quarantined", text: "", sort: "id", offset: 0, limit: LISTED });
      part.hidden = found.total === 0;
      fill(list, ...found.scenes.map((scene) => quarantined(desk, scene)));
      more.textContent = found.total > LISTED ? `${found.total - LISTED} more: see the archive's filter.` : "";
    } catch (error) {
      complainAbout(error);
    }
  });
  return part;
}

function quarantined(desk: Desk, scene: Scene): HTMLElement {
  return h(
    "li",
    { class: "card" },
    h("button", { type: "button", class: "link", onclick: () => void desk.open(scene.id) }, scene.name || scene.id),
    troubleText(scene.error),
  );
}

/** The lines of the log that a person wants to know of. */
function log(watch: Watch): HTMLElement {
  const list = h("ul", { class: "log" });
  const part = section("What happened", list);
  watch.log.follow((lines) => {
    const told = lines.map(line).filter((text) => text !== "");
    part.hidden = told.length === 0;
    fill(
      list,
      ...told
        .slice(-50)
        .reverse()
        .map((text) => h("li", {}, text)),
    );
  });
  return part;
}

function line(record: LogLine): string {
  const scene = typeof record.scene === "string" ? record.scene : "";
  const error = record.error as { what?: string } | undefined;
  switch (record.event) {
    case "run_started":
      return `Run started: ${count(Number(record.scenes), "scene")} to do.`;
    case "preparing":
      return record.adapt ? "Reading the examples, and adapting to them if that helps." : "Reading the examples.";
    case "scene_done":
      return `${scene}: done.${suspicions(record)}`;
    case "scene_quarantined":
      return `${scene}: quarantined: ${error?.what ?? "see its reason"}.`;
    case "products_not_sent":
      return `${scene}: could not be sent.`;
    case "worker_died":
      return `${scene}: a worker died; another one goes on.`;
    case "run_ended":
      return "Run ended.";
    default:
      return "";
  }
}

function suspicions(record: LogLine): string {
  const warnings = (Array.isArray(record.warnings) ? record.warnings : []) as { what?: string }[];
  return warnings.map(({ what }) => (what ? ` ${what}.` : "")).join("");
}
