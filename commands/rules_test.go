package commands_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/domain"
	"agentkey/domain/rulebook"
)

// TestASimulationCountsForAnHour switches a rule on with what was shown before and after its time.
func TestASimulationCountsForAnHour(t *testing.T) {
	t.Parallel()
	o := commandstest.Open(t)
	o.Grants.Rules.Asked = func(context.Context, string, time.Time, time.Time) (commands.Askers, error) {
		return commands.Askers{}, nil // nobody ever asked here
	}
	name, when, approve, seconds, yes := "Search", "true", rulebook.Approve, int64(60), true
	rule := commands.RuleChange{Name: &name, When: &when, Effect: &approve, MaxSeconds: &seconds, Enabled: &yes}
	add := func() error {
		_, _, err := o.Grants.Rules.Add(t.Context(), o.Meta(), rule)
		return err
	}
	show := func() {
		t.Helper()
		refusal, _ := errors.AsType[*domain.Error](add())
		if refusal == nil || refusal.Code != "simulation_required" {
			t.Fatalf("it is switched on: %v", refusal)
		}
		rule.Simulation = refusal.Extra["simulation"].(commands.Simulation).Digest //nolint:forcetypeassert // or it fails
	}
	show()
	o.Clock.Advance(time.Hour + time.Second)
	show()
	o.Clock.Advance(59 * time.Minute)
	if err := add(); err != nil {
		t.Fatal(err)
	}
}
