package api

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"time"

	"agentkey/audit/actions"
	"agentkey/domain"
	"agentkey/readmodels"
)

// auditQuery is what the parameters of a query of the audit say.
type auditQuery struct {
	ActorType   string
	ActorID     *ActorIDFilter
	AgentID     *AgentIDFilter
	ToolID      *ToolIDFilter
	Action      *ActionFilter
	Category    *CategoryFilter
	NotCategory *NotCategoryFilter
	Q           *AuditText
	Retries     bool
	From        *FromFilter
	To          *ToFilter
}

// items are the parts of a parameter that takes several.
func items(list *string) (out []string) {
	for item := range strings.SplitSeq(value(list), ",") {
		if item != "" {
			out = append(out, item)
		}
	}
	return out
}

// namesRetries reports whether an action is named that has entries for retries.
func (q auditQuery) namesRetries() bool {
	return slices.ContainsFunc(items(q.Action), func(name string) bool {
		return slices.Contains(readmodels.Retried, name)
	})
}

// filter is what the parameters leave of the audit.
func (q auditQuery) filter() (readmodels.AuditFilter, error) {
	from, to := q.From, q.To
	if from != nil && to != nil && from.After(*to) {
		return readmodels.AuditFilter{}, domain.Invalid("from", "it is after to, so no event can match")
	}
	if to != nil && to.IsZero() {
		to = new(to.Add(time.Microsecond)) // the zero time leaves the end open, and nothing is as old as this
	}
	wanted, err := q.actions()
	return readmodels.AuditFilter{
		ActorType: q.ActorType, ActorID: value(q.ActorID), AgentID: value(q.AgentID), ToolID: value(q.ToolID),
		Actions: wanted, Text: value(q.Q), NoRetries: !q.Retries, From: value(from), To: value(to),
	}, err
}

// actions are those that the parameters leave; nil: all.
func (q auditQuery) actions() (wanted []string, err error) {
	for _, item := range items(q.Action) {
		named, err := actionsLike(item)
		if err != nil {
			return nil, err
		}
		wanted = append(wanted, named...)
	}
	in, err := inCategories("category", q.Category)
	if err != nil {
		return nil, err
	}
	out, err := inCategories("not_category", q.NotCategory)
	if err != nil || wanted == nil && in == nil && out == nil {
		return nil, err
	}
	if wanted == nil {
		wanted = actions.Names()
	}
	slices.Sort(wanted)
	return slices.DeleteFunc(slices.Compact(wanted), func(action string) bool {
		return in != nil && !slices.Contains(in, action) || slices.Contains(out, action)
	}), nil
}

// actionsLike are the actions that an item of a filter names: one, or all that begin with what is
// before its star.
func actionsLike(item string) (named []string, err error) {
	prefix, several := strings.CutSuffix(item, "*")
	for _, a := range actions.Names() {
		if a == item || several && strings.HasSuffix(prefix, ".") && strings.HasPrefix(a, prefix) {
			named = append(named, a)
		}
	}
	if len(named) == 0 {
		return nil, domain.Invalid("action", noAction(item))
	}
	return named, nil
}

// inCategories are the actions of the categories that a parameter names; nil where it names none.
func inCategories(parameter string, list *string) (in []string, err error) {
	for _, item := range items(list) {
		c := actions.Category(item)
		if !slices.Contains(actions.Categories(), c) {
			all := views(actions.Categories(), func(c actions.Category) string { return string(c) })
			return nil, domain.Invalid(parameter, "no category has this name; there are "+strings.Join(all, ", "))
		}
		in = append(in, actions.In(c)...)
	}
	return in, nil
}

// noAction says which actions are like one that there isn't: those about the same thing, else what
// things there are.
func noAction(action string) string {
	about, _, _ := strings.Cut(strings.TrimSpace(strings.ToLower(action)), ".")
	var alike, things []string
	for _, a := range actions.Names() {
		thing, _, _ := strings.Cut(a, ".")
		if thing == about {
			alike = append(alike, a)
		}
		if !slices.Contains(things, thing) {
			things = append(things, thing)
		}
	}
	if len(alike) > 0 {
		return "no event has this name; there are " + strings.Join(alike, ", ")
	}
	return "no event has this name; names such as credential.vended begin with " + strings.Join(things, ", ")
}

// askedAudit is asked for a query of the audit.
func askedAudit(err error) error {
	if errors.Is(err, readmodels.ErrManyNames) {
		return domain.Invalid("q", "it is part of the names of more than 20 agents and tools; write more of the name, "+
			"or name one by agent_id or tool_id")
	}
	return asked(err, "audit entry")
}

// ascending begins a cursor of the audit, oldest first: no other list takes it.
const ascending = 'a'

// auditPage is page for the audit. Oldest first a page comes after a position.
func auditPage(limit *Limit, cursor *Cursor, oldestFirst bool) (p readmodels.Page, after uint64, err error) {
	raw, _ := base64.RawURLEncoding.Strict().DecodeString(value(cursor)) // what can't be decoded, page refuses
	if of := len(raw) == 9 && raw[0] == ascending; cursor != nil && of != oldestFirst && (of || len(raw) == 8) {
		return p, 0, domain.Invalid("cursor", "it belongs to a list in the other order; send it with its own order")
	} else if of {
		p, err = page(limit, nil)
		return p, binary.BigEndian.Uint64(raw[1:]), err
	}
	p, err = page(limit, cursor)
	return p, 0, err
}

func auditCursor(next uint64, oldestFirst bool) *string {
	if !oldestFirst || next == 0 {
		return cursor(next)
	}
	text := base64.RawURLEncoding.EncodeToString(binary.BigEndian.AppendUint64([]byte{ascending}, next))
	return &text
}
