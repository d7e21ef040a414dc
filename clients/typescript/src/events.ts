import { ApiError, problemOf } from "./errors.js";
import type { Happening } from "./schema_gen.js";

/**
 * What a stream says. Its id is a position in the log.
 *
 * - `current` comes once on each connection, when you have been told everything up to its id.
 * - `reset` means that too much happened between two connections: read your lists again.
 * - `happened` says what an event is about; what it says is in the lists.
 */
export type LiveEvent =
  | { readonly kind: "current" | "reset"; readonly id: number }
  | { readonly kind: "happened"; readonly id: number; readonly happening: Happening };

/** How to follow events. */
export interface FollowOptions {
  /** The id of the last event that you have seen; without it, you get what happens from now on. */
  after?: number;
  signal?: AbortSignal;
}

/** Reads server-sent events (HTML Living Standard, 9.2.6), as far as AgentKey writes them. */
export async function* readEvents(
  body: ReadableStream<Uint8Array>,
  received: () => void,
): AsyncGenerator<LiveEvent, void, undefined> {
  const reader = body.getReader();
  const decoder = new TextDecoder();
  for (let text = ""; ; ) {
    const { done, value } = await reader.read();
    if (done) return;
    received();
    text += decoder.decode(value, { stream: true });
    const blocks = text.split(/\r?\n\r?\n/);
    text = blocks.pop() ?? "";
    for (const block of blocks) {
      const event = eventOf(block);
      if (event) yield event;
    }
  }
}

/** Reads the lines of one event; undefined: they are a comment. The last one may be a problem. */
function eventOf(block: string): LiveEvent | undefined {
  const fields: { id?: string; event?: string; data?: string } = {};
  for (const line of block.split(/\r?\n/)) {
    const [, field, value = ""] = /^(id|event|data): ?(.*)$/.exec(line) ?? [];
    if (field === "data") fields.data = fields.data === undefined ? value : `${fields.data}\n${value}`;
    else if (field === "id" || field === "event") fields[field] = value;
  }
  if (fields.event === "error") {
    const problem = problemOf(fields.data ?? "");
    throw new ApiError(problem.status ?? 0, problem, new Headers());
  }
  if (fields.id === undefined) return undefined;
  const id = Number(fields.id);
  if (fields.event === "reset") return { kind: "reset", id };
  if (fields.event === undefined || fields.data === undefined) return { kind: "current", id };
  return { kind: "happened", id, happening: JSON.parse(fields.data) as Happening };
}
