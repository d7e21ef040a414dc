-- What is asked. now is a parameter: a grant counts as expired from the instant of expires_at, and as revoked from
-- the removal of its tool, whether or not the event of either is here yet.

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

-- name: firstAuditFrom :one
SELECT m.first_position FROM audit_minutes AS m
WHERE m.organization_id = sqlc.arg(organization_id) AND m.minute >= sqlc.arg(minute) ORDER BY m.minute LIMIT 1;

-- name: lastAuditTo :one
SELECT m.last_position FROM audit_minutes AS m
WHERE m.organization_id = sqlc.arg(organization_id) AND m.minute <= sqlc.arg(minute) ORDER BY m.minute DESC LIMIT 1;
