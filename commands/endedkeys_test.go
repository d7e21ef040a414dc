package commands_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/commands/keys"
	"agentkey/domain"
	"agentkey/domain/organization"
	"agentkey/eventstore/codec"
)

func TestUsesOfAnEndedKeyAreCounted(t *testing.T) {
	o := open(t)
	id, key := o.MustAgent("Onboarding")
	if _, err := o.Agents.RotateKey(t.Context(), o.Meta(), id, commands.Rotation{}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		caller, err := o.Callers.Agent(t.Context(), key, false)
		if commandstest.Code(err) != "credentials_expired" {
			t.Fatal(err)
		}
		if err := o.Refusals.EndedKey(t.Context(), o.AsAgent(id), caller); err != nil {
			t.Fatal(err)
		}
	}
	_, stop := o.running()
	stop()
	stored, err := o.Inst.Log.ReadForward(t.Context(), codec.Refusals.Stream(id), 0, 100)
	if err != nil || len(stored) != 2 {
		t.Fatalf("%d were written: %v", len(stored), err)
	}
	for i, count := range []int{1, 19} {
		e, _ := stored[i].Event.(codec.KeyRefused)
		if e.Count != count || e.AgentID != id || e.KeyID == "" || e.Reason != "rotated" {
			t.Errorf("event %d is %+v", i, stored[i].Event)
		}
	}
}

func TestUsesOfAnEndedTokenAreCounted(t *testing.T) {
	o := open(t)
	organizationID := o.Inst.Begun.OrganizationID
	configured := func() keys.Key {
		text, key, err := keys.New(keys.Service, uuid.MustParse(organizationID), organization.ConfiguredToken)
		if err == nil {
			_, err = o.Callers.Organizations.Do(
				t.Context(), organizationID, o.Meta(), func(organization.State, time.Time) (organization.Command, error) {
					return organization.CreateToken{
						Number: organization.ConfiguredToken, TokenID: text[len(text)-8:], Sealed: "ci", Role: domain.RoleOwner,
						Hash: key.Hash(), By: theOperator,
					}, nil
				},
			)
		}
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	first, second := configured(), configured()
	if caller, err := o.Callers.Service(t.Context(), second); err != nil || caller.Role != domain.RoleOwner {
		t.Fatalf("the new one: %+v: %v", caller, err)
	}
	for range 20 {
		caller, err := o.Callers.Service(t.Context(), first)
		if commandstest.Code(err) != "credentials_unknown" || caller.Role != "" || caller.Actor.ID == "" {
			t.Fatalf("%+v: %v", caller, err)
		}
		m := o.Meta()
		m.Actor = caller.Actor
		if err := o.Refusals.EndedKey(t.Context(), m, caller); err != nil {
			t.Fatal(err)
		}
	}
	_, stop := o.running()
	stop()
	stored, err := o.Inst.Log.ReadForward(t.Context(), codec.Refusals.Stream(organizationID), 0, 100)
	if err != nil || len(stored) != 2 {
		t.Fatalf("%d were written: %v", len(stored), err)
	}
	for i, count := range []int{1, 19} {
		if e, _ := stored[i].Event.(codec.TokenRefused); e.Count != count || e.TokenID == "" {
			t.Errorf("event %d is %+v", i, stored[i].Event)
		}
	}
}
