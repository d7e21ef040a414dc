-- What reports may rely on: names and types stay, columns are only added, at the end. Times are timestamptz, ids uuid,
-- data jsonb, and what is absent is NULL. A view is of its caller's moment: grants count as expired and revoked as
-- everywhere else. Names of people and of service tokens, addresses and user agents are in none: they can be erased. Whom you grant USAGE on the schema and SELECT on its views keeps both when the tables are replaced.

CREATE OR REPLACE VIEW reporting.organizations AS
SELECT id::uuid AS id, name FROM organizations;

CREATE OR REPLACE VIEW reporting.agents AS
SELECT id::uuid AS id, organization_id::uuid AS organization_id, position, name, description, nullif(owner_id, '') AS owner_id, status,
    'epoch'::timestamptz + created_at * interval '1 microsecond' AS created_at, created_by_type, created_by_id,
    'epoch'::timestamptz + nullif(last_seen_at, 0) * interval '1 microsecond' AS last_seen_at, revision,
    'epoch'::timestamptz + nullif(retired_at, 0) * interval '1 microsecond' AS retired_at,
    nullif(identity, '')::jsonb AS identity, 'epoch'::timestamptz + nullif(bound_at, 0) * interval '1 microsecond' AS bound_at,
    nullif(labels, '')::jsonb AS labels
FROM agents;

-- Of agents, tools and notification channels. At a position something had the name with the least until above it; where
-- there is none, the name of now.
CREATE OR REPLACE VIEW reporting.former_names AS
SELECT id::uuid AS id, until, organization_id::uuid AS organization_id, name FROM former_names;

CREATE OR REPLACE VIEW reporting.agent_keys AS
SELECT agent_id::uuid AS agent_id, number, id::uuid AS id,
    'epoch'::timestamptz + created_at * interval '1 microsecond' AS created_at,
    'epoch'::timestamptz + nullif(expires_at, 0) * interval '1 microsecond' AS expires_at,
    'epoch'::timestamptz + nullif(last_used_at, 0) * interval '1 microsecond' AS last_used_at
FROM agent_keys;

CREATE OR REPLACE VIEW reporting.tools AS
SELECT id::uuid AS id, organization_id::uuid AS organization_id, position, name, description, nullif(url, '') AS url, nullif(docs_url, '') AS docs_url,
    auth_type, credential_mode, credential_version,
    'epoch'::timestamptz + nullif(credential_expires_at, 0) * interval '1 microsecond' AS credential_expires_at,
    instructions, instructions_version, nullif(max_grant_seconds, 0) * interval '1 second' AS max_grant,
    nullif(approval, '')::jsonb AS approval,
    'epoch'::timestamptz + created_at * interval '1 microsecond' AS created_at,
    'epoch'::timestamptz + updated_at * interval '1 microsecond' AS updated_at,
    'epoch'::timestamptz + nullif(removed_at, 0) * interval '1 microsecond' AS removed_at, revision,
    replace(nullif(credential_fields, ''), '\u0000', '\ufffd')::jsonb AS credential_fields,
    nullif(removed_by_type, '') AS removed_by_type, nullif(removed_by_id, '') AS removed_by_id,
    'epoch'::timestamptz + nullif(credential_at, 0) * interval '1 microsecond' AS credential_at,
    'epoch'::timestamptz + nullif(frozen_at, 0) * interval '1 microsecond' AS frozen_at,
    nullif(frozen_position, 0) AS frozen_position, nullif(frozen_by_type, '') AS frozen_by_type,
    nullif(frozen_by_id, '') AS frozen_by_id, freezes,
    nullif(labels, '')::jsonb AS labels
FROM tools;

CREATE OR REPLACE VIEW reporting.tool_instructions AS
SELECT tool_id::uuid AS tool_id, version, organization_id::uuid AS organization_id, instructions, nullif(restored_from, 0) AS restored_from,
    'epoch'::timestamptz + created_at * interval '1 microsecond' AS created_at, created_by_type, created_by_id
FROM tool_instructions;

CREATE OR REPLACE VIEW reporting.requests AS
SELECT r.id::uuid AS id, r.organization_id::uuid AS organization_id, r.position, r.agent_id::uuid AS agent_id, r.tool_id::uuid AS tool_id, r.reason,
    CASE WHEN r.status = 'pending' AND t.removed_at <> 0 THEN 'withdrawn' ELSE r.status END AS status,
    'epoch'::timestamptz + r.created_at * interval '1 microsecond' AS created_at,
    'epoch'::timestamptz + nullif(CASE WHEN r.status = 'pending' THEN t.removed_at ELSE r.decided_at END, 0) * interval '1 microsecond' AS decided_at,
    nullif(CASE WHEN r.status = 'pending' THEN t.removed_by_type ELSE r.decided_by_type END, '') AS decided_by_type,
    nullif(CASE WHEN r.status = 'pending' THEN t.removed_by_id ELSE r.decided_by_id END, '') AS decided_by_id,
    nullif(r.denial_reason, '') AS denial_reason, nullif(r.decided_position, 0) AS decided_position,
    nullif(r.requested_seconds, 0) AS requested_seconds, (nullif(r.rule, '')::jsonb ->> 'id')::uuid AS rule_id,
    (nullif(r.rule, '')::jsonb ->> 'version')::integer AS rule_version
FROM requests AS r
JOIN tools AS t ON t.id = r.tool_id;

CREATE OR REPLACE VIEW reporting.grants AS
SELECT g.agent_id::uuid AS agent_id, g.tool_id::uuid AS tool_id, g.organization_id::uuid AS organization_id, g.position,
    CASE WHEN t.removed_at <> 0 AND g.status IN ('pending', 'approved') THEN 'revoked'
         WHEN g.status = 'approved' AND g.expires_at <> 0 AND 'epoch'::timestamptz + g.expires_at * interval '1 microsecond' <= now() THEN 'expired'
         ELSE g.status END AS status,
    g.origin, nullif(g.request_id, '')::uuid AS request_id, nullif(g.reason, '') AS reason,
    'epoch'::timestamptz + nullif(CASE WHEN t.removed_at <> 0 AND g.status IN ('pending', 'approved') THEN t.removed_at
        ELSE g.decided_at END, 0) * interval '1 microsecond' AS decided_at,
    nullif(CASE WHEN t.removed_at <> 0 AND g.status IN ('pending', 'approved') THEN t.removed_by_type ELSE g.decided_by_type END, '') AS decided_by_type,
    nullif(CASE WHEN t.removed_at <> 0 AND g.status IN ('pending', 'approved') THEN t.removed_by_id ELSE g.decided_by_id END, '') AS decided_by_id,
    nullif(g.denial_reason, '') AS denial_reason,
    'epoch'::timestamptz + nullif(g.expires_at, 0) * interval '1 microsecond' AS expires_at, g.fetch_count,
    'epoch'::timestamptz + nullif(g.last_fetched_at, 0) * interval '1 microsecond' AS last_fetched_at,
    'epoch'::timestamptz + nullif(g.credential_expires_at, 0) * interval '1 microsecond' AS credential_expires_at,
    'epoch'::timestamptz + nullif(g.approved_at, 0) * interval '1 microsecond' AS approved_at,
    nullif(g.approved_by_type, '') AS approved_by_type, nullif(g.approved_by_id, '') AS approved_by_id,
    'epoch'::timestamptz + nullif(CASE WHEN t.removed_at <> 0 AND g.status IN ('pending', 'approved') THEN t.removed_at
        WHEN g.status = 'expired' THEN g.expires_at
        WHEN g.status = 'approved' AND g.expires_at <> 0 AND 'epoch'::timestamptz + g.expires_at * interval '1 microsecond' <= now() THEN g.expires_at
        ELSE g.ended_at END, 0) * interval '1 microsecond' AS ended_at,
    nullif(CASE WHEN t.removed_at <> 0 AND g.status IN ('pending', 'approved') THEN t.removed_by_type ELSE g.ended_by_type END, '') AS ended_by_type,
    nullif(CASE WHEN t.removed_at <> 0 AND g.status IN ('pending', 'approved') THEN t.removed_by_id ELSE g.ended_by_id END, '') AS ended_by_id,
    nullif(g.decided_position, 0) AS decided_position, nullif(g.credential_version, 0) AS credential_version,
    'epoch'::timestamptz + nullif(g.credential_at, 0) * interval '1 microsecond' AS credential_at
FROM grants AS g
JOIN tools AS t ON t.id = g.tool_id;

-- Each version of a credential; what has no removed_at is in use, and a replaced one has been removed too.
CREATE OR REPLACE VIEW reporting.credentials AS
SELECT secret_id::uuid AS secret_id, organization_id::uuid AS organization_id, tool_id::uuid AS tool_id,
    nullif(agent_id, '')::uuid AS agent_id, version, position,
    'epoch'::timestamptz + created_at * interval '1 microsecond' AS created_at,
    'epoch'::timestamptz + nullif(expires_at, 0) * interval '1 microsecond' AS expires_at,
    'epoch'::timestamptz + nullif(removed_at, 0) * interval '1 microsecond' AS removed_at,
    nullif(removed_position, 9223372036854775807) AS removed_position,
    nullif(replaced_position, 9223372036854775807) AS replaced_position
FROM credentials;

CREATE OR REPLACE VIEW reporting.known_credentials AS
SELECT agent_id::uuid AS agent_id, secret_id::uuid AS secret_id, organization_id::uuid AS organization_id, position, fetch_count,
    'epoch'::timestamptz + first_fetched_at * interval '1 microsecond' AS first_fetched_at,
    'epoch'::timestamptz + last_fetched_at * interval '1 microsecond' AS last_fetched_at
FROM known_credentials;

CREATE OR REPLACE VIEW reporting.master_keys AS
SELECT id AS master_key_id, position, nullif(destroyed_position, 9223372036854775807) AS destroyed_position
FROM master_keys;

-- jsonb has no NUL in texts, so an escaped one becomes another sign.
CREATE OR REPLACE VIEW reporting.audit_entries AS
SELECT id::uuid AS id, organization_id::uuid AS organization_id, position, stream, revision, action, actor_type, actor_id, target_type, target_id,
    nullif(agent_id, '')::uuid AS agent_id, nullif(tool_id, '')::uuid AS tool_id, nullif(request_id, '') AS request_id,
    'epoch'::timestamptz + occurred_at * interval '1 microsecond' AS occurred_at,
    replace(data, '\u0000', '\ufffd')::jsonb AS data,
    nullif(on_behalf_of_type, '') AS on_behalf_of_type, nullif(on_behalf_of_id, '') AS on_behalf_of_id,
    retry = 1 AS retry
FROM audit_entries;

CREATE OR REPLACE VIEW reporting.suggestions AS
SELECT id::uuid AS id, organization_id::uuid AS organization_id, name, nullif(url, '') AS url, status, nullif(tool_id, '')::uuid AS tool_id,
    'epoch'::timestamptz + created_at * interval '1 microsecond' AS created_at, backer_count,
    'epoch'::timestamptz + last_activity_at * interval '1 microsecond' AS last_activity_at,
    'epoch'::timestamptz + nullif(decided_at, 0) * interval '1 microsecond' AS decided_at,
    nullif(decided_by_type, '') AS decided_by_type, nullif(decided_by_id, '') AS decided_by_id, nullif(dismissal_reason, '') AS dismissal_reason,
    nullif(site, '') AS site
FROM suggestions;

CREATE OR REPLACE VIEW reporting.suggestion_backers AS
SELECT suggestion_id::uuid AS suggestion_id, agent_id::uuid AS agent_id, position, latest_reason,
    'epoch'::timestamptz + first_at * interval '1 microsecond' AS first_at,
    'epoch'::timestamptz + last_at * interval '1 microsecond' AS last_at,
    name, nullif(url, '') AS url
FROM suggestion_backers;

CREATE OR REPLACE VIEW reporting.notes AS
SELECT id::uuid AS id, organization_id::uuid AS organization_id, position, tool_id::uuid AS tool_id, learned, status, guide_version,
    'epoch'::timestamptz + created_at * interval '1 microsecond' AS created_at,
    'epoch'::timestamptz + last_activity_at * interval '1 microsecond' AS last_activity_at,
    'epoch'::timestamptz + nullif(decided_at, 0) * interval '1 microsecond' AS decided_at,
    nullif(decided_by_type, '') AS decided_by_type, nullif(decided_by_id, '') AS decided_by_id, nullif(dismissal_reason, '') AS dismissal_reason
FROM notes;

CREATE OR REPLACE VIEW reporting.note_backers AS
SELECT note_id::uuid AS note_id, agent_id::uuid AS agent_id, position, latest_why,
    'epoch'::timestamptz + first_at * interval '1 microsecond' AS first_at,
    'epoch'::timestamptz + last_at * interval '1 microsecond' AS last_at
FROM note_backers;

CREATE OR REPLACE VIEW reporting.notification_channels AS
SELECT id::uuid AS id, organization_id::uuid AS organization_id, position, kind, name, string_to_array(topics, ',') AS topics, host, recipients,
    'epoch'::timestamptz + created_at * interval '1 microsecond' AS created_at,
    'epoch'::timestamptz + updated_at * interval '1 microsecond' AS updated_at,
    'epoch'::timestamptz + nullif(removed_at, 0) * interval '1 microsecond' AS removed_at, revision,
    'epoch'::timestamptz + nullif(held_until, 0) * interval '1 microsecond' AS held_until
FROM notification_channels;

CREATE OR REPLACE VIEW reporting.deliveries AS
SELECT id::uuid AS id, organization_id::uuid AS organization_id, position, channel_id::uuid AS channel_id, topic,
    nullif(agent_id, '')::uuid AS agent_id, nullif(tool_id, '')::uuid AS tool_id, nullif(request_id, '')::uuid AS request_id,
    nullif(suggestion_id, '')::uuid AS suggestion_id,
    'epoch'::timestamptz + nullif(ends_at, 0) * interval '1 microsecond' AS ends_at, status, attempts, nullif(problem, '') AS problem,
    'epoch'::timestamptz + queued_at * interval '1 microsecond' AS queued_at,
    'epoch'::timestamptz + nullif(due_at, 0) * interval '1 microsecond' AS due_at,
    'epoch'::timestamptz + nullif(ended_at, 0) * interval '1 microsecond' AS ended_at, place,
    nullif(digest_id, '')::uuid AS digest_id
FROM deliveries;

CREATE OR REPLACE VIEW reporting.progress AS
SELECT store_id, 'epoch'::timestamptz + nullif(store_created, 0) * interval '1 microsecond' AS store_created, position
FROM checkpoints
