// What the browser remembers between visits. A browser that allows no storage (private windows) remembers nothing.

import { Signal } from "./signal.js";

const PREFIX = "hdm-studio:";

/** The stored value, or the default where there is none or it makes no sense. */
export function recall<T>(name: string, otherwise: T): T {
  try {
    const text = localStorage.getItem(PREFIX + name);
    if (text === null) return otherwise;
    const value: unknown = JSON.parse(text);
    return typeof value === typeof otherwise ? (value as T) : otherwise;
  } catch {
    return otherwise;
  }
}

/** Stores a value; false where the browser did not take it. */
export function remember(name: string, value: unknown): boolean {
  try {
    localStorage.setItem(PREFIX + name, JSON.stringify(value));
    return true;
  } catch {
    return false;
  }
}

/** A signal that keeps its value between visits. */
export function setting<T>(name: string, otherwise: T): Signal<T> {
  const signal = new Signal<T>(recall(name, otherwise));
  signal.onChange((value) => remember(name, value));
  return signal;
}
