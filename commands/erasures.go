package commands

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"agentkey/commands/loop"
	"agentkey/commands/words"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/domain/person"
	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
)

// Erasures removes the keys of personal data. The log says so first, and an erasure that was broken
// off is finished by the same command again.
type Erasures struct {
	Organizations *OrganizationLoop
	People        *PersonLoop
	Privacy       *seal.Privacy
	Log           *codec.Log
	Clock         func() time.Time
}

// PersonResult is a command on a person carried out.
type PersonResult = loop.Result[person.State, person.Event]

// Person erases the name of a person, or of a service token, of the organization of m. A member is
// removed first, because their next call would say again who they are; a token still works.
func (e *Erasures) Person(ctx context.Context, m loop.Meta, id string, by organization.Giver) (PersonResult, error) {
	head, err := e.Organizations.Fresh(ctx, m.Organization)
	if err != nil {
		return PersonResult{}, err
	}
	if head.State.Members[id].Active() {
		removing := m
		removing.CommandID = loop.DerivedID(m.CommandID, "remove")
		if _, err := e.Organizations.Do(
			ctx, m.Organization, removing, func(_ organization.State, at time.Time) (organization.Command, error) {
				return organization.RemoveMember{MemberID: id, By: by, At: at}, nil
			},
		); err != nil {
			return PersonResult{}, err
		}
	}
	_, token := head.State.Tokens[id]
	done, err := e.People.Do(ctx, id, m, func(person.State, time.Time) (person.Command, error) {
		return person.Erase{OrganizationID: m.Organization, Token: token}, nil
	})
	if err != nil {
		return done, err
	}
	return done, loop.Refusal(e.Privacy.ErasePerson(ctx, m.Organization, id))
}

// monthLayout is how a month is written.
const monthLayout = "2006-01"

// ErasedMonth is what an erasure has removed.
type ErasedMonth struct {
	Through string // the last day of the month that is over
	Days    int    // that had a key until now
	Changed bool   // false: it was so already
}

// Month erases what was sealed on the days of a month that are over, for the organization of m.
func (e *Erasures) Month(ctx context.Context, m loop.Meta, month, reason string) (ErasedMonth, error) {
	days, err := daysOf(month, e.Clock().UTC())
	if err != nil {
		return ErasedMonth{}, err
	}
	if reason, err = reasonOf(reason); err != nil {
		return ErasedMonth{}, err
	}
	out := ErasedMonth{Through: days[len(days)-1]}
	build := func(organization.State, time.Time) (organization.Command, error) {
		return organization.EraseMonth{Month: month, Through: out.Through, Days: out.Days, Reason: reason}, nil
	}
	if err := e.Organizations.Check(ctx, m.Organization, build); err != nil {
		return out, err
	}
	for _, day := range days {
		live, err := e.Privacy.HasDay(ctx, m.Organization, day)
		if err != nil {
			return out, err
		}
		if live {
			out.Days++
		}
	}
	done, err := e.Organizations.Do(ctx, m.Organization, m, build)
	if err != nil {
		return out, err
	}
	out.Changed = done.Changed
	for _, day := range days {
		if err := e.Privacy.EraseDay(ctx, m.Organization, day); err != nil {
			return out, fmt.Errorf("erase %s; run the command again to finish it: %w", day, err)
		}
	}
	return out, nil
}

// daysOf lists the days of a month that are over.
func daysOf(month string, now time.Time) ([]string, error) {
	first, err := time.Parse(monthLayout, month)
	if err != nil {
		return nil, domain.Invalid("month", "it must be a year and a month, such as 2026-03")
	}
	today := now.Format(time.DateOnly)
	if first.Format(time.DateOnly) > today {
		return nil, domain.Invalid("month", month+" has not begun")
	}
	var days []string
	for day := first; day.Month() == first.Month() && day.Format(time.DateOnly) < today; day = day.AddDate(0, 0, 1) {
		days = append(days, day.Format(time.DateOnly))
	}
	if len(days) == 0 {
		return nil, domain.Invalid("month", "no day of "+month+" is over yet")
	}
	return days, nil
}

func reasonOf(typed string) (string, error) {
	reason := strings.TrimSpace(typed)
	if err := words.Line(reason); err != nil {
		return "", domain.Invalid("reason", err.Error())
	}
	if n := utf8.RuneCountInString(reason); n < 2 || n > 500 {
		return "", domain.Invalid("reason", "it must have 2 to 500 characters")
	}
	return reason, nil
}

// All lists the organizations of the log.
func (e *Erasures) All(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	sub, err := e.Log.Client.SubscribeAll(ctx, 0, eventstore.Filter{Types: `^organization\.created\.`})
	if err != nil {
		return nil, fmt.Errorf("list the organizations: %w", err)
	}
	defer sub.Close() //nolint:errcheck // reading is over
	var ids []string
	for {
		item, err := sub.Next()
		if err != nil {
			return nil, fmt.Errorf("list the organizations: %w", err)
		}
		if item.Event != nil {
			category, id := codec.Split(item.Event.Stream)
			if category != codec.Organizations {
				continue
			}
			head, err := e.Organizations.Fresh(ctx, id)
			if err != nil {
				return nil, err
			}
			if head.State.Exists { // and isn't what others put there
				ids = append(ids, id)
			}
		}
		if item.CaughtUp {
			return ids, nil
		}
	}
}

// sealingName seals the name of a service token for the command that makes the token. If there is
// no such token after all, the key is removed.
func sealingName(
	ctx context.Context, privacy *seal.Privacy, org, tokenID string, n seal.Named,
	do func(sealed string) (OrganizationResult, error),
) (OrganizationResult, error) {
	_, sealed, err := privacy.SealName(ctx, org, tokenID, n)
	if err != nil {
		return OrganizationResult{}, loop.Refusal(err)
	}
	done, err := do(sealed)
	if _, made := done.State.Tokens[tokenID]; isRefusal(err) || err == nil && !made {
		err = errors.Join(err, privacy.ErasePerson(ctx, org, tokenID))
	}
	return done, err
}
