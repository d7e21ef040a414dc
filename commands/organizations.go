package commands

import (
	"context"
	"strings"
	"time"
	"unicode/utf8"

	"agentkey/commands/loop"
	"agentkey/commands/words"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/eventstore/seal"
)

// Organizations carries out what an operator does to organizations and their service tokens.
type Organizations struct {
	Loop    *OrganizationLoop
	Privacy *seal.Privacy
	First   string // the id of the one whose tokens carry none
}

// Create makes an organization and returns its id.
func (o *Organizations) Create(ctx context.Context, m loop.Meta, name string) (string, error) {
	name, err := operatorName(name)
	if err != nil {
		return "", err
	}
	id := loop.DerivedID(m.CommandID, "organization").String()
	m.Organization = id
	_, err = o.Loop.Do(ctx, id, m, func(organization.State, time.Time) (organization.Command, error) {
		return organization.Create{Name: name}, nil
	})
	return id, err
}

// operatorName returns a name that an operator typed, as it is stored.
func operatorName(typed string) (string, error) {
	name := strings.TrimSpace(typed)
	if err := words.Name(name); err != nil {
		return "", domain.Invalid("name", err.Error())
	}
	if n := utf8.RuneCountInString(name); n < 2 || n > 120 {
		return "", domain.Invalid("name", "it must have 2 to 120 characters")
	}
	return name, nil
}
