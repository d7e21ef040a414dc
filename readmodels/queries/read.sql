-- What is asked. now is a parameter: a grant counts as expired from the instant of expires_at, and as revoked from
-- the removal of its tool, whether or not the event of either is here yet.

-- name: listAgents :many
SELECT a.id, a.position, a.name, a.description, a.owner_id, a.status, a.created_at, a.created_by_type, a.created_by_id, a.last_seen_at, a.retired_at, a.revision,
    (SELECT count(*) FROM grants AS g JOIN tools AS t ON t.id = g.tool_id
      WHERE g.agent_id = a.id AND t.removed_at = 0 AND g.status = 'approved'
        AND (g.expires_at = 0 OR g.expires_at > sqlc.arg(now))) AS approved,
    (SELECT count(*) FROM grants AS g JOIN tools AS t ON t.id = g.tool_id
      WHERE g.agent_id = a.id AND t.removed_at = 0 AND g.status = 'pending') AS pending,
    k.id AS key_id, k.created_at AS key_created_at, k.expires_at AS key_expires_at,
    k.last_used_at AS key_last_used_at
FROM (
    SELECT c.id, c.position, c.name, c.description, c.owner_id, c.status, c.created_at, c.created_by_type, c.created_by_id, c.last_seen_at, c.retired_at, c.revision
    FROM agents AS c
    WHERE c.organization_id = sqlc.arg(organization_id) AND c.position < sqlc.arg(before)
      AND (cast(sqlc.arg(status) AS TEXT) = '' OR c.status = sqlc.arg(status))
      AND (cast(sqlc.arg(q) AS TEXT) = '' OR replace(c.name_folded, sqlc.arg(q), '') <> c.name_folded)
      AND (cast(sqlc.arg(id) AS TEXT) = '' AND c.status <> 'retired' OR c.id = sqlc.arg(id))
    ORDER BY c.position DESC
    LIMIT sqlc.arg(max_rows)
) AS a
LEFT JOIN agent_keys AS k ON k.agent_id = a.id
ORDER BY a.position DESC, k.number;

-- name: listTools :many
SELECT t.id, t.position, t.name, t.description, t.url, t.docs_url, t.auth_type, t.credential_mode, t.credential_version,
    t.credential_expires_at, t.credential_fields, t.instructions, t.instructions_version, t.max_grant_seconds, t.created_at, t.updated_at, t.removed_at, t.revision,
    (SELECT count(*) FROM grants AS g WHERE g.tool_id = t.id AND t.removed_at = 0 AND g.status = 'approved'
        AND (g.expires_at = 0 OR g.expires_at > sqlc.arg(now))) AS approved,
    (SELECT count(*) FROM grants AS g WHERE g.tool_id = t.id AND t.removed_at = 0 AND g.status = 'pending') AS pending
FROM tools AS t
WHERE t.organization_id = sqlc.arg(organization_id) AND t.position < sqlc.arg(before)
  AND (cast(sqlc.arg(q) AS TEXT) = '' OR replace(t.name_folded, sqlc.arg(q), '') <> t.name_folded)
  AND (cast(sqlc.arg(id) AS TEXT) = '' AND t.removed_at = 0 OR t.id = sqlc.arg(id))
ORDER BY t.position DESC
LIMIT sqlc.arg(max_rows);

-- name: listCatalog :many
SELECT o.id, o.position, o.name, o.description, o.url, o.auth_type, o.access, o.denial_reason, o.request_id, o.expires_at
FROM (
    SELECT t.id, t.position, t.name, t.description, t.url, t.auth_type,
        cast(CASE
            WHEN g.status IS NULL OR g.status = 'withdrawn' THEN 'none'
            WHEN g.status = 'approved' AND g.expires_at <> 0 AND g.expires_at <= cast(sqlc.arg(now) AS BIGINT) THEN 'expired'
            ELSE g.status
        END AS TEXT) AS access,
        coalesce(g.denial_reason, '') AS denial_reason, coalesce(g.request_id, '') AS request_id,
        coalesce(g.expires_at, 0) AS expires_at
    FROM tools AS t
    LEFT JOIN grants AS g ON g.tool_id = t.id AND g.agent_id = sqlc.arg(agent_id)
    WHERE t.organization_id = sqlc.arg(organization_id) AND t.position < sqlc.arg(before) AND t.removed_at = 0
      AND (cast(sqlc.arg(q) AS TEXT) = '' OR replace(t.name_folded, sqlc.arg(q), '') <> t.name_folded)
      AND (cast(sqlc.arg(id) AS TEXT) = '' OR t.id = sqlc.arg(id))
) AS o
WHERE cast(sqlc.arg(access) AS TEXT) = '' OR o.access = sqlc.arg(access)
ORDER BY o.position DESC
LIMIT sqlc.arg(max_rows);

-- name: listInstructions :many
SELECT i.version, i.instructions, i.restored_from, i.created_at, i.created_by_type, i.created_by_id
FROM tool_instructions AS i
JOIN tools AS t ON t.id = i.tool_id
WHERE i.organization_id = sqlc.arg(organization_id) AND i.tool_id = sqlc.arg(tool_id) AND t.removed_at = 0
  AND i.version < sqlc.arg(before)
ORDER BY i.version DESC
LIMIT sqlc.arg(max_rows);
