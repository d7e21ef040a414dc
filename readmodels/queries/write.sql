-- What the projection does with an event. Each statement states an effect; none reads a value to compute the next.

-- name: InsertOrganization :exec
INSERT INTO organizations (id, name) VALUES (sqlc.arg(id), sqlc.arg(name));

-- name: KeepFormerOrganizationName :exec
INSERT INTO former_names (id, until, organization_id, name)
SELECT o.id, sqlc.arg(position), o.id, o.name FROM organizations AS o WHERE o.id = sqlc.arg(id);

-- name: RenameOrganization :exec
UPDATE organizations SET name = sqlc.arg(name) WHERE id = sqlc.arg(id);

-- name: InsertAgent :exec
INSERT INTO agents (id, organization_id, position, name, name_folded, description, description_folded, owner_id, status, created_at, created_by_type,
                    created_by_id, labels)
VALUES (sqlc.arg(id), sqlc.arg(organization_id), sqlc.arg(position), sqlc.arg(name), sqlc.arg(name_folded), sqlc.arg(description),
        sqlc.arg(description_folded), sqlc.arg(owner_id), 'active', sqlc.arg(created_at), sqlc.arg(created_by_type), sqlc.arg(created_by_id), sqlc.arg(labels));

-- name: KeepFormerAgentName :exec
INSERT INTO former_names (id, until, organization_id, name, name_folded)
SELECT o.id, sqlc.arg(position), o.organization_id, o.name, o.name_folded FROM agents AS o WHERE o.id = sqlc.arg(id) AND o.name <> sqlc.arg(name);

-- name: UpdateAgent :exec
UPDATE agents SET
    name = coalesce(sqlc.narg(name), name),
    name_folded = coalesce(sqlc.narg(name_folded), name_folded),
    description = coalesce(sqlc.narg(description), description),
    description_folded = coalesce(sqlc.narg(description_folded), description_folded),
    owner_id = coalesce(sqlc.narg(owner_id), owner_id),
    labels = coalesce(sqlc.narg(labels), labels),
    revision = revision + 1
WHERE id = sqlc.arg(id);

-- name: SetAgentStatus :exec
UPDATE agents SET status = sqlc.arg(status), revision = revision + 1 WHERE id = sqlc.arg(id);

-- name: SetAgentIdentity :exec
UPDATE agents SET identity = sqlc.arg(identity), bound_at = sqlc.arg(bound_at), revision = revision + 1 WHERE id = sqlc.arg(id);

-- name: RetireAgent :exec
UPDATE agents SET status = 'retired', identity = '', bound_at = 0, retired_at = sqlc.arg(retired_at), revision = revision + 1 WHERE id = sqlc.arg(id);

-- name: SeeAgent :exec
UPDATE agents SET
    last_seen_at = sqlc.arg(last_seen_at), fetch_count = fetch_count + sqlc.arg(fetches),
    last_fetched_at = CASE WHEN CAST(sqlc.arg(last_fetched_at) AS BIGINT) = 0 THEN last_fetched_at ELSE sqlc.arg(last_fetched_at) END
WHERE id = sqlc.arg(id);

-- name: TouchAgent :exec
UPDATE agents SET revision = revision + 1 WHERE id = sqlc.arg(id);

-- name: InsertKey :exec
INSERT INTO agent_keys (agent_id, number, id, created_at)
VALUES (sqlc.arg(agent_id), sqlc.arg(number), sqlc.arg(id), sqlc.arg(created_at));

-- name: EndKey :exec
UPDATE agent_keys SET expires_at = sqlc.arg(expires_at) WHERE agent_id = sqlc.arg(agent_id) AND number = sqlc.arg(number);

-- name: UseKey :exec
UPDATE agent_keys SET last_used_at = sqlc.arg(last_used_at) WHERE agent_id = sqlc.arg(agent_id) AND number = sqlc.arg(number);

-- name: ForgetKeys :exec
DELETE FROM agent_keys WHERE agent_id = sqlc.arg(agent_id) AND number <= sqlc.arg(upto);

-- name: InsertTool :exec
INSERT INTO tools (id, organization_id, position, name, name_folded, skeleton, description, description_folded, url, docs_url, auth_type,
                   credential_mode, credential_version, credential_at, credential_by_type, credential_by_id, credential_fields, max_grant_seconds, approval, created_at, updated_at, labels)
VALUES (sqlc.arg(id), sqlc.arg(organization_id), sqlc.arg(position), sqlc.arg(name), sqlc.arg(name_folded), sqlc.arg(skeleton), sqlc.arg(description),
        sqlc.arg(description_folded), sqlc.arg(url), sqlc.arg(docs_url), sqlc.arg(auth_type), sqlc.arg(credential_mode), sqlc.arg(credential_version),
        sqlc.arg(credential_at), sqlc.arg(credential_by_type), sqlc.arg(credential_by_id), sqlc.arg(credential_fields), sqlc.arg(max_grant_seconds), sqlc.arg(approval), sqlc.arg(at), sqlc.arg(at), sqlc.arg(labels));

-- name: KeepFormerToolName :exec
INSERT INTO former_names (id, until, organization_id, name, name_folded)
SELECT o.id, sqlc.arg(position), o.organization_id, o.name, o.name_folded FROM tools AS o WHERE o.id = sqlc.arg(id) AND o.name <> sqlc.arg(name);

-- name: UpdateTool :exec
UPDATE tools SET
    name = coalesce(sqlc.narg(name), name),
    name_folded = coalesce(sqlc.narg(name_folded), name_folded),
    skeleton = coalesce(sqlc.narg(skeleton), skeleton),
    description = coalesce(sqlc.narg(description), description),
    description_folded = coalesce(sqlc.narg(description_folded), description_folded),
    url = coalesce(sqlc.narg(url), url),
    docs_url = coalesce(sqlc.narg(docs_url), docs_url),
    auth_type = coalesce(sqlc.narg(auth_type), auth_type),
    max_grant_seconds = coalesce(sqlc.narg(max_grant_seconds), max_grant_seconds),
    approval = coalesce(sqlc.narg(approval), approval),
    labels = coalesce(sqlc.narg(labels), labels),
    updated_at = sqlc.arg(at),
    revision = revision + 1
WHERE id = sqlc.arg(id);

-- name: RotateToolCredential :exec
UPDATE tools SET
    credential_version = sqlc.arg(credential_version),
    credential_at = sqlc.arg(at),
    credential_by_type = sqlc.arg(by_type),
    credential_by_id = sqlc.arg(by_id),
    credential_expires_at = sqlc.arg(credential_expires_at),
    credential_fields = sqlc.arg(credential_fields),
    updated_at = sqlc.arg(at),
    revision = revision + 1
WHERE id = sqlc.arg(id);

-- name: ReviseTool :exec
UPDATE tools SET
    instructions = sqlc.arg(instructions),
    instructions_version = sqlc.arg(instructions_version),
    updated_at = sqlc.arg(at),
    revision = revision + 1
WHERE id = sqlc.arg(id);

-- name: UseTool :exec
UPDATE tools SET fetch_count = fetch_count + sqlc.arg(fetches), last_fetched_at = sqlc.arg(last_fetched_at) WHERE id = sqlc.arg(id);

-- name: InsertInstructions :exec
INSERT INTO tool_instructions (tool_id, version, organization_id, instructions, restored_from, created_at, created_by_type, created_by_id)
VALUES (sqlc.arg(tool_id), sqlc.arg(version), sqlc.arg(organization_id), sqlc.arg(instructions), sqlc.arg(restored_from),
        sqlc.arg(created_at), sqlc.arg(created_by_type), sqlc.arg(created_by_id));

-- name: RemoveTool :exec
UPDATE tools SET
    removed_at = sqlc.arg(removed_at), removed_by_type = sqlc.arg(removed_by_type), removed_by_id = sqlc.arg(removed_by_id),
    revision = revision + 1
WHERE id = sqlc.arg(id);

-- name: FreezeTool :exec
UPDATE tools SET
    frozen_at = sqlc.arg(at), frozen_position = sqlc.arg(position), frozen_by_type = sqlc.arg(by_type), frozen_by_id = sqlc.arg(by_id),
    freezes = sqlc.arg(freezes), updated_at = sqlc.arg(at), revision = revision + 1
WHERE id = sqlc.arg(id);

-- name: UnfreezeTool :exec
UPDATE tools SET frozen_at = 0, frozen_position = 0, updated_at = sqlc.arg(at), revision = revision + 1
WHERE id = sqlc.arg(id);

-- name: EndGrantsOfTool :exec
UPDATE grants SET
    status = 'revoked',
    decided_at = sqlc.arg(at), decided_position = sqlc.arg(position), decided_by_type = sqlc.arg(by_type), decided_by_id = sqlc.arg(by_id),
    ended_at = sqlc.arg(at), ended_by_type = sqlc.arg(by_type), ended_by_id = sqlc.arg(by_id)
WHERE tool_id = sqlc.arg(tool_id) AND status IN ('pending', 'approved');

-- name: WithdrawRequestsOfTool :exec
UPDATE requests SET
    status = 'withdrawn',
    decided_at = sqlc.arg(at), decided_position = sqlc.arg(position), decided_by_type = sqlc.arg(by_type), decided_by_id = sqlc.arg(by_id)
WHERE tool_id = sqlc.arg(tool_id) AND status = 'pending';

-- What was decided before a freeze of the tool and written after it has ended with that.

-- name: EndFrozenGrant :exec
UPDATE grants SET
    status = 'revoked',
    decided_at = sqlc.arg(at), decided_position = sqlc.arg(position), decided_by_type = t.frozen_by_type, decided_by_id = t.frozen_by_id,
    ended_at = sqlc.arg(at), ended_by_type = t.frozen_by_type, ended_by_id = t.frozen_by_id
FROM tools AS t
WHERE grants.agent_id = sqlc.arg(agent_id) AND grants.tool_id = sqlc.arg(tool_id) AND grants.status IN ('pending', 'approved')
  AND t.id = grants.tool_id AND t.freezes > sqlc.arg(freezes);

-- name: WithdrawFrozenRequest :exec
UPDATE requests SET
    status = 'withdrawn',
    decided_at = sqlc.arg(at), decided_position = sqlc.arg(position), decided_by_type = t.frozen_by_type, decided_by_id = t.frozen_by_id
FROM tools AS t
WHERE requests.id = sqlc.arg(id) AND requests.status = 'pending' AND t.id = requests.tool_id AND t.freezes > sqlc.arg(freezes);

-- name: InsertRequest :exec
INSERT INTO requests (id, organization_id, position, agent_id, tool_id, reason, reason_folded, status, created_at, requested_seconds)
VALUES (sqlc.arg(id), sqlc.arg(organization_id), sqlc.arg(position), sqlc.arg(agent_id), sqlc.arg(tool_id), sqlc.arg(reason),
        sqlc.arg(reason_folded), 'pending', sqlc.arg(created_at), sqlc.arg(requested_seconds));

-- name: DecideRequest :exec
UPDATE requests SET
    status = sqlc.arg(status),
    decided_at = sqlc.arg(decided_at),
    decided_position = sqlc.arg(decided_position),
    decided_by_type = sqlc.arg(decided_by_type),
    decided_by_id = sqlc.arg(decided_by_id),
    denial_reason = sqlc.arg(denial_reason),
    rule = sqlc.arg(rule)
WHERE id = sqlc.arg(id) AND status = 'pending';

-- name: AskGrant :exec
INSERT INTO grants (agent_id, tool_id, organization_id, position, status, origin, request_id, reason, reason_folded, requested_at)
VALUES (sqlc.arg(agent_id), sqlc.arg(tool_id), sqlc.arg(organization_id), sqlc.arg(position), 'pending', sqlc.arg(origin),
        sqlc.arg(request_id), sqlc.arg(reason), sqlc.arg(reason_folded), sqlc.arg(requested_at))
ON CONFLICT (agent_id, tool_id) DO UPDATE SET
    status = excluded.status, origin = excluded.origin, request_id = excluded.request_id, reason = excluded.reason,
    reason_folded = excluded.reason_folded, requested_at = excluded.requested_at,
    decided_at = 0, decided_position = 0, decided_by_type = '', decided_by_id = '', denial_reason = '', expires_at = 0, fetch_count = 0, last_fetched_at = 0,
    credential_expires_at = 0, approved_at = 0, approved_by_type = '', approved_by_id = '',
    ended_at = 0, ended_by_type = '', ended_by_id = '', rule = '';

-- name: AssignGrant :exec
INSERT INTO grants (agent_id, tool_id, organization_id, position, status, origin, request_id, reason, reason_folded,
                    decided_at, decided_position, decided_by_type, decided_by_id, approved_at, approved_by_type, approved_by_id, expires_at)
VALUES (sqlc.arg(agent_id), sqlc.arg(tool_id), sqlc.arg(organization_id), sqlc.arg(position), 'approved', sqlc.arg(origin), '', sqlc.arg(reason),
        sqlc.arg(reason_folded),
        sqlc.arg(decided_at), sqlc.arg(position), sqlc.arg(decided_by_type), sqlc.arg(decided_by_id),
        sqlc.arg(decided_at), sqlc.arg(decided_by_type), sqlc.arg(decided_by_id), sqlc.arg(expires_at))
ON CONFLICT (agent_id, tool_id) DO UPDATE SET
    status = excluded.status, origin = excluded.origin, request_id = '', reason = excluded.reason,
    reason_folded = excluded.reason_folded, requested_at = 0, decided_at = excluded.decided_at,
    decided_position = excluded.decided_position,
    decided_by_type = excluded.decided_by_type, decided_by_id = excluded.decided_by_id, denial_reason = '',
    expires_at = excluded.expires_at, fetch_count = 0, last_fetched_at = 0, credential_expires_at = 0,
    approved_at = excluded.approved_at, approved_by_type = excluded.approved_by_type, approved_by_id = excluded.approved_by_id,
    ended_at = 0, ended_by_type = '', ended_by_id = '', rule = '';

-- name: ApproveGrant :exec
UPDATE grants SET
    status = 'approved', expires_at = sqlc.arg(expires_at), rule = sqlc.arg(rule),
    decided_at = sqlc.arg(decided_at), decided_position = sqlc.arg(decided_position), decided_by_type = sqlc.arg(decided_by_type), decided_by_id = sqlc.arg(decided_by_id),
    approved_at = sqlc.arg(decided_at), approved_by_type = sqlc.arg(decided_by_type), approved_by_id = sqlc.arg(decided_by_id),
    ended_at = 0, ended_by_type = '', ended_by_id = '' -- a freeze may have ended what was decided before it
WHERE agent_id = sqlc.arg(agent_id) AND tool_id = sqlc.arg(tool_id);

-- name: AddApproval :exec
INSERT INTO approvals (request_id, by_id, at) VALUES (sqlc.arg(request_id), sqlc.arg(by_id), sqlc.arg(at))
ON CONFLICT (request_id, by_id) DO NOTHING;

-- name: GiveGrantCredential :exec
UPDATE grants SET
    credential_version = 1, credential_at = sqlc.arg(at)
WHERE agent_id = sqlc.arg(agent_id) AND tool_id = sqlc.arg(tool_id);

-- name: DenyGrant :exec
UPDATE grants SET
    status = 'denied', denial_reason = sqlc.arg(denial_reason), rule = sqlc.arg(rule),
    decided_at = sqlc.arg(decided_at), decided_position = sqlc.arg(decided_position), decided_by_type = sqlc.arg(decided_by_type), decided_by_id = sqlc.arg(decided_by_id),
    ended_at = 0, ended_by_type = '', ended_by_id = '' -- as above
WHERE agent_id = sqlc.arg(agent_id) AND tool_id = sqlc.arg(tool_id);

-- name: EndGrant :exec
UPDATE grants SET
    status = sqlc.arg(status),
    decided_at = sqlc.arg(decided_at), decided_position = sqlc.arg(decided_position), decided_by_type = sqlc.arg(decided_by_type), decided_by_id = sqlc.arg(decided_by_id),
    ended_at = sqlc.arg(decided_at), ended_by_type = sqlc.arg(decided_by_type), ended_by_id = sqlc.arg(decided_by_id)
WHERE agent_id = sqlc.arg(agent_id) AND tool_id = sqlc.arg(tool_id);

-- name: EndGrantWithTool :exec
UPDATE grants SET
    decided_by_type = t.removed_by_type, decided_by_id = t.removed_by_id,
    ended_by_type = t.removed_by_type, ended_by_id = t.removed_by_id
FROM tools AS t
WHERE grants.agent_id = sqlc.arg(agent_id) AND grants.tool_id = sqlc.arg(tool_id) AND t.id = grants.tool_id AND t.removed_at <> 0;

-- name: ExpireGrant :exec
UPDATE grants SET status = 'expired' WHERE agent_id = sqlc.arg(agent_id) AND tool_id = sqlc.arg(tool_id);

-- name: CountFetches :exec
UPDATE grants SET
    fetch_count = fetch_count + sqlc.arg(fetches), last_fetched_at = sqlc.arg(last_fetched_at)
WHERE agent_id = sqlc.arg(agent_id) AND tool_id = sqlc.arg(tool_id);

-- name: KnowCredential :exec
INSERT INTO known_credentials (agent_id, secret_id, organization_id, position, fetch_count, first_fetched_at, last_fetched_at)
VALUES (sqlc.arg(agent_id), sqlc.arg(secret_id), sqlc.arg(organization_id), sqlc.arg(position), sqlc.arg(fetches),
        sqlc.arg(first_fetched_at), sqlc.arg(last_fetched_at))
ON CONFLICT (agent_id, secret_id) DO UPDATE SET
    fetch_count = known_credentials.fetch_count + excluded.fetch_count, last_fetched_at = excluded.last_fetched_at;

-- Of a tool that doesn't exist there is no row of its own: an agent can make up any number of ids.

-- name: addFetchCounts :exec
INSERT INTO fetch_counts (organization_id, agent_id, tool_id, hours, hour, vended, refused, vended_15, vended_30, vended_45,
    refused_15, refused_30, refused_45, last_vended_at)
SELECT CAST(sqlc.arg(organization_id) AS TEXT), CAST(sqlc.arg(agent_id) AS TEXT), CAST(sqlc.arg(tool_id) AS TEXT),
    CAST(sqlc.arg(hours) AS BIGINT), CAST(sqlc.arg(hour) AS BIGINT), CAST(sqlc.arg(vended) AS BIGINT), CAST(sqlc.arg(refused) AS BIGINT),
    CAST(sqlc.arg(vended_15) AS BIGINT), CAST(sqlc.arg(vended_30) AS BIGINT), CAST(sqlc.arg(vended_45) AS BIGINT),
    CAST(sqlc.arg(refused_15) AS BIGINT), CAST(sqlc.arg(refused_30) AS BIGINT), CAST(sqlc.arg(refused_45) AS BIGINT),
    CAST(sqlc.arg(last_vended_at) AS BIGINT)
WHERE CAST(sqlc.arg(tool_id) AS TEXT) = '' OR EXISTS (SELECT 1 FROM tools AS t
    WHERE t.id = CAST(sqlc.arg(tool_id) AS TEXT) AND t.organization_id = CAST(sqlc.arg(organization_id) AS TEXT))
ON CONFLICT (organization_id, agent_id, tool_id, hours, hour) DO UPDATE SET
    vended = fetch_counts.vended + excluded.vended, refused = fetch_counts.refused + excluded.refused,
    vended_15 = fetch_counts.vended_15 + excluded.vended_15, vended_30 = fetch_counts.vended_30 + excluded.vended_30,
    vended_45 = fetch_counts.vended_45 + excluded.vended_45, refused_15 = fetch_counts.refused_15 + excluded.refused_15,
    refused_30 = fetch_counts.refused_30 + excluded.refused_30, refused_45 = fetch_counts.refused_45 + excluded.refused_45,
    last_vended_at = CASE WHEN excluded.last_vended_at > fetch_counts.last_vended_at THEN excluded.last_vended_at
        ELSE fetch_counts.last_vended_at END;

-- name: InsertCredential :exec
INSERT INTO credentials (secret_id, organization_id, tool_id, agent_id, version, created_at, expires_at, position)
VALUES (sqlc.arg(secret_id), sqlc.arg(organization_id), sqlc.arg(tool_id), sqlc.arg(agent_id), sqlc.arg(version),
        sqlc.arg(at), sqlc.arg(expires_at), sqlc.arg(position));

-- name: ReplaceCredentials :exec
UPDATE credentials SET
    replaced_position = sqlc.arg(position),
    removed_at = CASE WHEN removed_position > sqlc.arg(position) THEN sqlc.arg(at) ELSE removed_at END,
    removed_position = CASE WHEN removed_position > sqlc.arg(position) THEN sqlc.arg(position) ELSE removed_position END
WHERE tool_id = sqlc.arg(tool_id) AND agent_id = sqlc.arg(agent_id) AND replaced_position > sqlc.arg(position);

-- name: RemoveCredential :exec
UPDATE credentials SET removed_position = sqlc.arg(position), removed_at = sqlc.arg(at)
WHERE secret_id = sqlc.arg(secret_id) AND removed_position > sqlc.arg(position);

-- name: InsertMasterKey :exec
INSERT INTO master_keys (id, position) VALUES (sqlc.arg(id), sqlc.arg(position)) ON CONFLICT (id) DO NOTHING;

-- name: DestroyMasterKey :exec
UPDATE master_keys SET destroyed_position = sqlc.arg(position)
WHERE id = sqlc.arg(id) AND destroyed_position > sqlc.arg(position);

-- name: InsertSuggestion :exec
INSERT INTO suggestions (id, organization_id, name, name_folded, name_searched, url, site, status, created_at, last_activity_at)
VALUES (sqlc.arg(id), sqlc.arg(organization_id), sqlc.arg(name), sqlc.arg(name_folded), sqlc.arg(name_searched), sqlc.arg(url),
        sqlc.arg(site), 'pending', sqlc.arg(at), sqlc.arg(at));

-- name: BackSuggestion :exec
INSERT INTO suggestion_backers (suggestion_id, agent_id, position, name, url, latest_reason, latest_reason_folded, first_at, last_at)
VALUES (sqlc.arg(suggestion_id), sqlc.arg(agent_id), sqlc.arg(position), sqlc.arg(name), sqlc.arg(url), sqlc.arg(reason), sqlc.arg(reason_folded), sqlc.arg(at), sqlc.arg(at))
ON CONFLICT (suggestion_id, agent_id) DO UPDATE SET name = excluded.name, url = excluded.url, latest_reason = excluded.latest_reason,
    latest_reason_folded = excluded.latest_reason_folded, last_at = excluded.last_at;

-- name: ReopenSuggestion :exec
UPDATE suggestions SET
    status = 'pending', last_activity_at = sqlc.arg(at), decided_at = 0, decided_by_type = '', decided_by_id = '', dismissal_reason = '',
    backer_count = (SELECT count(*) FROM suggestion_backers AS b WHERE b.suggestion_id = suggestions.id)
WHERE suggestions.id = sqlc.arg(id);

-- name: DecideSuggestion :exec
UPDATE suggestions SET
    status = sqlc.arg(status), tool_id = sqlc.arg(tool_id), dismissal_reason = sqlc.arg(dismissal_reason), decided_at = sqlc.arg(decided_at),
    decided_by_type = sqlc.arg(decided_by_type), decided_by_id = sqlc.arg(decided_by_id)
WHERE id = sqlc.arg(id);

-- name: InsertNote :exec
INSERT INTO notes (id, organization_id, position, tool_id, learned, learned_folded, status, guide_version, created_at, last_activity_at)
VALUES (sqlc.arg(id), sqlc.arg(organization_id), sqlc.arg(position), sqlc.arg(tool_id), sqlc.arg(learned), sqlc.arg(learned_folded), 'pending', sqlc.arg(guide_version),
        sqlc.arg(at), sqlc.arg(at));

-- name: BackNote :exec
INSERT INTO note_backers (note_id, agent_id, position, latest_why, latest_why_folded, first_at, last_at)
VALUES (sqlc.arg(note_id), sqlc.arg(agent_id), sqlc.arg(position), sqlc.arg(why), sqlc.arg(why_folded), sqlc.arg(at), sqlc.arg(at))
ON CONFLICT (note_id, agent_id) DO UPDATE SET latest_why = excluded.latest_why, latest_why_folded = excluded.latest_why_folded, last_at = excluded.last_at;

-- name: SeeNote :exec
UPDATE notes SET last_activity_at = sqlc.arg(at) WHERE id = sqlc.arg(id);

-- name: DecideNote :exec
UPDATE notes SET
    status = sqlc.arg(status), guide_version = coalesce(sqlc.narg(guide_version), guide_version), dismissal_reason = sqlc.arg(dismissal_reason),
    decided_at = sqlc.arg(decided_at), decided_by_type = sqlc.arg(decided_by_type), decided_by_id = sqlc.arg(decided_by_id)
WHERE id = sqlc.arg(id);
-- name: ReplaceGrantCredential :exec
UPDATE grants SET
    credential_expires_at = sqlc.arg(credential_expires_at),
    credential_version = sqlc.arg(credential_version),
    credential_at = sqlc.arg(at)
WHERE agent_id = sqlc.arg(agent_id) AND tool_id = sqlc.arg(tool_id);

-- name: InsertRule :exec
INSERT INTO rules (id, organization_id, name) VALUES (sqlc.arg(id), sqlc.arg(organization_id), sqlc.arg(name));

-- name: KeepFormerRuleName :exec
INSERT INTO former_names (id, until, organization_id, name)
SELECT o.id, sqlc.arg(position), o.organization_id, o.name FROM rules AS o WHERE o.id = sqlc.arg(id) AND o.name <> sqlc.arg(name);

-- name: RenameRule :exec
UPDATE rules SET name = sqlc.arg(name) WHERE id = sqlc.arg(id);

-- name: InsertChannel :exec
INSERT INTO notification_channels (id, organization_id, position, kind, name, topics, host, recipients, created_at, updated_at)
VALUES (sqlc.arg(id), sqlc.arg(organization_id), sqlc.arg(position), sqlc.arg(kind), sqlc.arg(name), sqlc.arg(topics), sqlc.arg(host),
        sqlc.arg(recipients), sqlc.arg(at), sqlc.arg(at));

-- name: KeepFormerChannelName :exec
INSERT INTO former_names (id, until, organization_id, name)
SELECT o.id, sqlc.arg(position), o.organization_id, o.name FROM notification_channels AS o WHERE o.id = sqlc.arg(id) AND o.name <> sqlc.arg(name);

-- name: UpdateChannel :exec
UPDATE notification_channels SET
    name = coalesce(sqlc.narg(name), name),
    topics = coalesce(sqlc.narg(topics), topics),
    host = coalesce(sqlc.narg(host), host),
    recipients = coalesce(sqlc.narg(recipients), recipients),
    updated_at = sqlc.arg(at),
    revision = revision + 1
WHERE id = sqlc.arg(id);

-- name: RemoveChannel :exec
UPDATE notification_channels SET removed_at = sqlc.arg(removed_at) WHERE id = sqlc.arg(id);

-- name: HoldChannel :exec
UPDATE notification_channels SET held_until = sqlc.arg(held_until) WHERE id = sqlc.arg(id);

-- name: InsertDelivery :exec
INSERT INTO deliveries (id, organization_id, position, channel_id, topic, agent_id, tool_id, request_id, suggestion_id, ends_at, status, queued_at, due_at, place)
VALUES (sqlc.arg(id), sqlc.arg(organization_id), sqlc.arg(position), sqlc.arg(channel_id), sqlc.arg(topic), sqlc.arg(agent_id), sqlc.arg(tool_id),
        sqlc.arg(request_id), sqlc.arg(suggestion_id), sqlc.arg(ends_at), 'pending', sqlc.arg(at), sqlc.arg(at), sqlc.arg(position));

-- name: ClaimDelivery :exec
UPDATE deliveries SET attempts = sqlc.arg(attempts), due_at = sqlc.arg(due_at) WHERE id = sqlc.arg(id);

-- name: FailDelivery :exec
UPDATE deliveries SET status = 'failed', problem = sqlc.arg(problem), due_at = sqlc.arg(due_at) WHERE id = sqlc.arg(id);

-- name: EndDelivery :exec
UPDATE deliveries SET status = sqlc.arg(status), problem = sqlc.arg(problem), due_at = 0, ended_at = sqlc.arg(ended_at),
    digest_id = sqlc.arg(digest_id) WHERE id = sqlc.arg(id);

-- name: RequeueDelivery :exec
UPDATE deliveries SET status = 'pending', due_at = sqlc.arg(due_at), ended_at = 0, place = sqlc.arg(place) WHERE id = sqlc.arg(id);

-- What a row is from a position on. The row of the past that was open ends there.

-- name: ClosePastAgent :exec
UPDATE past_agents SET until = sqlc.arg(since) WHERE id = sqlc.arg(id) AND until = 9223372036854775807;

-- name: KeepPastAgent :exec
INSERT INTO past_agents (since, until, id, organization_id, position, name, name_folded, description, description_folded, owner_id,
    identity, bound_at, status, created_at, created_by_type, created_by_id, retired_at, revision, labels)
SELECT sqlc.arg(since), 9223372036854775807, o.id, o.organization_id, o.position, o.name, o.name_folded,
    o.description, o.description_folded, o.owner_id, o.identity, o.bound_at, o.status, o.created_at, o.created_by_type, o.created_by_id,
    o.retired_at, o.revision, o.labels
FROM agents AS o WHERE o.id = sqlc.arg(id);

-- name: ClosePastAgentKeys :exec
UPDATE past_agent_keys SET until = sqlc.arg(since) WHERE agent_id = sqlc.arg(agent_id) AND until = 9223372036854775807;

-- name: KeepPastAgentKeys :exec
INSERT INTO past_agent_keys (since, until, agent_id, number, id, created_at, expires_at)
SELECT sqlc.arg(since), 9223372036854775807, o.agent_id, o.number, o.id, o.created_at, o.expires_at
FROM agent_keys AS o WHERE o.agent_id = sqlc.arg(agent_id);

-- name: ClosePastTool :exec
UPDATE past_tools SET until = sqlc.arg(since) WHERE id = sqlc.arg(id) AND until = 9223372036854775807;

-- name: KeepPastTool :exec
INSERT INTO past_tools (since, until, id, organization_id, position, name, name_folded, skeleton, description, description_folded, url,
    docs_url, auth_type, credential_mode, credential_version, credential_expires_at, credential_at,
    credential_by_type, credential_by_id, credential_fields, instructions, instructions_version, max_grant_seconds, approval, created_at, updated_at, removed_at,
    removed_by_type, removed_by_id, revision, frozen_at, frozen_position, frozen_by_type, frozen_by_id, freezes, labels)
SELECT sqlc.arg(since), 9223372036854775807, o.id, o.organization_id, o.position, o.name, o.name_folded, o.skeleton,
    o.description, o.description_folded, o.url, o.docs_url, o.auth_type, o.credential_mode, o.credential_version, o.credential_expires_at,
    o.credential_at, o.credential_by_type, o.credential_by_id, o.credential_fields, o.instructions, o.instructions_version, o.max_grant_seconds, o.approval, o.created_at,
    o.updated_at, o.removed_at, o.removed_by_type, o.removed_by_id, o.revision, o.frozen_at, o.frozen_position,
    o.frozen_by_type, o.frozen_by_id, o.freezes, o.labels
FROM tools AS o WHERE o.id = sqlc.arg(id);

-- name: ClosePastRequest :exec
UPDATE past_requests SET until = sqlc.arg(since) WHERE id = sqlc.arg(id) AND until = 9223372036854775807;

-- name: KeepPastRequest :exec
INSERT INTO past_requests (since, until, id, organization_id, position, agent_id, tool_id, reason, reason_folded, status,
    created_at, decided_at, decided_by_type, decided_by_id, denial_reason, decided_position, requested_seconds, rule)
SELECT sqlc.arg(since), 9223372036854775807, o.id, o.organization_id, o.position, o.agent_id, o.tool_id, o.reason,
    o.reason_folded, o.status, o.created_at, o.decided_at, o.decided_by_type, o.decided_by_id, o.denial_reason, o.decided_position,
    o.requested_seconds, o.rule
FROM requests AS o WHERE o.id = sqlc.arg(id);

-- name: ClosePastGrant :exec
UPDATE past_grants SET until = sqlc.arg(since) WHERE agent_id = sqlc.arg(agent_id) AND tool_id = sqlc.arg(tool_id) AND until = 9223372036854775807;

-- name: KeepPastGrant :exec
INSERT INTO past_grants (since, until, agent_id, tool_id, organization_id, position, status, origin, request_id,
    reason, reason_folded, requested_at, decided_at, decided_by_type, decided_by_id, denial_reason, approved_at, approved_by_type, approved_by_id,
    ended_at, ended_by_type, ended_by_id, expires_at, credential_expires_at, credential_version, credential_at,
    decided_position, rule)
SELECT sqlc.arg(since), 9223372036854775807, o.agent_id, o.tool_id, o.organization_id, o.position, o.status,
    o.origin, o.request_id, o.reason, o.reason_folded, o.requested_at, o.decided_at, o.decided_by_type, o.decided_by_id, o.denial_reason,
    o.approved_at, o.approved_by_type, o.approved_by_id, o.ended_at, o.ended_by_type, o.ended_by_id, o.expires_at,
    o.credential_expires_at, o.credential_version, o.credential_at, o.decided_position, o.rule
FROM grants AS o WHERE o.agent_id = sqlc.arg(agent_id) AND o.tool_id = sqlc.arg(tool_id);

-- name: ClosePastGrantsOfTool :exec
UPDATE past_grants SET until = sqlc.arg(since)
WHERE past_grants.tool_id = sqlc.arg(tool_id) AND past_grants.until = 9223372036854775807 AND EXISTS (
    SELECT 1 FROM grants AS g
    WHERE g.agent_id = past_grants.agent_id AND g.tool_id = past_grants.tool_id AND g.decided_position = sqlc.arg(since));

-- name: KeepPastGrantsOfTool :exec
INSERT INTO past_grants (since, until, agent_id, tool_id, organization_id, position, status, origin, request_id,
    reason, reason_folded, requested_at, decided_at, decided_by_type, decided_by_id, denial_reason, approved_at, approved_by_type, approved_by_id,
    ended_at, ended_by_type, ended_by_id, expires_at, credential_expires_at, credential_version, credential_at,
    decided_position, rule)
SELECT sqlc.arg(since), 9223372036854775807, o.agent_id, o.tool_id, o.organization_id, o.position, o.status,
    o.origin, o.request_id, o.reason, o.reason_folded, o.requested_at, o.decided_at, o.decided_by_type, o.decided_by_id, o.denial_reason,
    o.approved_at, o.approved_by_type, o.approved_by_id, o.ended_at, o.ended_by_type, o.ended_by_id, o.expires_at,
    o.credential_expires_at, o.credential_version, o.credential_at, o.decided_position, o.rule
FROM grants AS o WHERE o.tool_id = sqlc.arg(tool_id) AND o.decided_position = sqlc.arg(since);

-- name: ClosePastRequestsOfTool :exec
UPDATE past_requests SET until = sqlc.arg(since)
WHERE past_requests.tool_id = sqlc.arg(tool_id) AND past_requests.until = 9223372036854775807 AND EXISTS (
    SELECT 1 FROM requests AS r WHERE r.id = past_requests.id AND r.decided_position = sqlc.arg(since));

-- name: KeepPastRequestsOfTool :exec
INSERT INTO past_requests (since, until, id, organization_id, position, agent_id, tool_id, reason, reason_folded, status,
    created_at, decided_at, decided_by_type, decided_by_id, denial_reason, decided_position, requested_seconds, rule)
SELECT sqlc.arg(since), 9223372036854775807, o.id, o.organization_id, o.position, o.agent_id, o.tool_id, o.reason,
    o.reason_folded, o.status, o.created_at, o.decided_at, o.decided_by_type, o.decided_by_id, o.denial_reason, o.decided_position,
    o.requested_seconds, o.rule
FROM requests AS o WHERE o.tool_id = sqlc.arg(tool_id) AND o.decided_position = sqlc.arg(since);

-- name: ClosePastSuggestion :exec
UPDATE past_suggestions SET until = sqlc.arg(since) WHERE id = sqlc.arg(id) AND until = 9223372036854775807;

-- name: KeepPastSuggestion :exec
INSERT INTO past_suggestions (since, until, id, organization_id, name, name_folded, name_searched, url, site, status, tool_id,
    created_at, backer_count, last_activity_at, decided_at, decided_by_type, decided_by_id, dismissal_reason)
SELECT sqlc.arg(since), 9223372036854775807, o.id, o.organization_id, o.name, o.name_folded, o.name_searched, o.url, o.site,
    o.status, o.tool_id, o.created_at, o.backer_count, o.last_activity_at, o.decided_at, o.decided_by_type, o.decided_by_id,
    o.dismissal_reason
FROM suggestions AS o WHERE o.id = sqlc.arg(id);

-- name: ClosePastBacker :exec
UPDATE past_suggestion_backers SET until = sqlc.arg(since) WHERE suggestion_id = sqlc.arg(suggestion_id) AND agent_id = sqlc.arg(agent_id) AND until = 9223372036854775807;

-- name: KeepPastBacker :exec
INSERT INTO past_suggestion_backers (since, until, suggestion_id, agent_id, position, name, url, latest_reason,
    latest_reason_folded, first_at, last_at)
SELECT sqlc.arg(since), 9223372036854775807, o.suggestion_id, o.agent_id, o.position, o.name, o.url, o.latest_reason,
    o.latest_reason_folded, o.first_at, o.last_at
FROM suggestion_backers AS o WHERE o.suggestion_id = sqlc.arg(suggestion_id) AND o.agent_id = sqlc.arg(agent_id);

-- name: KeepAuditMinute :exec
INSERT INTO audit_minutes (organization_id, minute, first_position, last_position)
VALUES (sqlc.arg(organization_id), sqlc.arg(minute), coalesce((SELECT m.first_position FROM audit_minutes AS m
        WHERE m.organization_id = sqlc.arg(organization_id) AND m.minute > sqlc.arg(minute) ORDER BY m.minute LIMIT 1),
    CAST(sqlc.arg(first_position) AS BIGINT)), sqlc.arg(last_position))
ON CONFLICT (organization_id, minute) DO NOTHING;

-- name: ExtendAuditMinutes :exec
UPDATE audit_minutes SET last_position = sqlc.arg(last_position)
WHERE organization_id = sqlc.arg(organization_id) AND minute >= sqlc.arg(minute);
