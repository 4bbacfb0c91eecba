// Requests to the studio's server, and what becomes of those that fail.

import { Signal } from "../core/signal.js";
import type { Trouble } from "./types.js";

/** The server refused, or something is wrong there: what, where, and what to do. */
export class Refused extends Error {
  constructor(
    readonly trouble: Trouble,
    readonly status: number,
  ) {
    super(trouble.what);
  }
}

/** No answer came. */
export class Away extends Error {}

/** Whether the server answers. The page shows a banner while it does not. */
export const reachable = new Signal<"yes" | "no" | "locked">("yes");

/** Names this page among others of the same browser: a newer try of one page ends its older one. */
export const PAGE = [...crypto.getRandomValues(new Uint8Array(8))]
  .map((byte) => byte.toString(16).padStart(2, "0"))
  .join("");

export async function getJson<T>(path: string, signal?: AbortSignal): Promise<T> {
  return (await (await ask("GET", path, undefined, signal)).json()) as T;
}

export async function sendJson<T>(
  method: "POST" | "DELETE",
  path: string,
  body: unknown = {},
  signal?: AbortSignal,
): Promise<T> {
  return (await (await ask(method, path, body, signal)).json()) as T;
}

export async function getPicture(path: string, signal?: AbortSignal): Promise<ImageBitmap> {
  return createImageBitmap(await (await ask("GET", path, undefined, signal)).blob());
}

async function ask(method: string, path: string, body: unknown, signal?: AbortSignal): Promise<Response> {
  const request: RequestInit = { method, signal: signal ?? null };
  if (method !== "GET") {
    request.headers = { "content-type": "application/json" };
    request.body = JSON.stringify(body);
  }
  let answer: Response;
  try {
    answer = await fetch(path, request);
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    reachable.set("no");
    throw new Away("no answer from the studio's server");
  }
  reachable.set(answer.status === 401 ? "locked" : "yes");
  if (!answer.ok) throw new Refused(await told(answer), answer.status);
  return answer;
}

async function told(answer: Response): Promise<Trouble> {
  const fallback = {
    type: "InternalError",
    what: `the server answered ${answer.status} ${answer.statusText}`.trim(),
    where: new URL(answer.url).pathname,
    remedy: "try again; the terminal of the studio may tell more",
  };
  try {
    const { error } = (await answer.json()) as { error?: Partial<Trouble> };
    return { ...fallback, ...error };
  } catch {
    return fallback;
  }
}

/** Whether a request was given up by the page itself. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
