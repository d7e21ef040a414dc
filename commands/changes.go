package commands

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"

	"agentkey/commands/loop"
	"agentkey/domain"
	"agentkey/domain/catalog"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// The size of one part of a change that takes several appends. Sealed and in base64, a part must
// fit into one event; an event alone may be larger than maxPartBytes.
const (
	maxPartEvents = 512
	maxPartBytes  = 400 << 10
)

// planAttempts is how often a change is planned again because the catalog moved meanwhile.
const planAttempts = 8

// plannedEvent is an event of a change, as its plan holds it.
type plannedEvent struct {
	Name string          `json:"name"`
	Data json.RawMessage `json:"data"`
}

// errPlanMoved marks a plan that was made on an older state of the catalog.
var errPlanMoved = errors.New("the catalog moved while a change was planned")

// change decides a command on the catalog. Where its events don't fit into one append it plans
// them, which is the one decision, and then appends them part by part. It returns when all of them
// are durable. begun is the append that decided, for CatalogLoop.Before.
func (t *Tools) change(
	ctx context.Context, m loop.Meta, build loop.Build[catalog.State, catalog.Command],
) (begun, done CatalogResult, err error) {
	begun, err = t.Catalogs.Do(ctx, m.Organization, m, build)
	if errors.Is(err, loop.ErrTooLarge) {
		begun, err = t.plan(ctx, m, build)
	}
	if err != nil || len(begun.Events) == 0 {
		return begun, begun, err
	}
	planned, large := begun.Events[0].(catalog.ChangePlanned)
	if !large {
		return begun, begun, nil
	}
	m.Causation = begun.EventID.String()
	if done, err = t.Continue(ctx, m, planned); err != nil {
		return begun, done, err
	}
	events := 0
	for _, p := range planned.Parts {
		events += p.Events
	}
	done.Revision = begun.Revision + int64(events) + 1 // of the event that completes it
	done.Changed, done.Repeated, done.EventID = true, begun.Repeated, begun.EventID
	done.Events, err = t.Catalogs.ReadEvents(ctx, m.Organization, begun.Revision, events)
	return begun, done, err
}

// plan seals what a command decides and appends the event that names it, if the command still
// decides the same there.
func (t *Tools) plan(
	ctx context.Context, m loop.Meta, build loop.Build[catalog.State, catalog.Command],
) (done CatalogResult, err error) {
	for range planAttempts {
		_, events, err := t.Catalogs.Rehearse(ctx, m.Organization, build)
		if err != nil {
			return done, err
		}
		texts, err := planTexts(events)
		if err != nil {
			return done, err
		}
		parts, err := t.sealPlan(ctx, m, texts)
		if err != nil {
			return done, err
		}
		done, err = t.Catalogs.Do(ctx, m.Organization, m, func(s catalog.State, at time.Time) (catalog.Command, error) {
			c, err := build(s, at)
			if err != nil {
				return nil, err
			}
			now, err := catalog.Decide(s, c)
			if err != nil {
				return nil, err
			}
			still, err := planTexts(now)
			if err == nil && !slices.EqualFunc(texts, still, func(a, b planText) bool { return bytes.Equal(a.text, b.text) }) {
				err = errPlanMoved
			}
			return catalog.PlanChange{ChangeID: m.CommandID.String(), Parts: parts}, err
		})
		if err == nil {
			return done, nil
		}
		if isRefusal(err) || errors.Is(err, errPlanMoved) {
			t.removeParts(ctx, parts)
		}
		if !errors.Is(err, errPlanMoved) {
			return done, err
		}
	}
	return done, &domain.Error{
		Kind: domain.KindUnavailable, Code: "busy", Detail: "The catalog changes faster than this can be planned.",
		Hint: "Send the same request again after {wait}.", RetryAfter: time.Second,
	}
}

// planText is one part of a plan before it is sealed.
type planText struct {
	text   []byte
	events int
}

// planTexts divides events into parts. The same events make the same bytes.
func planTexts(events []catalog.Event) ([]planText, error) {
	var out []planText
	var part []plannedEvent
	size := 0
	end := func() error {
		text, err := json.Marshal(part)
		if err != nil {
			return fmt.Errorf("encode a part of a change: %w", err)
		}
		out = append(out, planText{text, len(part)})
		part, size = nil, 0
		return nil
	}
	for _, e := range events {
		name, data, err := codec.Encode(e)
		if err != nil {
			return nil, err
		}
		if len(part) > 0 && (len(part) == maxPartEvents || size+len(data) > maxPartBytes) {
			if err := end(); err != nil {
				return nil, err
			}
		}
		part = append(part, plannedEvent{name, data})
		size += len(data)
	}
	return out, end()
}

func planBinding(organization, changeID, secretID string) seal.Binding {
	return seal.Binding{
		SecretID: secretID, Organization: organization, Purpose: seal.Plan, Owner: changeOwner(changeID),
	}
}

func (t *Tools) sealPlan(ctx context.Context, m loop.Meta, texts []planText) ([]catalog.ChangePart, error) {
	v, parts := vault{secrets: t.Secrets, clock: t.Clock}, make([]catalog.ChangePart, len(texts))
	for i, p := range texts {
		// A part has the id of what it says: a repeat of the command may plan something else.
		what := uuid.NewSHA1(m.CommandID, p.text).String() + " of part " + strconv.Itoa(i)
		id, err := v.put(ctx, m, what, domain.NewSecret(p.text), func(id string) seal.Binding {
			return planBinding(m.Organization, m.CommandID.String(), id)
		})
		if err != nil {
			t.removeParts(ctx, parts[:i])
			return nil, err
		}
		parts[i] = catalog.ChangePart{SecretID: id, Events: p.events}
	}
	return parts, nil
}

// removeParts removes what a plan held. What can't be removed now is unreferenced and will be
// removed later.
func (t *Tools) removeParts(ctx context.Context, parts []catalog.ChangePart) {
	for _, p := range parts {
		vault{secrets: t.Secrets}.drop(ctx, p.SecretID)
	}
}

// Continue carries out what is left of a planned change and returns when it is completed. Any
// number of processes may do so at a time. m names who planned it. Changed says whether this call
// appended any of it.
func (t *Tools) Continue(ctx context.Context, m loop.Meta, planned catalog.ChangePlanned) (CatalogResult, error) {
	command, err := uuid.Parse(planned.ChangeID)
	if err != nil {
		return CatalogResult{}, fmt.Errorf("continue a change: %w", err)
	}
	m.Shared, m.IfRevision, m.Seen, m.Since = true, nil, nil, 0
	changed, gone, failed := false, -1, 0
	for {
		head, err := t.Catalogs.Fresh(ctx, m.Organization)
		if err != nil {
			return CatalogResult{}, err
		}
		u := head.State.Underway
		if u == nil || u.ChangeID != planned.ChangeID {
			t.removeParts(ctx, planned.Parts)
			return CatalogResult{
				State: head.State, Revision: head.Revision, Position: head.Position, Changed: changed,
			}, nil
		}
		part := u.Next()
		events, err := t.openPart(ctx, m.Organization, planned, part)
		if errors.Is(err, seal.ErrGone) && gone != part {
			gone = part
			continue // another process has completed the change and removed its plan: the state says so
		}
		if err != nil {
			return CatalogResult{}, secretRefusal(fmt.Errorf("read part %d of change %s: %w", part, planned.ChangeID, err))
		}
		m.CommandID = loop.DerivedID(command, "part "+strconv.Itoa(part))
		done, err := t.Catalogs.Do(ctx, m.Organization, m, func(catalog.State, time.Time) (catalog.Command, error) {
			return catalog.ContinueChange{ChangeID: planned.ChangeID, Part: part, Events: events}, nil
		})
		if refusal, is := errors.AsType[*domain.Error](err); is && refusal.Kind == domain.KindUnavailable && failed < 2 {
			failed++ // the log was slow: what it has of this part is found by the next read
			continue
		}
		if err != nil {
			return CatalogResult{}, err
		}
		failed, changed = 0, changed || done.Changed && !done.Repeated
	}
}

func (t *Tools) openPart(
	ctx context.Context, organization string, planned catalog.ChangePlanned, part int,
) ([]catalog.Event, error) {
	text, err := t.Secrets.Open(ctx, planBinding(organization, planned.ChangeID, planned.Parts[part].SecretID))
	if err != nil {
		return nil, err
	}
	var stored []plannedEvent
	if err := json.Unmarshal(text.Reveal(), &stored); err != nil {
		return nil, err
	}
	events := make([]catalog.Event, len(stored))
	for i, s := range stored {
		event, err := codec.Decode(s.Name, s.Data)
		if err != nil {
			return nil, err
		}
		is := false
		if events[i], is = event.(catalog.Event); !is {
			return nil, fmt.Errorf("%w: %s has no place in a catalog", codec.ErrUnknownEvent, s.Name)
		}
	}
	return events, nil
}
