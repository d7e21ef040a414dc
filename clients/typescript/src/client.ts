import createClient, { createQuerySerializer } from "openapi-fetch";
import type { Answer, Call, Init, Item, ListPath, Method, Optional } from "./calls.js";
import { refusal } from "./errors.js";
import { type FollowOptions, type LiveEvent, readEvents } from "./events.js";
import { passes, pauseAfter, sleep, Watch } from "./retry.js";
import type { MyTool, operations, paths } from "./schema_gen.js";

// Lists have commas between their items. A tag is repeated, because its value may have a comma.
const listed = createQuerySerializer({ array: { style: "form", explode: false } });
const repeated = createQuerySerializer({ array: { style: "form", explode: true } });

export interface ClientOptions {
  /** Where the service is; location.origin in a page that it serves itself. */
  url: string;

  /**
   * An agent key, a service token, a token of an identity provider, or what gets one for each
   * attempt. Without it a browser's session says who calls.
   */
  token?: string | (() => string | Promise<string>);

  /** Its id, for a member of several. */
  organization?: string;

  /**
   * How many milliseconds a call waits in all between its attempts: 30,000 if absent; 0 allows one
   * attempt.
   */
  patience?: number;

  /** Learns what failed, and how many milliseconds the pause is, before each. */
  onRetry?: (error: unknown, pause: number) => void;

  /** Sends a request, instead of the global fetch. */
  fetch?: (request: Request) => Promise<Response>;
}

const attemptWithin = 60_000;
const silence = 45_000; // the service sends a line every 15 seconds

/** The calls of openapi-fetch without their types, which Call has. */
interface Calls {
  request(method: Method, path: string, init: object): Promise<{ data?: unknown; response: Response }>;
}

/** What the client reads of a call; the rest is for openapi-fetch. */
interface AnyInit {
  params?: { query?: object };
  parseAs?: string;
  signal?: AbortSignal | null;
}

/**
 * Calls one service as one caller. It repeats what may succeed a little later: calls that found no
 * connection, answers 429 and 503. What has an effect carries an idempotency key, the same in each
 * repetition, so it happens once. It reads its own writes: it remembers the newest X-Event-Position
 * that it was answered, and its reads wait for it.
 */
export class Client {
  readonly #options: ClientOptions;
  readonly #calls: Calls;
  #position = 0;

  constructor(options: ClientOptions) {
    this.#options = options;
    this.#calls = createClient<paths>({
      baseUrl: new URL(options.url).href,
      querySerializer: ({ tag, ...query }) =>
        [listed(query), repeated({ tag })].filter((part) => part !== "").join("&"),
      redirect: "manual", // the token goes to url alone
    }) as Calls;
  }

  readonly GET = this.#calling("get");
  readonly POST = this.#calling("post");
  readonly PUT = this.#calling("put");
  readonly PATCH = this.#calling("patch");
  readonly DELETE = this.#calling("delete");

  /** The newest position in the event log that the client was answered; 0: none yet. */
  get position(): number {
    return this.#position;
  }

  /** Makes later reads wait for a position that another client was answered. */
  waitFor(position: number): void {
    if (position > this.#position) this.#position = position;
  }

  /** Reads the pages of a list as far as you iterate, and yields its items. */
  async *each<P extends ListPath>(path: P, ...[init]: Optional<Init<P, "get">>): AsyncGenerator<Item<P>, void> {
    const { params, ...rest } = (init ?? {}) as AnyInit;
    for (let cursor: string | undefined; ; ) {
      const query = { ...params?.query, ...(cursor && { cursor }) };
      const { data } = await this.#call("get", path, { ...rest, params: { ...params, query } });
      const page = data as { items?: Item<P>[]; tools?: Item<P>[]; next_cursor?: string };
      yield* page.items ?? page.tools ?? [];
      cursor = page.next_cursor;
      if (!cursor) return;
    }
  }

  /** Lists the catalog as an agent sees it, newest first. */
  myTools(access?: MyTool["your_access"]): AsyncGenerator<MyTool, void> {
    const query = { limit: 200, ...(access && { access }) };
    return this.each("/api/tools", { params: { query } }) as AsyncGenerator<MyTool, void>;
  }

  /**
   * Follows what happens in the organization, as an admin. It connects again, with what you have
   * seen as Last-Event-ID, until you leave the loop. It throws when the service refuses or signal
   * aborts.
   */
  events(
    options: FollowOptions & NonNullable<operations["streamAdminEvents"]["parameters"]["query"]> = {},
  ): AsyncGenerator<LiveEvent, void> {
    return this.#follow("/api/admin/events", options, options.include ? { include: options.include } : {});
  }

  /** Follows what happens to the calling agent, as events does. */
  myEvents(options: FollowOptions = {}): AsyncGenerator<LiveEvent, void> {
    return this.#follow("/api/me/events", options, {});
  }

  #calling<M extends Method>(method: M): Call<M> {
    return ((path: string, init: AnyInit = {}) => this.#call(method, path, init)) as Call<M>;
  }

  /** Attempts a call until it succeeds, is refused, or would have to wait longer than it may. */
  async #call(method: Method, path: string, init: AnyInit): Promise<Answer<unknown>> {
    // A sign-in takes no key, so its answer can't be repeated.
    const key = method === "get" || path.startsWith("/auth/") ? undefined : drawKey();
    let patience = this.#options.patience ?? 30_000;
    for (let attempt = 0; ; attempt++) {
      const watch = new Watch(attemptWithin, init.signal);
      try {
        const signal = init.parseAs === "stream" ? init.signal : watch.signal;
        const { data, response } = await this.#calls.request(method, path, {
          ...init, signal, fetch: (request: Request) => this.#send(request, {
            "Idempotency-Key": key,
            "X-Wait-For-Position": method === "get" && this.#position > 0 && String(this.#position),
          }),
        });
        return { data, response };
      } catch (error) {
        init.signal?.throwIfAborted();
        const pause = pauseAfter(error, attempt);
        patience -= pause;
        if (!passes(error) || patience < 0 || (method !== "get" && !key)) throw error;
        await this.#wait(error, pause, init.signal);
      } finally {
        watch.stop();
      }
    }
  }

  /** Sends a request once and takes note of the position in its answer. */
  async #send(request: Request, own: Record<string, string | undefined | false>): Promise<Response> {
    const { token, organization, fetch = globalThis.fetch } = this.#options;
    const bearer = typeof token === "function" ? await token() : token;
    const usual = {
      Accept: "application/json",
      Authorization: bearer && `Bearer ${bearer}`,
      "X-Organization": organization,
      ...own,
    };
    for (const [name, value] of Object.entries(usual)) {
      if (value && !request.headers.has(name)) request.headers.set(name, value);
    }
    const response = await fetch(request);
    this.waitFor(Number(response.headers.get("X-Event-Position")));
    if (!response.ok) throw await refusal(response);
    return response;
  }

  async *#follow(path: string, options: FollowOptions, query: object): AsyncGenerator<LiveEvent, void> {
    let { after = 0, signal } = options;
    for (let failed = 0; ; failed++) {
      let cause: unknown = new TypeError("the stream ended");
      try {
        for await (const event of this.#connection(path, query, after, signal)) {
          failed = 0;
          after = event.id;
          if (event.kind === "reset") this.#position = event.id; // it may be another log
          this.waitFor(event.id);
          yield event;
        }
      } catch (error) {
        signal?.throwIfAborted();
        if (!passes(error)) throw error;
        cause = error;
      }
      await this.#wait(cause, pauseAfter(cause, failed), signal);
    }
  }

  /** Yields the events of one connection. */
  async *#connection(
    path: string, query: object, after: number, signal?: AbortSignal,
  ): AsyncGenerator<LiveEvent, void> {
    const watch = new Watch(silence, signal);
    try {
      const { data } = await this.#calls.request("get", path, {
        params: { query },
        headers: { Accept: "text/event-stream", ...(after > 0 && { "Last-Event-ID": String(after) }) },
        parseAs: "stream",
        signal: watch.signal,
        fetch: (request: Request) => this.#send(request, {}),
      });
      yield* readEvents(data as ReadableStream<Uint8Array>, () => watch.restart());
    } finally {
      watch.abort();
    }
  }

  async #wait(error: unknown, pause: number, signal?: AbortSignal | null): Promise<void> {
    this.#options.onRetry?.(error, pause);
    await sleep(pause, signal);
  }
}

/** Draws an idempotency key. It needn't be secret, and Node 18 has no global crypto. */
function drawKey(): string {
  const bytes = new Uint8Array(16);
  if (globalThis.crypto) crypto.getRandomValues(bytes);
  else bytes.forEach((_, i) => (bytes[i] = Math.random() * 256));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
