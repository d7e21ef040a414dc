-- The read model. One text for every engine: times are microseconds since 1970 as BIGINT with 0 for none, ids and
-- JSON are TEXT with '' for none, and nothing here calls a function that one engine alone has. position is the
-- place in the log of the event that made the row: unique, never changed, and the order of every list.

-- Where the streams end by which access is decided, as far as the rows know: a stream that ends before that has
-- lost something.
CREATE TABLE stream_ends (
    stream   TEXT   NOT NULL PRIMARY KEY,
    revision BIGINT NOT NULL, -- of its last event that is ours
    link     TEXT   NOT NULL  -- its hash
);

CREATE TABLE organizations (
    id   TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL
);

CREATE TABLE agents (
    id              TEXT   NOT NULL PRIMARY KEY,
    organization_id TEXT   NOT NULL,
    position        BIGINT NOT NULL,
    name            TEXT   NOT NULL,
    name_folded     TEXT   NOT NULL,
    description     TEXT   NOT NULL,
    description_folded TEXT NOT NULL, -- as names are, to be searched
    owner_id        TEXT   NOT NULL,
    labels          TEXT   NOT NULL DEFAULT '', -- JSON with its keys in order; '' for none
    identity        TEXT   NOT NULL DEFAULT '', -- of its workload, JSON; '' for none
    bound_at        BIGINT NOT NULL DEFAULT 0,
    status          TEXT   NOT NULL, -- active, suspended, retired
    created_at      BIGINT NOT NULL,
    created_by_type TEXT   NOT NULL,
    created_by_id   TEXT   NOT NULL,
    last_seen_at    BIGINT NOT NULL DEFAULT 0,
    fetch_count     BIGINT NOT NULL DEFAULT 0,
    last_fetched_at BIGINT NOT NULL DEFAULT 0,
    retired_at      BIGINT NOT NULL DEFAULT 0,
    revision        BIGINT NOT NULL DEFAULT 1
);
CREATE INDEX agents_newest ON agents (organization_id, position);
CREATE INDEX agents_counted ON agents (organization_id, status, last_seen_at, created_at);

-- What agents, tools, rules and notification channels were called before they were renamed. What was never renamed has none,
-- so the past costs nothing where it is like the present.
CREATE TABLE former_names (
    id              TEXT   NOT NULL,
    until           BIGINT NOT NULL, -- the position of the event that replaced the name
    organization_id TEXT   NOT NULL,
    name            TEXT   NOT NULL,
    name_folded     TEXT   NOT NULL DEFAULT '', -- of agents and tools, which are found by it
    PRIMARY KEY (id, until)
);

CREATE TABLE agent_keys (
    agent_id     TEXT   NOT NULL,
    number       BIGINT NOT NULL,
    id           TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL DEFAULT 0,
    last_used_at BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY (agent_id, number)
);
CREATE INDEX agent_keys_ending ON agent_keys (expires_at) WHERE expires_at > 0;

CREATE TABLE tools (
    id                    TEXT   NOT NULL PRIMARY KEY,
    organization_id       TEXT   NOT NULL,
    position              BIGINT NOT NULL,
    name                  TEXT   NOT NULL,
    name_folded           TEXT   NOT NULL,
    skeleton              TEXT   NOT NULL, -- the same for names that look alike
    description           TEXT   NOT NULL,
    description_folded    TEXT   NOT NULL,
    url                   TEXT   NOT NULL,
    docs_url              TEXT   NOT NULL,
    auth_type             TEXT   NOT NULL,
    credential_mode       TEXT   NOT NULL,
    credential_version    BIGINT NOT NULL DEFAULT 0, -- 0: the tool has no credential of its own
    credential_expires_at BIGINT NOT NULL DEFAULT 0,
    credential_at         BIGINT NOT NULL DEFAULT 0, -- since when it has this version
    credential_by_type    TEXT   NOT NULL DEFAULT '',
    credential_by_id      TEXT   NOT NULL DEFAULT '',
    credential_fields     TEXT   NOT NULL DEFAULT '', -- the names of its parts in JSON; '' for one string
    instructions          TEXT   NOT NULL DEFAULT '',
    instructions_version  BIGINT NOT NULL DEFAULT 0,
    max_grant_seconds     BIGINT NOT NULL,
    approval              TEXT   NOT NULL DEFAULT '', -- its rules in JSON; '' for none
    labels                TEXT   NOT NULL DEFAULT '', -- as those of agents
    created_at            BIGINT NOT NULL,
    updated_at            BIGINT NOT NULL,
    removed_at            BIGINT NOT NULL DEFAULT 0, -- a removed tool is still shown by its id, and named
    removed_by_type       TEXT   NOT NULL DEFAULT '',
    removed_by_id         TEXT   NOT NULL DEFAULT '',
    revision              BIGINT NOT NULL DEFAULT 1,
    fetch_count           BIGINT NOT NULL DEFAULT 0,
    last_fetched_at       BIGINT NOT NULL DEFAULT 0,
    frozen_at             BIGINT NOT NULL DEFAULT 0, -- 0: it isn't frozen
    frozen_position       BIGINT NOT NULL DEFAULT 0, -- of the freeze in force
    frozen_by_type        TEXT   NOT NULL DEFAULT '', -- the last time, also after it
    frozen_by_id          TEXT   NOT NULL DEFAULT '',
    freezes               BIGINT NOT NULL DEFAULT 0  -- what was granted at a lower count has ended
);
CREATE INDEX tools_alike ON tools (organization_id, skeleton);
CREATE INDEX tools_newest ON tools (organization_id, position);
CREATE INDEX tools_expiring ON tools (credential_expires_at) WHERE credential_expires_at > 0 AND removed_at = 0;

CREATE TABLE tool_instructions (
    tool_id         TEXT   NOT NULL,
    version         BIGINT NOT NULL,
    organization_id TEXT   NOT NULL,
    instructions    TEXT   NOT NULL,
    restored_from   BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    created_by_type TEXT   NOT NULL,
    created_by_id   TEXT   NOT NULL,
    PRIMARY KEY (tool_id, version)
);

CREATE TABLE requests (
    id              TEXT   NOT NULL PRIMARY KEY,
    organization_id TEXT   NOT NULL,
    position        BIGINT NOT NULL,
    agent_id        TEXT   NOT NULL,
    tool_id         TEXT   NOT NULL,
    reason          TEXT   NOT NULL,
    reason_folded   TEXT   NOT NULL,
    status          TEXT   NOT NULL, -- pending, approved, denied, withdrawn
    created_at      BIGINT NOT NULL,
    decided_at      BIGINT NOT NULL DEFAULT 0,
    decided_by_type TEXT   NOT NULL DEFAULT '',
    decided_by_id   TEXT   NOT NULL DEFAULT '',
    denial_reason   TEXT   NOT NULL DEFAULT '',
    decided_position BIGINT NOT NULL DEFAULT 0, -- at which names are those of the decision
    requested_seconds BIGINT NOT NULL DEFAULT 0, -- that the agent wants access for; 0: it did not say
    rule            TEXT   NOT NULL DEFAULT ''   -- that decided it, as JSON with its name of then; '': none
);
CREATE INDEX requests_newest ON requests (organization_id, position);
CREATE INDEX requests_by_status ON requests (organization_id, status, position);
CREATE INDEX requests_by_agent ON requests (agent_id, position);
CREATE INDEX requests_by_tool ON requests (tool_id, position);
CREATE INDEX requests_waiting ON requests (organization_id, tool_id, created_at) WHERE status = 'pending';

-- The approvals before the last one of a request that needed several.
CREATE TABLE approvals (
    request_id TEXT   NOT NULL,
    by_id      TEXT   NOT NULL,
    at         BIGINT NOT NULL,
    PRIMARY KEY (request_id, by_id)
);

-- The newest state of each agent's access to each tool.
CREATE TABLE grants (
    agent_id        TEXT   NOT NULL,
    tool_id         TEXT   NOT NULL,
    organization_id TEXT   NOT NULL,
    position        BIGINT NOT NULL,
    status          TEXT   NOT NULL, -- as the last event left it; see the queries for what counts now
    origin          TEXT   NOT NULL,
    request_id      TEXT   NOT NULL,
    reason          TEXT   NOT NULL,
    reason_folded   TEXT   NOT NULL,
    requested_at    BIGINT NOT NULL DEFAULT 0, -- 0: it was assigned without a request
    decided_at      BIGINT NOT NULL DEFAULT 0,
    decided_by_type TEXT   NOT NULL DEFAULT '',
    decided_by_id   TEXT   NOT NULL DEFAULT '',
    denial_reason   TEXT   NOT NULL DEFAULT '',
    approved_at     BIGINT NOT NULL DEFAULT 0, -- kept when the access ends
    approved_by_type TEXT  NOT NULL DEFAULT '',
    approved_by_id  TEXT   NOT NULL DEFAULT '',
    ended_at        BIGINT NOT NULL DEFAULT 0, -- by somebody, not by its time
    ended_by_type   TEXT   NOT NULL DEFAULT '',
    ended_by_id     TEXT   NOT NULL DEFAULT '',
    expires_at      BIGINT NOT NULL DEFAULT 0,
    fetch_count     BIGINT NOT NULL DEFAULT 0,
    last_fetched_at BIGINT NOT NULL DEFAULT 0,
    credential_expires_at BIGINT NOT NULL DEFAULT 0, -- of the agent's own credential
    credential_version BIGINT NOT NULL DEFAULT 0, -- of the agent's own credential; 0: it never had one
    credential_at   BIGINT NOT NULL DEFAULT 0, -- since when it has this version
    decided_position BIGINT NOT NULL DEFAULT 0, -- of the newest decision: at which names are those of then
    rule            TEXT   NOT NULL DEFAULT '', -- that decided the request, as JSON with its name of then; '': none
    PRIMARY KEY (agent_id, tool_id)
);
CREATE INDEX grants_newest ON grants (organization_id, position);
CREATE INDEX grants_by_status ON grants (organization_id, status, position);
CREATE INDEX grants_by_tool ON grants (tool_id, position);
CREATE INDEX grants_due ON grants (expires_at) WHERE status = 'approved' AND expires_at > 0;
CREATE INDEX grants_counted ON grants (tool_id, expires_at) WHERE status = 'approved';
CREATE INDEX grants_ending ON grants (organization_id, expires_at, tool_id, agent_id) WHERE status = 'approved' AND expires_at > 0;
CREATE INDEX grants_expiring ON grants (credential_expires_at) WHERE status = 'approved' AND credential_expires_at > 0;

-- Each version of a credential that there was, with the positions from which on it has been removed and replaced; the
-- greatest position there is: it hasn't been. So these rows answer for every moment.
CREATE TABLE credentials (
    secret_id         TEXT   NOT NULL PRIMARY KEY,
    organization_id   TEXT   NOT NULL,
    tool_id           TEXT   NOT NULL,
    agent_id          TEXT   NOT NULL, -- whose own it is; '': it is shared
    version           BIGINT NOT NULL,
    created_at        BIGINT NOT NULL,
    expires_at        BIGINT NOT NULL,
    position          BIGINT NOT NULL,
    removed_position  BIGINT NOT NULL DEFAULT 9223372036854775807, -- replaced, or ended with the tool or the access
    removed_at        BIGINT NOT NULL DEFAULT 0,
    replaced_position BIGINT NOT NULL DEFAULT 9223372036854775807 -- by a newer one
);
CREATE INDEX credentials_by_tool ON credentials (tool_id, agent_id);

-- The master keys that wrap credentials, with the position from which on no copy of one is left. A credential that was
-- removed is destroyed when all keys are that were there until then.
CREATE TABLE master_keys (
    id                 TEXT   NOT NULL PRIMARY KEY,
    position           BIGINT NOT NULL,
    destroyed_position BIGINT NOT NULL DEFAULT 9223372036854775807
);

-- Which agent has fetched which version of a credential.
CREATE TABLE known_credentials (
    agent_id         TEXT   NOT NULL,
    secret_id        TEXT   NOT NULL,
    organization_id  TEXT   NOT NULL,
    position         BIGINT NOT NULL, -- of the first fetch
    fetch_count      BIGINT NOT NULL,
    first_fetched_at BIGINT NOT NULL,
    last_fetched_at  BIGINT NOT NULL,
    PRIMARY KEY (agent_id, secret_id)
);
CREATE INDEX known_credentials_newest ON known_credentials (organization_id, position);
CREATE INDEX known_credentials_by_secret ON known_credentials (secret_id);

-- How many fetches there were in a stretch of time: an hour, or 1, 8 or 64 days of 24 hours, counted from 1970 on.
-- agent_id is '' in the sum over all agents, tool_id in the sum over all tools; of an agent and a tool together there are
-- hours only. An hour also says how many of its fetches came from its 15th, 30th and 45th minute on, for zones that are
-- as far off.
CREATE TABLE fetch_counts (
    organization_id TEXT   NOT NULL,
    agent_id        TEXT   NOT NULL,
    tool_id         TEXT   NOT NULL,
    hours           BIGINT NOT NULL, -- 1, 24, 192 or 1536
    hour            BIGINT NOT NULL, -- the first one, since 1970
    vended          BIGINT NOT NULL,
    refused         BIGINT NOT NULL,
    vended_15       BIGINT NOT NULL,
    vended_30       BIGINT NOT NULL,
    vended_45       BIGINT NOT NULL,
    refused_15      BIGINT NOT NULL,
    refused_30      BIGINT NOT NULL,
    refused_45      BIGINT NOT NULL,
    last_vended_at  BIGINT NOT NULL, -- 0: all were refused
    PRIMARY KEY (organization_id, agent_id, tool_id, hours, hour)
);
CREATE INDEX fetch_counts_charted ON fetch_counts (organization_id, agent_id, tool_id, hours, hour, vended, refused);
CREATE INDEX fetch_counts_by_agent ON fetch_counts (organization_id, hours, hour, agent_id, vended, refused) WHERE agent_id <> '' AND tool_id = '';
CREATE INDEX fetch_counts_by_tool ON fetch_counts (organization_id, hours, hour, tool_id, vended, refused) WHERE agent_id = '' AND tool_id <> '';
CREATE INDEX fetch_counts_of_tool ON fetch_counts (organization_id, tool_id, hour, agent_id, vended, refused) WHERE agent_id <> '' AND tool_id <> '';

CREATE TABLE audit_entries (
    organization_id TEXT   NOT NULL,
    position        BIGINT NOT NULL,
    id              TEXT   NOT NULL,
    stream          TEXT   NOT NULL,
    revision        BIGINT NOT NULL,
    action          TEXT   NOT NULL,
    actor_type      TEXT   NOT NULL,
    actor_id        TEXT   NOT NULL,
    on_behalf_of_type     TEXT   NOT NULL, -- for whom a part of the system acted
    on_behalf_of_id       TEXT   NOT NULL,
    target_type     TEXT   NOT NULL,
    target_id       TEXT   NOT NULL,
    agent_id        TEXT   NOT NULL,
    tool_id         TEXT   NOT NULL,
    request_id      TEXT   NOT NULL, -- of the HTTP request
    occurred_at     BIGINT NOT NULL,
    data            TEXT   NOT NULL,
    private         TEXT   NOT NULL, -- sealed, as it is in the log
    retry           BIGINT NOT NULL, -- 1: one more attempt to deliver a notification, which changes nothing
    id_hash         BIGINT NOT NULL, -- by which an id is found
    in_outline      BIGINT,          -- the lists that the entry is in; see audit_lists.go
    in_organization BIGINT NOT NULL,
    in_agent        BIGINT,
    in_tool         BIGINT,
    in_access       BIGINT,
    in_actor        BIGINT,
    in_actor_agent  BIGINT,
    in_actor_tool   BIGINT,
    PRIMARY KEY (organization_id, position)
);
CREATE INDEX audit_entries_id_hash ON audit_entries (id_hash);
CREATE INDEX audit_entries_in_outline ON audit_entries (in_outline, position) WHERE in_outline IS NOT NULL;
CREATE INDEX audit_entries_in_organization ON audit_entries (in_organization, position);
CREATE INDEX audit_entries_in_agent ON audit_entries (in_agent, position) WHERE in_agent IS NOT NULL;
CREATE INDEX audit_entries_in_tool ON audit_entries (in_tool, position) WHERE in_tool IS NOT NULL;
CREATE INDEX audit_entries_in_access ON audit_entries (in_access, position) WHERE in_access IS NOT NULL;
CREATE INDEX audit_entries_in_actor ON audit_entries (in_actor, position) WHERE in_actor IS NOT NULL;
CREATE INDEX audit_entries_in_actor_agent ON audit_entries (in_actor_agent, position) WHERE in_actor_agent IS NOT NULL;
CREATE INDEX audit_entries_in_actor_tool ON audit_entries (in_actor_tool, position) WHERE in_actor_tool IS NOT NULL;

-- The words of what agents and people wrote in clear: reasons, suggestions and notes.
CREATE TABLE audit_words (
    in_word  BIGINT NOT NULL, -- the list of the entries with this word; see audit_lists.go
    position BIGINT NOT NULL, -- of the entry
    word     TEXT   NOT NULL,
    PRIMARY KEY (in_word, position)
);

-- Between which positions a time lies: an entry of this minute or a later one is at first_position or after it, and one
-- of this minute or an earlier one at last_position or before it.
CREATE TABLE audit_minutes (
    organization_id TEXT   NOT NULL,
    minute          BIGINT NOT NULL, -- since 1970
    first_position  BIGINT NOT NULL,
    last_position   BIGINT NOT NULL,
    PRIMARY KEY (organization_id, minute)
);

CREATE TABLE suggestions (
    id               TEXT   NOT NULL PRIMARY KEY,
    organization_id  TEXT   NOT NULL,
    name             TEXT   NOT NULL,
    name_folded      TEXT   NOT NULL, -- as names of products are compared
    name_searched    TEXT   NOT NULL, -- folded as other names are
    url              TEXT   NOT NULL,
    site             TEXT   NOT NULL, -- the registrable domain of url
    status           TEXT   NOT NULL, -- pending, accepted, dismissed, redirected
    tool_id          TEXT   NOT NULL DEFAULT '', -- that answered it
    created_at       BIGINT NOT NULL,
    backer_count     BIGINT NOT NULL DEFAULT 0,
    last_activity_at BIGINT NOT NULL, -- the last that an agent said
    decided_at       BIGINT NOT NULL DEFAULT 0,
    decided_by_type  TEXT   NOT NULL DEFAULT '',
    decided_by_id    TEXT   NOT NULL DEFAULT '',
    dismissal_reason TEXT   NOT NULL DEFAULT ''
);
CREATE INDEX suggestions_by_status ON suggestions (organization_id, status);

CREATE TABLE suggestion_backers (
    suggestion_id TEXT   NOT NULL,
    agent_id      TEXT   NOT NULL,
    position      BIGINT NOT NULL, -- of the first time
    name          TEXT   NOT NULL, -- what this agent calls it
    url           TEXT   NOT NULL,
    latest_reason TEXT   NOT NULL,
    latest_reason_folded TEXT NOT NULL,
    first_at      BIGINT NOT NULL,
    last_at       BIGINT NOT NULL,
    PRIMARY KEY (suggestion_id, agent_id)
);
CREATE INDEX suggestion_backers_newest ON suggestion_backers (position);

-- What agents learned about a tool.
CREATE TABLE notes (
    id               TEXT   NOT NULL PRIMARY KEY,
    organization_id  TEXT   NOT NULL,
    position         BIGINT NOT NULL,
    tool_id          TEXT   NOT NULL,
    learned          TEXT   NOT NULL,
    learned_folded   TEXT   NOT NULL,
    status           TEXT   NOT NULL, -- pending, accepted, dismissed
    guide_version    BIGINT NOT NULL, -- that its agent had before it; of an accepted one: that took it up
    created_at       BIGINT NOT NULL,
    last_activity_at BIGINT NOT NULL,
    decided_at       BIGINT NOT NULL DEFAULT 0,
    decided_by_type  TEXT   NOT NULL DEFAULT '',
    decided_by_id    TEXT   NOT NULL DEFAULT '',
    dismissal_reason TEXT   NOT NULL DEFAULT ''
);
CREATE INDEX notes_newest ON notes (organization_id, status, position);

CREATE TABLE note_backers (
    note_id    TEXT   NOT NULL,
    agent_id   TEXT   NOT NULL,
    position   BIGINT NOT NULL, -- of the first time
    latest_why TEXT   NOT NULL,
    latest_why_folded TEXT NOT NULL,
    first_at   BIGINT NOT NULL,
    last_at    BIGINT NOT NULL,
    PRIMARY KEY (note_id, agent_id)
);
-- What the rules that decide requests are called, also of those that were removed.
CREATE TABLE rules (
    id              TEXT   NOT NULL PRIMARY KEY,
    organization_id TEXT   NOT NULL,
    name            TEXT   NOT NULL
);

CREATE TABLE notification_channels (
    id              TEXT   NOT NULL PRIMARY KEY,
    organization_id TEXT   NOT NULL,
    position        BIGINT NOT NULL,
    kind            TEXT   NOT NULL,
    name            TEXT   NOT NULL,
    topics          TEXT   NOT NULL, -- with commas between them
    host            TEXT   NOT NULL,
    recipients      BIGINT NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    removed_at      BIGINT NOT NULL DEFAULT 0, -- a removed channel stays for the names in old deliveries
    held_until      BIGINT NOT NULL DEFAULT 0, -- nothing is sent to it before
    revision        BIGINT NOT NULL DEFAULT 1
);
CREATE INDEX notification_channels_newest ON notification_channels (organization_id, position);

CREATE TABLE deliveries (
    id              TEXT   NOT NULL PRIMARY KEY,
    organization_id TEXT   NOT NULL,
    position        BIGINT NOT NULL,
    channel_id      TEXT   NOT NULL,
    topic           TEXT   NOT NULL,
    agent_id        TEXT   NOT NULL,
    tool_id         TEXT   NOT NULL,
    request_id      TEXT   NOT NULL, -- of an agent, for access
    suggestion_id   TEXT   NOT NULL,
    ends_at         BIGINT NOT NULL, -- of what needs care
    status          TEXT   NOT NULL, -- pending, failed, delivered, dead
    attempts        BIGINT NOT NULL DEFAULT 0,
    problem         TEXT   NOT NULL DEFAULT '', -- of the last attempt
    queued_at       BIGINT NOT NULL,
    due_at          BIGINT NOT NULL, -- when the next attempt may begin; 0: never
    ended_at        BIGINT NOT NULL DEFAULT 0,
    place           BIGINT NOT NULL, -- in its channel's queue: where it was queued last in the log
    digest_id       TEXT   NOT NULL DEFAULT '' -- that it was delivered in
);
CREATE INDEX deliveries_newest ON deliveries (organization_id, position);
CREATE INDEX deliveries_by_channel ON deliveries (channel_id, position);
CREATE INDEX deliveries_by_status ON deliveries (organization_id, status, position);
CREATE INDEX deliveries_due ON deliveries (channel_id, due_at) WHERE due_at > 0;

-- The past: what a row was from the position of the event that made it so (since) until that of the next one. The row of
-- now is here too, until the greatest position there is. What a fetch changes is left out, because a fetch changes no
-- access.
CREATE TABLE past_agents (
    id              TEXT   NOT NULL,
    since           BIGINT NOT NULL,
    until           BIGINT NOT NULL,
    organization_id TEXT   NOT NULL,
    position        BIGINT NOT NULL,
    name            TEXT   NOT NULL,
    name_folded     TEXT   NOT NULL,
    description     TEXT   NOT NULL,
    description_folded TEXT NOT NULL,
    owner_id        TEXT   NOT NULL,
    labels          TEXT   NOT NULL,
    identity        TEXT   NOT NULL,
    bound_at        BIGINT NOT NULL,
    status          TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    created_by_type TEXT   NOT NULL,
    created_by_id   TEXT   NOT NULL,
    retired_at      BIGINT NOT NULL,
    revision        BIGINT NOT NULL,
    PRIMARY KEY (id, since)
);
CREATE INDEX past_agents_newest ON past_agents (organization_id, position);

CREATE TABLE past_agent_keys (
    agent_id   TEXT   NOT NULL,
    number     BIGINT NOT NULL,
    since      BIGINT NOT NULL,
    until      BIGINT NOT NULL,
    id         TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (agent_id, number, since)
);

CREATE TABLE past_tools (
    id                    TEXT   NOT NULL,
    since                 BIGINT NOT NULL,
    until                 BIGINT NOT NULL,
    organization_id       TEXT   NOT NULL,
    position              BIGINT NOT NULL,
    name                  TEXT   NOT NULL,
    name_folded           TEXT   NOT NULL,
    skeleton              TEXT   NOT NULL,
    description           TEXT   NOT NULL,
    description_folded    TEXT   NOT NULL,
    url                   TEXT   NOT NULL,
    docs_url              TEXT   NOT NULL,
    auth_type             TEXT   NOT NULL,
    credential_mode       TEXT   NOT NULL,
    credential_version    BIGINT NOT NULL,
    credential_expires_at BIGINT NOT NULL,
    credential_at         BIGINT NOT NULL,
    credential_by_type    TEXT   NOT NULL,
    credential_by_id      TEXT   NOT NULL,
    credential_fields     TEXT   NOT NULL,
    instructions          TEXT   NOT NULL,
    instructions_version  BIGINT NOT NULL,
    max_grant_seconds     BIGINT NOT NULL,
    approval              TEXT   NOT NULL,
    labels                TEXT   NOT NULL,
    created_at            BIGINT NOT NULL,
    updated_at            BIGINT NOT NULL,
    removed_at            BIGINT NOT NULL,
    removed_by_type       TEXT   NOT NULL,
    removed_by_id         TEXT   NOT NULL,
    revision              BIGINT NOT NULL,
    frozen_at             BIGINT NOT NULL,
    frozen_position       BIGINT NOT NULL,
    frozen_by_type        TEXT   NOT NULL,
    frozen_by_id          TEXT   NOT NULL,
    freezes               BIGINT NOT NULL,
    PRIMARY KEY (id, since)
);
CREATE INDEX past_tools_newest ON past_tools (organization_id, position);

CREATE TABLE past_requests (
    id               TEXT   NOT NULL,
    since            BIGINT NOT NULL,
    until            BIGINT NOT NULL,
    organization_id  TEXT   NOT NULL,
    position         BIGINT NOT NULL,
    agent_id         TEXT   NOT NULL,
    tool_id          TEXT   NOT NULL,
    reason           TEXT   NOT NULL,
    reason_folded    TEXT   NOT NULL,
    status           TEXT   NOT NULL,
    created_at       BIGINT NOT NULL,
    decided_at       BIGINT NOT NULL,
    decided_by_type  TEXT   NOT NULL,
    decided_by_id    TEXT   NOT NULL,
    denial_reason    TEXT   NOT NULL,
    decided_position BIGINT NOT NULL,
    requested_seconds BIGINT NOT NULL,
    rule             TEXT   NOT NULL,
    PRIMARY KEY (id, since)
);
CREATE INDEX past_requests_newest ON past_requests (organization_id, position);
CREATE INDEX past_requests_by_status ON past_requests (organization_id, status, position);
CREATE INDEX past_requests_by_agent ON past_requests (agent_id, position);
CREATE INDEX past_requests_by_tool ON past_requests (tool_id, position);

CREATE TABLE past_grants (
    agent_id              TEXT   NOT NULL,
    tool_id               TEXT   NOT NULL,
    since                 BIGINT NOT NULL,
    until                 BIGINT NOT NULL,
    organization_id       TEXT   NOT NULL,
    position              BIGINT NOT NULL,
    status                TEXT   NOT NULL,
    origin                TEXT   NOT NULL,
    request_id            TEXT   NOT NULL,
    reason                TEXT   NOT NULL,
    reason_folded         TEXT   NOT NULL,
    requested_at          BIGINT NOT NULL,
    decided_at            BIGINT NOT NULL,
    decided_by_type       TEXT   NOT NULL,
    decided_by_id         TEXT   NOT NULL,
    denial_reason         TEXT   NOT NULL,
    approved_at           BIGINT NOT NULL,
    approved_by_type      TEXT   NOT NULL,
    approved_by_id        TEXT   NOT NULL,
    ended_at              BIGINT NOT NULL,
    ended_by_type         TEXT   NOT NULL,
    ended_by_id           TEXT   NOT NULL,
    expires_at            BIGINT NOT NULL,
    credential_expires_at BIGINT NOT NULL,
    credential_version    BIGINT NOT NULL,
    credential_at         BIGINT NOT NULL,
    decided_position      BIGINT NOT NULL,
    rule                  TEXT   NOT NULL,
    PRIMARY KEY (agent_id, tool_id, since)
);
CREATE INDEX past_grants_newest ON past_grants (organization_id, position);
CREATE INDEX past_grants_by_status ON past_grants (organization_id, status, position);
CREATE INDEX past_grants_by_tool ON past_grants (tool_id, position);

CREATE TABLE past_suggestions (
    id               TEXT   NOT NULL,
    since            BIGINT NOT NULL,
    until            BIGINT NOT NULL,
    organization_id  TEXT   NOT NULL,
    name             TEXT   NOT NULL,
    name_folded      TEXT   NOT NULL,
    name_searched    TEXT   NOT NULL,
    url              TEXT   NOT NULL,
    site             TEXT   NOT NULL,
    status           TEXT   NOT NULL,
    tool_id          TEXT   NOT NULL,
    created_at       BIGINT NOT NULL,
    backer_count     BIGINT NOT NULL,
    last_activity_at BIGINT NOT NULL,
    decided_at       BIGINT NOT NULL,
    decided_by_type  TEXT   NOT NULL,
    decided_by_id    TEXT   NOT NULL,
    dismissal_reason TEXT   NOT NULL,
    PRIMARY KEY (id, since)
);
CREATE INDEX past_suggestions_by_status ON past_suggestions (organization_id, status);

CREATE TABLE past_suggestion_backers (
    suggestion_id TEXT   NOT NULL,
    agent_id      TEXT   NOT NULL,
    since         BIGINT NOT NULL,
    until         BIGINT NOT NULL,
    position      BIGINT NOT NULL,
    name          TEXT   NOT NULL,
    url           TEXT   NOT NULL,
    latest_reason TEXT   NOT NULL,
    latest_reason_folded TEXT NOT NULL,
    first_at      BIGINT NOT NULL,
    last_at       BIGINT NOT NULL,
    PRIMARY KEY (suggestion_id, agent_id, since)
);
CREATE INDEX past_suggestion_backers_newest ON past_suggestion_backers (position);
