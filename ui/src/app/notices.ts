// Messages over the page: errors stay until they are put away, good news goes by itself.

import { Away, isAbort, Refused } from "../api/http.js";
import type { Trouble } from "../api/types.js";
import { h } from "../core/dom.js";
import { icon } from "../core/icons.js";

const SHOWN_MS = 5000;
const AT_MOST = 4;

interface Action {
  label: string;
  act: () => void;
}

const stack = h("div", { class: "notices" });
const spoken = h("div", { class: "visually-hidden", role: "status", "aria-live": "polite" });

export function mountNotices(page: HTMLElement): void {
  page.append(stack, spoken);
}

/** Says something that went well, or asks: a question stays until it is answered or put away. */
export function inform(text: string, ...actions: Action[]): void {
  announce(text);
  const card = put("info", h("p", {}, text), actions);
  if (actions.length === 0) setTimeout(() => card.remove(), SHOWN_MS);
}

/** Tells screen readers alone. */
export function announce(text: string): void {
  spoken.textContent = "";
  requestAnimationFrame(() => {
    spoken.textContent = text;
  });
}

/** Shows an error with what, where and remedy. The same error is shown once. */
export function complain(trouble: Partial<Trouble>, ...actions: Action[]): void {
  const body = troubleText(trouble);
  const key = body.textContent ?? "";
  for (const other of stack.querySelectorAll<HTMLElement>(".notice.error")) {
    if (other.dataset.key === key) other.remove();
  }
  const card = put("error", body, actions);
  card.dataset.key = key;
}

/** Shows what a request ended in, unless the page itself gave it up or the banner says already that no answer came. */
export function complainAbout(error: unknown, ...actions: Action[]): void {
  if (isAbort(error) || error instanceof Away) return;
  if (error instanceof Refused) {
    if (error.status !== 401) complain(error.trouble, ...actions);
    return;
  }
  console.error(error);
  complain({
    what: "something went wrong on this page",
    where: String(error),
    remedy: "reload the page; labels are kept",
  });
}

/** An error as text: what is wrong, where, and what to do. */
export function troubleText({ what, where, remedy }: Partial<Trouble>): HTMLElement {
  return h(
    "div",
    { class: "trouble" },
    h("p", { class: "what" }, sentence(what || "something went wrong")),
    where ? h("p", { class: "where" }, where) : null,
    remedy ? h("p", { class: "remedy" }, h("span", { class: "tag" }, "What to do"), " ", sentence(remedy)) : null,
  );
}

/** With a capital letter and a full stop. */
export function sentence(text: string): string {
  const start = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?:`"')\]]$/.test(start) ? start : `${start}.`;
}

function put(kind: "info" | "error", body: HTMLElement, actions: Action[]): HTMLElement {
  const card = h("div", { class: `notice ${kind}`, role: kind === "error" ? "alert" : null }, body);
  const close = h(
    "button",
    { class: "quiet icon-only", "aria-label": "Dismiss", onclick: () => card.remove() },
    icon("close"),
  );
  const buttons = actions.map(({ label, act }) =>
    h(
      "button",
      {
        class: "small",
        onclick: () => {
          card.remove();
          act();
        },
      },
      label,
    ),
  );
  if (buttons.length > 0) body.append(h("div", { class: "row" }, ...buttons));
  card.append(close);
  stack.append(card);
  while (stack.childElementCount > AT_MOST) stack.firstElementChild?.remove();
  return card;
}
