import { call, follow, newKey, Problem, providerLink, read, signIn, signOut } from "./api.js";

const $ = (id) => document.getElementById(id);
let permissions = [];

// el makes an element. Text is set as text, so a name that an agent chose is never markup.
function el(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  Object.assign(made, attributes);
  made.append(...children.filter((child) => child != null));
  return made;
}

const number = new Intl.NumberFormat();
const when = (time) => new Date(time).toLocaleString([], { dateStyle: "short", timeStyle: "short" });
const day = (time) => new Date(time).toLocaleDateString([], { day: "numeric", month: "short" });

function say(error) {
  $("alert").hidden = !error;
  $("alert").textContent = error?.message ?? "";
}

// tried runs what a person asked for, and shows why it failed.
async function tried(action) {
  say(null);
  try {
    await action();
  } catch (error) {
    if (error.status === 401) await showSignIn();
    say(error);
  }
}

async function showFigures() {
  const s = await read("/api/admin/summary");
  const figures = [
    ["requests waiting", s.pending.requests, s.pending.oldest_at && `oldest ${when(s.pending.oldest_at)}`],
    ["suggestions", s.pending.suggestions, `and notes: ${number.format(s.pending.notes)}`],
    ["agents", s.agents.active, `${number.format(s.agents.quiet)} quiet, ${number.format(s.agents.suspended)} suspended`],
    ["tools", s.tools.total, `${number.format(s.tools.without_credential)} without a credential`],
    ["accesses", s.grants.approved, `${number.format(s.grants.expiring)} end within 7 days`],
    ["fetches in 24 h", s.fetches.last_24h,
      `${number.format(s.fetches.previous_24h)} the day before, ${number.format(s.fetches.refused_24h)} refused`],
  ];
  $("figures").replaceChildren(...figures.map(([name, value, more]) =>
    el("div", {}, el("strong", { textContent: number.format(value) }), name, el("div", { className: "quiet", textContent: more || "" }))));
}

function shape(tag, attributes, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

async function showChart() {
  const to = new Date();
  const from = new Date(to.getFullYear(), to.getMonth(), to.getDate() - 13);
  const tz = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const { buckets, totals } = await read(`/api/admin/usage?${new URLSearchParams({
    from: from.toISOString(), to: to.toISOString(), bucket: "day", tz })}`);
  const most = Math.max(1, ...buckets.map((b) => b.vended + b.refused));
  const width = Math.max(280, $("chart").clientWidth), height = 180, left = 44, step = (width - left) / buckets.length;
  const high = (n) => (n / most) * (height - 36);
  const label = `${number.format(totals.vended)} vended, ${number.format(totals.refused)} refused`;
  const chart = shape("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    shape("line", { class: "axis", x1: left, x2: width, y1: height - 20, y2: height - 20 }),
    shape("text", { x: left - 6, y: 22, "text-anchor": "end" }, number.format(most)),
    shape("text", { x: left - 6, y: height - 20, "text-anchor": "end" }, "0"));
  buckets.forEach((b, i) => {
    const x = left + i * step + step * 0.15, w = step * 0.7, floor = height - 20;
    chart.append(shape("g", {},
      shape("title", {}, `${day(b.at)}: ${number.format(b.vended)} vended, ${number.format(b.refused)} refused`),
      shape("rect", { class: "vended", x, y: floor - high(b.vended), width: w, height: high(b.vended) }),
      shape("rect", { class: "refused", x, y: floor - high(b.vended + b.refused), width: w, height: high(b.refused) })));
    const last = i === buckets.length - 1;
    if ((buckets.length - 1 - i) % Math.ceil(50 / step) === 0)
      chart.append(shape("text", { x: last ? width : x + w / 2, y: height - 5, "text-anchor": last ? "end" : "middle" }, day(b.at)));
  });
  $("chart").replaceChildren(chart, el("p", { className: "quiet", textContent: label }));
}

// past says what was between an agent and a tool before.
function past({ agent, tool, history }) {
  const lines = [`${agent.name} is ${agent.status} and has ${number.format(agent.approved)} tools. ` +
    `${number.format(tool.approved)} agents have ${tool.name}.`];
  if (agent.description) lines.unshift(agent.description);
  for (const h of history.slice(0, 3)) lines.push(`${when(h.at)}: ${h.action}${h.by?.label ? ` by ${h.by.label}` : ""}`);
  return lines.map((textContent) => el("p", { className: "quiet", textContent }));
}

// card shows a request. Approving and denying send its ETag, so that a person decides on exactly what
// the card says: if that changed meanwhile, nothing happens, and the card is shown again.
function card(r) {
  const own = r.credential_mode === "per_agent"
    ? el("input", { type: "password", autocomplete: "off", required: true, placeholder: "Credential for this agent" }) : null;
  const why = el("input", { placeholder: "Reason, if you deny", maxLength: 500 });
  const deny = el("button", { className: "plain", type: "button", textContent: "Deny" });
  const form = el("form", {}, own, why, el("button", { textContent: "Approve" }), deny);
  const made = el("article", {},
    el("p", {}, el("strong", { textContent: r.agent_name }), " asks for ", el("strong", { textContent: r.tool_name })),
    el("p", { className: "reason", textContent: r.reason }),
    ...(r.context ? past(r.context) : []),
    el("p", { className: "quiet", textContent: `asked ${when(r.created_at)}` +
      (r.approvals ? `, ${r.approvals.given.length} of ${r.approvals.required} approvals` : "") }));
  const keys = {}; // a second click on the same decision, after a lost answer, decides once
  const decide = (how, body) => tried(async () => {
    const busy = (is) => form.querySelectorAll("button").forEach((b) => { b.disabled = is; });
    busy(true);
    try {
      const key = keys[how + JSON.stringify(body)] ??= newKey();
      await call("POST", `/api/admin/requests/${r.id}/${how}`, { body, ifMatch: r.etag, key });
    } catch (error) {
      if (![404, 409, 412].includes(error.status)) { // what was typed stays
        busy(false);
        throw error;
      }
      await showQueue();
      if (error.code === "revision_stale") error.message = "This request changed while you read it. Look at it again and decide.";
      throw error;
    }
    await showQueue();
  });
  form.onsubmit = (event) => { event.preventDefault(); decide("approve", own ? { credential: own.value } : {}); };
  deny.onclick = () => decide("deny", why.value ? { reason: why.value } : {});
  if (permissions.includes("approve")) made.append(form);
  return made;
}

async function showQueue() {
  const { items } = await read("/api/admin/requests?status=pending&limit=10&expand=context");
  const cards = items.map(card);
  $("queue").replaceChildren(...(cards.length ? cards : [el("p", { className: "quiet", textContent: "Nothing is waiting." })]));
}

let older = "";
async function showAudit(more = false) {
  if (!permissions.includes("audit")) return;
  const query = new URLSearchParams({ limit: 20 });
  if ($("category").value) query.set("category", $("category").value);
  else query.set("not_category", "fetch,notification");
  if (more) query.set("cursor", older);
  const { items, next_cursor: next } = await read(`/api/admin/audit?${query}`);
  const lines = items.map((e) => el("li", {},
    el("time", { className: "quiet", dateTime: e.occurred_at, textContent: when(e.occurred_at) }),
    el("span", { textContent: e.summary, title: e.action })));
  more ? $("audit").append(...lines) : $("audit").replaceChildren(...lines);
  older = next ?? "";
  $("more").hidden = !older;
}

// Events come one by one; the page is read again at most every half second.
let due = null;
function refreshSoon() {
  due ??= setTimeout(async () => {
    due = null;
    const writing = $("queue").contains(document.activeElement); // nobody's half-typed reason is taken away
    await Promise.all([showFigures(), writing ? null : showQueue(), showAudit()]).catch(say);
  }, 500);
}

async function showSignIn() {
  $("signed-in").hidden = true;
  $("sign-in").hidden = false;
  const link = await providerLink().catch(() => null);
  $("provider").hidden = !link;
  if (link) $("provider").href = link;
}

async function begin() {
  let me;
  try {
    me = await read("/api/admin/me");
  } catch (error) {
    if (!(error instanceof Problem) || error.status !== 401) say(error);
    return showSignIn();
  }
  permissions = me.permissions;
  $("organization").textContent = me.organization.name;
  $("caller").textContent = `${me.actor.label ?? me.actor.id}, ${me.role}`;
  $("sign-in").hidden = true;
  $("signed-in").hidden = false;
  $("audit").parentElement.hidden = !permissions.includes("audit");
  await tried(() => Promise.all([showFigures(), showChart(), showQueue(), showAudit()]));
  const connected = (is) => {
    $("live").textContent = is ? "live" : "connecting";
    $("live").className = is ? "on quiet" : "quiet";
  };
  follow(refreshSoon, connected).catch((error) => tried(() => { throw error; }));
}

$("sign-in").querySelector("form").onsubmit = (event) => {
  event.preventDefault();
  const token = $("token").value.trim();
  $("token").value = "";
  tried(async () => { await signIn(token); await begin(); });
};
$("sign-out").onclick = () => tried(async () => { await signOut(); location.reload(); });
$("category").onchange = () => tried(() => showAudit());
$("more").onclick = () => tried(() => showAudit(true));
setInterval(() => { if (!$("signed-in").hidden && !document.hidden) showChart().catch(say); }, 60_000);
begin();
