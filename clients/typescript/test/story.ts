// What agents and admins do with the client, against a running service and through networks that
// fail. It prints what it wants of the networks, a line each, and waits for a line when that is
// done.
import assert from "node:assert/strict";
import { createInterface } from "node:readline";
import { ApiError, Client, type Happening, type LiveEvent, type ProblemCode } from "agentkey";

const { SERVICE = "", NETWORK = "", LINE = "", TOKEN = "" } = process.env;
const done = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
async function want(what: string): Promise<void> {
  console.log(what);
  await done.next();
}

async function refused(call: Promise<unknown>, code: ProblemCode): Promise<ApiError> {
  const error = await call.then(() => undefined, (reason: unknown) => reason);
  assert(error instanceof ApiError, `${code}: ${error}`);
  assert.equal(error.code, code);
  return error;
}

const waitedFor: (string | null)[] = [];
const admin = new Client({
  url: `${NETWORK}/`,
  token: async () => TOKEN,
  fetch: (request) => {
    waitedFor.push(request.headers.get("X-Wait-For-Position"));
    return fetch(request);
  },
});
const { data: tool } = await admin.POST("/api/admin/tools", {
  body: { name: "GitHub", auth_type: "api_key", credential_mode: "shared", credential: "ghp_1" },
});
const { data: registered } = await admin.POST("/api/admin/agents", { body: { name: "Onboarding" } });
const pauses: number[] = [];
const agent = new Client({ url: SERVICE, token: registered.api_key ?? "", onRetry: (_, pause) => pauses.push(pause) });
const ofTool = { path: { id: tool.id } };

// The stream, through a network of its own.
const follower = new Client({ url: LINE, token: TOKEN });
const seen: LiveEvent[] = [];
const stream = follower.events({ include: "fetches" });
async function next(): Promise<LiveEvent> {
  const { value } = await stream.next();
  assert(value, "the stream ended");
  seen.push(value);
  return value;
}
async function until(action: string): Promise<Happening> {
  for (;;) {
    const event = await next();
    if (event.kind === "happened" && event.happening.action === action) return event.happening;
  }
}
assert.equal((await next()).kind, "current");

// A refusal has a code, and says what to do.
const early = await refused(agent.GET("/api/tools/{id}/credentials", { params: ofTool }), "access_not_approved");
assert.equal(early.status, 403);
assert.match(early.hint, /POST/);
assert.match(early.message, /POST/);
assert.match(early.requestId ?? "", /^[0-9a-f-]{36}$/);
const short = await refused(admin.POST("/api/admin/agents", { body: { name: "x" } }), "validation_failed");
assert.deepEqual(short.fields.map(({ field }) => field), ["name"]);
await refused(new Client({ url: SERVICE, token: "sk_agent_nonsense" }).GET("/api/me"), "credentials_malformed");

// An agent waits for a decision, which is about what was read.
const asked = agent.POST("/api/tools/{id}/request", {
  params: { ...ofTool, query: { wait: 30 } }, body: { reason: "to open pull requests" },
});
const { request_id: id = "" } = await until("grant.requested");
admin.waitFor(follower.position);
const { data: read, response } = await admin.GET("/api/admin/requests/{id}", { params: { path: { id } } });
assert.equal(read.reason, "to open pull requests");
const approve = (etag: string) =>
  admin.POST("/api/admin/requests/{id}/approve", { params: { path: { id }, header: { "If-Match": etag } } });
await refused(approve('"another"'), "revision_stale");
assert.equal((await approve(response.headers.get("ETag") ?? "")).data.status, "approved");
assert.equal((await asked).data.status, "approved");
const fetched = await agent.GET("/api/tools/{id}/credentials", { params: ofTool });
assert.equal(fetched.data.credential, "ghp_1");

// A repeat with the same key has one effect.
const twice = () =>
  admin.POST("/api/admin/agents", { params: { header: { "Idempotency-Key": "story-1" } }, body: { name: "Twice" } });
const [first, second] = [await twice(), await twice()];
assert.equal(first.response.headers.get("Idempotency-Replayed"), null);
assert.equal(second.response.headers.get("Idempotency-Replayed"), "true");
assert.equal(second.data.agent.id, first.data.agent.id);
assert.equal(second.data.api_key, undefined);

// So has a call whose answer was lost, and the client reads what it wrote.
await want("lose answers");
const once = admin.POST("/api/admin/agents", { body: { name: "Once" } });
await want("cut when one is lost");
const { response: late } = await once;
assert.equal(late.headers.get("Idempotency-Replayed"), "true");
assert.equal(late.headers.get("X-Event-Position"), String(admin.position));
const names: string[] = [];
const query = { limit: 1, sort: "-name" as const, status: ["active" as const, "suspended" as const] };
for await (const { name } of admin.each("/api/admin/agents", { params: { query } })) names.push(name);
assert.deepEqual(names, ["Twice", "Once", "Onboarding"]);
assert.deepEqual(waitedFor.slice(-3), Array(3).fill(String(admin.position)));

// It waits as long as it is asked to.
pauses.length = 0;
await agent.GET("/api/me");
await agent.GET("/api/me");
assert(pauses.includes(1000), `it waited ${pauses}`);
const hasty = new Client({ url: SERVICE, token: registered.api_key ?? "", patience: 0 });
assert.equal((await refused(hasty.GET("/api/me"), "rate_limited")).retryAfter, 1);
for await (const mine of agent.myTools("approved")) assert.equal(mine.id, tool.id);

// A stream continues where it was cut off, and says so if it can't.
await until("agent.registered");
await want("cut the line");
const direct = new Client({ url: SERVICE, token: TOKEN });
await direct.POST("/api/admin/agents/{id}/suspend", { params: { path: { id: registered.agent.id } } });
const waiting = until("agent.suspended");
await want("mend the line");
assert.equal((await waiting).agent_id, registered.agent.id);
await until("grant.revoked");
assert.equal((await next()).kind, "current");
const happened = seen.filter(({ kind }) => kind === "happened").map(({ id }) => id);
assert.equal(new Set(happened).size, happened.length, "an event came twice");
assert.equal(seen.length - happened.length, 2);
await stream.return();
direct.waitFor(Number.MAX_SAFE_INTEGER); // of a log that is gone
for await (const { kind } of direct.events({ after: Number.MAX_SAFE_INTEGER })) if (kind === "reset") break;
assert(direct.position < Number.MAX_SAFE_INTEGER);
const leaving = new AbortController();
await assert.rejects(async () => {
  for await (const _ of direct.events({ signal: leaving.signal })) leaving.abort();
}, { name: "AbortError" });
await refused(agent.myEvents().next(), "agent_suspended");
console.log("the end");
process.exit();

/** The compiler finds these mistakes. Nobody calls it. */
export function mistakes(error: ApiError): void {
  // @ts-expect-error: there is no such path
  void admin.GET("/api/admin/nothing");
  // @ts-expect-error: it has no DELETE
  void admin.DELETE("/api/admin/agents");
  // @ts-expect-error: it needs an id
  void admin.GET("/api/admin/agents/{id}");
  // @ts-expect-error: it needs a name
  void admin.POST("/api/admin/agents", { body: { description: "nameless" } });
  // @ts-expect-error: no sort has this name
  void admin.GET("/api/admin/agents", { params: { query: { sort: "weight" } } });
  // @ts-expect-error: it answers no list
  void admin.each("/api/admin/me");
  // @ts-expect-error: no code has this name
  void (error.code === "revision_stail");
}
