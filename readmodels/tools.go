package readmodels

import (
	"context"
	"database/sql"
	"fmt"
	"math"
	"time"

	"agentkey/domain"
)

// Tool is one tool. Only a single one that is asked for by its id may have been removed.
type Tool struct {
	ID, Name, Description, URL, DocsURL string
	AuthType, CredentialMode            string
	CredentialVersion                   int // of the shared credential; 0: it has none
	CredentialExpiresAt                 time.Time
	CredentialSince                     time.Time    // of this version; zero: it has none
	CredentialBy                        domain.Actor // who gave it
	CredentialFields                    domain.Parts
	Instructions                        string
	InstructionsVersion                 int
	MaxGrantSeconds                     int64 // 0: no limit
	Approval                            domain.ApprovalRules
	Labels                              domain.Labels
	Approved, Pending                   int // grants
	FetchCount                          int64
	LastFetchedAt                       time.Time // zero: never
	CreatedAt, UpdatedAt                time.Time
	RemovedAt                           time.Time // zero: it was not removed
	FrozenAt                            time.Time // zero: it isn't frozen
	Revision                            int
	Position                            uint64 // of its addition
	Confusable                          []NamedTool
}

// ToolFilter narrows the tools; zero fields do not.
type ToolFilter struct {
	Query          string // any part of the name, the description or the URL, whatever its case
	CredentialMode string
	Tags           []string  // as those of agents
	HasCredential  *bool     // a credential of its own
	ExpiresBefore  time.Time // its credential
	UnusedSince    time.Time // tools that were fetched at that time or later are left out
}

var toolSorts = sorting{
	"created_at": "", "name": "t.name_folded", "updated_at": "t.updated_at",
	"credential_expires_at": endless("t.credential_expires_at"), "fetch_count": "t.fetch_count",
	"last_fetched_at": "t.last_fetched_at",
}

func (f ToolFilter) from(q *text, organization string) {
	q.add("FROM tools AS t WHERE t.organization_id = ", q.arg(organization), " AND t.removed_at = 0")
	q.is("t.credential_mode", f.CredentialMode)
	q.tagged("t.labels", f.Tags)
	if f.HasCredential != nil {
		is := "="
		if *f.HasCredential {
			is = "<>"
		}
		q.add(" AND t.credential_version ", is, " 0")
	}
	q.contains(Fold(f.Query), "t.name_folded", "t.description_folded", "lower(t.url)")
	q.before("t.credential_expires_at", f.ExpiresBefore)
	q.since("t.last_fetched_at", "t.created_at", f.UnusedSince)
}

// Tools lists the tools of an organization.
func (db *DB) Tools(ctx context.Context, organization string, f ToolFilter, now time.Time, p Page) (List[Tool], error) {
	from := func(q *text) { f.from(q, organization) }
	tools, by, err := db.tools(ctx, organization, from, now, p)
	if err != nil {
		return List[Tool]{}, err
	}
	return pageOf(ctx, db, tools, by, p, func(t Tool) uint64 { return t.Position }, from)
}

// Tool returns one tool, also a removed one, or ErrNotFound.
func (db *DB) Tool(ctx context.Context, organization, id string, now time.Time) (Tool, error) {
	if id == "" {
		return Tool{}, ErrNotFound
	}
	tools, _, err := db.tools(ctx, organization, func(q *text) {
		q.add("FROM tools AS t WHERE t.organization_id = ", q.arg(organization), " AND t.id = ", q.arg(id))
	}, now, Page{Limit: 1})
	return only(tools, err)
}

func toolColumns(now string) string {
	return `SELECT t.id, t.position, t.name, t.description, t.url, t.docs_url, t.auth_type, t.credential_mode,
    t.credential_version, t.credential_expires_at, t.credential_fields, t.instructions, t.instructions_version,
    t.max_grant_seconds, t.approval, t.labels, t.created_at, t.updated_at, t.removed_at, t.frozen_at, t.revision,
    t.fetch_count, t.last_fetched_at, t.credential_at, t.credential_by_type, t.credential_by_id,
    (SELECT count(*) FROM grants AS g WHERE g.tool_id = t.id AND t.removed_at = 0 AND g.status = 'approved'
        AND (g.expires_at = 0 OR g.expires_at > ` + now + `)) AS approved,
    (SELECT count(*) FROM grants AS g WHERE g.tool_id = t.id AND t.removed_at = 0 AND g.status = 'pending') AS pending,
    `
}

// tools lists a page of some tools, and the values by which they are sorted.
func (db *DB) tools(
	ctx context.Context, organization string, from func(*text), now time.Time, p Page,
) ([]Tool, sortedBy, error) {
	o, q, by := toolSorts.order(p), &text{}, sortedBy{}
	q.add(toolColumns(q.arg(Micros(now))), o.value(), " AS sorted_by ")
	from(q)
	q.sorted("t", o, db.then(o, p))
	tools, err := collect(ctx, db, q, "tools", func(rows *sql.Rows) (Tool, error) {
		var t Tool
		var position, expires, created, updated, removed, frozen, fetched, since int64
		var fields, approval string
		err := rows.Scan(
			&t.ID, &position, &t.Name, &t.Description, &t.URL, &t.DocsURL, &t.AuthType, &t.CredentialMode,
			&t.CredentialVersion, &expires, &fields, &t.Instructions, &t.InstructionsVersion, &t.MaxGrantSeconds, &approval,
			&t.Labels, &created, &updated, &removed, &frozen, &t.Revision, &t.FetchCount, &fetched, &since, &t.CredentialBy.Type,
			&t.CredentialBy.ID, &t.Approved, &t.Pending, &by,
		)
		t.Position, t.CredentialExpiresAt, t.CredentialFields = unsigned(position), toTime(expires), toParts(fields)
		t.Approval = toRules(approval)
		t.CreatedAt, t.UpdatedAt, t.RemovedAt = toTime(created), toTime(updated), toTime(removed)
		t.FrozenAt, t.LastFetchedAt, t.CredentialSince = toTime(frozen), toTime(fetched), toTime(since)
		return t, err
	})
	if err != nil {
		return nil, nil, err
	}
	names := make([]string, len(tools))
	for i, t := range tools {
		names[i] = t.Name
	}
	alike, err := db.confusable(ctx, organization, names)
	for i, t := range tools {
		if t.RemovedAt.IsZero() {
			tools[i].Confusable = Others(alike[t.Name], t.ID)
		}
	}
	return tools, by, err
}

// Instructions is one version of a tool's usage guide.
type Instructions struct {
	Version      int
	Text         string
	RestoredFrom int // the version that it repeats, or 0
	CreatedAt    time.Time
	CreatedBy    domain.Actor
}

// Instructions lists the versions of a tool's usage guide, newest first, or says ErrNotFound when
// there is no such tool. Their page is told by version: Before and Next are versions.
func (db *DB) Instructions(ctx context.Context, organization, toolID string, p Page) (List[Instructions], error) {
	tool, err := db.Tool(ctx, organization, toolID, time.Time{})
	if err == nil && !tool.RemovedAt.IsZero() {
		err = ErrNotFound
	}
	if err != nil {
		return List[Instructions]{}, err
	}
	versions, err := db.instructions(
		ctx,
		listInstructionsParams{OrganizationID: organization, ToolID: toolID, Before: p.before(), MaxRows: p.rows()},
	)
	return cut(versions, p, func(i Instructions) uint64 { return uint64(i.Version) }), err //nolint:gosec // versions count from 1
}

// InstructionsVersion returns one version of a tool's usage guide, or ErrNotFound.
func (db *DB) InstructionsVersion(ctx context.Context, organization, toolID string, version int) (Instructions, error) {
	if version < 1 || version == math.MaxInt {
		return Instructions{}, ErrNotFound
	}
	found, err := only(
		db.instructions(
			ctx,
			listInstructionsParams{
				OrganizationID: organization, ToolID: toolID, Before: int64(version) + 1, MaxRows: 1,
			},
		),
	)
	if err == nil && found.Version != version {
		return Instructions{}, ErrNotFound
	}
	return found, err
}

func (db *DB) instructions(ctx context.Context, params listInstructionsParams) ([]Instructions, error) {
	rows, err := query(ctx, db.Store, func(ctx context.Context, t *tables) ([]listInstructionsRow, error) {
		return t.read.listInstructions(ctx, params)
	})
	if err != nil {
		return nil, fmt.Errorf("list versions of instructions: %w", err)
	}
	versions := make([]Instructions, len(rows))
	for i, r := range rows {
		versions[i] = Instructions{
			Version: int(r.Version), Text: r.Instructions, RestoredFrom: int(r.RestoredFrom),
			CreatedAt: toTime(r.CreatedAt),
			CreatedBy: domain.Actor{Type: domain.ActorType(r.CreatedByType), ID: r.CreatedByID},
		}
	}
	return versions, nil
}
