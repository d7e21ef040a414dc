import { ApiError } from "./errors.js";

// The pause after the first attempt; it doubles until it is the longest.
const firstPause = 200;
const longestPause = 10_000;

/**
 * Reports whether what failed may succeed a little later: the service says so, or there was no
 * answer.
 */
export function passes(error: unknown): boolean {
  if (error instanceof ApiError) {
    const passing = [429, 502, 503, 504].includes(error.status);
    const lasting = error.code === "ai_not_configured" || error.code === "docs_unavailable";
    return (passing && !lasting) || error.code === "idempotency_in_progress";
  }
  // This is how fetch says that there is no connection, or no longer.
  return error instanceof TypeError || (error instanceof DOMException && error.name === "TimeoutError");
}

/**
 * How many milliseconds to wait after an attempt. Clients that failed together don't return
 * together.
 */
export function pauseAfter(error: unknown, attempt: number): number {
  if (error instanceof ApiError && error.retryAfter > 0) return error.retryAfter * 1000;
  const pause = Math.min(firstPause * 2 ** attempt, longestPause);
  return pause / 2 + Math.random() * pause;
}

/** Resolves after some milliseconds, and rejects once the signal aborts. */
export function sleep(pause: number, signal?: AbortSignal | null): Promise<void> {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal?.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, pause);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Aborts its signal when nothing happens for some milliseconds, or when another signal aborts. */
export class Watch {
  readonly #controller = new AbortController();
  readonly #limit: number;
  readonly #outer: AbortSignal | null | undefined;
  readonly #abort = () => this.#controller.abort(this.#outer?.reason);
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(limit: number, outer?: AbortSignal | null) {
    this.#limit = limit;
    this.#outer = outer;
    outer?.addEventListener("abort", this.#abort);
    if (outer?.aborted) this.#abort();
    this.restart();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Something happened. */
  restart(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#controller.abort(new DOMException("the service doesn't answer", "TimeoutError"));
    }, this.#limit);
  }

  /** Ends the watch, and not what it watches. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#outer?.removeEventListener("abort", this.#abort);
  }

  /** Ends the watch and what it watches. */
  abort(): void {
    this.stop();
    this.#controller.abort();
  }
}
