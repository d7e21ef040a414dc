// What a page needs to call AgentKey. On the API's own origin a cookie that scripts can't read stands
// for the caller; on another origin the token does, kept until the tab is closed.

const base = document.querySelector('meta[name="agentkey-api"]').content.replace(/\/$/, "");
const sameOrigin = base === "" || new URL(base).origin === location.origin;
const kept = "agentkey-token";

// Problem is an answer that isn't a success. Its message and hint are written for people.
export class Problem extends Error {
  constructor(status, body, retryAfter) {
    super([body.detail ?? body.title ?? `The server answered ${status}.`, body.hint].filter(Boolean).join(" "));
    Object.assign(this, { status, code: body.code, retryAfter });
  }
}

function headersFor(more) {
  const headers = new Headers(more);
  const token = sameOrigin ? null : sessionStorage.getItem(kept);
  if (token) headers.set("Authorization", `Bearer ${token}`);
  return headers;
}

// newKey is an idempotency key: one for each thing that somebody wants to happen once.
export const newKey = () => [...crypto.getRandomValues(new Uint8Array(16))].map((b) => b.toString(16).padStart(2, "0")).join("");

let newest = 0; // the position of the newest event that this page has caused or followed

// call returns the answer's body. It waits until the lists have what this page did before, so that people
// don't see their own decision undone for a moment.
export async function call(method, path, { body, ifMatch, key } = {}) {
  const headers = headersFor({ Accept: "application/json" });
  if (body !== undefined) headers.set("Content-Type", "application/json");
  if (ifMatch) headers.set("If-Match", ifMatch);
  if (method === "GET" && newest) headers.set("X-Wait-For-Position", newest);
  if (method !== "GET") headers.set("Idempotency-Key", key ?? newKey());
  const response = await fetch(base + path, { method, headers, body: body && JSON.stringify(body), cache: "no-store" });
  newest = Math.max(newest, Number(response.headers.get("X-Event-Position") ?? 0));
  const answer = response.status === 204 ? null : await response.json().catch(() => ({}));
  if (!response.ok) throw new Problem(response.status, answer ?? {}, Number(response.headers.get("Retry-After") ?? 0));
  return answer;
}

export const read = (path) => call("GET", path);

export async function signIn(token) {
  if (sameOrigin) {
    await call("POST", "/auth/session", { body: { token } });
  } else {
    sessionStorage.setItem(kept, token);
    await read("/api/admin/me");
  }
}

export async function signOut() {
  if (sameOrigin) await call("POST", "/auth/logout");
  sessionStorage.removeItem(kept);
}

// providerLink is where people sign in who have an identity provider, or null.
export async function providerLink() {
  const front = await read("/");
  return sameOrigin && front.sign_in ? `${front.sign_in}?return_to=${encodeURIComponent(location.pathname)}` : null;
}

// follow calls happened with each event, and with {action: "reset"} when events were missed. It comes
// back after each interruption until the caller may no longer read; then it throws the Problem.
export async function follow(happened, connected) {
  let last = "";
  for (;;) {
    let wait = 1000 + Math.random() * 1000;
    try {
      const headers = headersFor({ Accept: "text/event-stream", ...(last && { "Last-Event-ID": last }) });
      const response = await fetch(`${base}/api/admin/events`, { headers, cache: "no-store" });
      if (!response.ok) {
        const after = Number(response.headers.get("Retry-After") ?? 0);
        throw new Problem(response.status, await response.json().catch(() => ({})), after);
      }
      connected(true);
      for await (const event of events(response.body)) {
        if (event.id) last = event.id;
        newest = Math.max(newest, Number(event.id ?? 0));
        if (event.name === "error") throw new Problem(403, JSON.parse(event.data));
        if (event.name === "reset") happened({ action: "reset" });
        else if (event.data) happened(JSON.parse(event.data));
      }
    } catch (error) {
      if (error instanceof Problem && (error.status === 401 || error.status === 403)) throw error;
      wait = Math.max(wait, (error.retryAfter ?? 0) * 1000);
    }
    connected(false);
    await new Promise((resume) => setTimeout(resume, wait));
  }
}

// events reads server-sent events (HTML Living Standard, 9.2.6), as far as AgentKey writes them.
async function* events(stream) {
  let text = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    const blocks = text.split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const event = {};
      for (const line of block.split("\n")) {
        const [, field, value] = /^(id|event|data): ?(.*)$/.exec(line) ?? [];
        if (field) event[field === "event" ? "name" : field] = value;
      }
      yield event;
    }
  }
}
