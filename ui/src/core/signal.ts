// A value that others follow.

export class Signal<T> {
  #value: T;
  readonly #followers = new Set<(value: T, before: T) => void>();

  constructor(value: T) {
    this.#value = value;
  }

  get value(): T {
    return this.#value;
  }

  set(value: T): void {
    if (Object.is(value, this.#value)) return;
    const before = this.#value;
    this.#value = value;
    for (const follower of [...this.#followers]) follower(value, before);
  }

  /** Calls back on every change. */
  onChange(follower: (value: T, before: T) => void): void {
    this.#followers.add(follower);
  }

  /** Calls back now and on every change. */
  follow(follower: (value: T) => void): void {
    this.#followers.add(follower);
    follower(this.#value);
  }
}

/** Calls back now, and once after any of several values changed. */
export function followAll(signals: { onChange(follower: () => void): void }[], follower: () => void): void {
  let waiting = false;
  for (const signal of signals) {
    signal.onChange(() => {
      if (waiting) return;
      waiting = true;
      queueMicrotask(() => {
        waiting = false;
        follower();
      });
    });
  }
  follower();
}
