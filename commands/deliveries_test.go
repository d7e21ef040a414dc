package commands_test

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"agentkey/commands"
	"agentkey/commands/commandstest"
	"agentkey/domain"
	"agentkey/domain/delivery"
	"agentkey/domain/organization"
)

// TestAChannelIsToldOnlyWhatCameAfterIt: who adds a channel hears nothing of what others were told
// before, not even what every channel must hear.
func TestAChannelIsToldOnlyWhatCameAfterIt(t *testing.T) {
	o := open(t)
	organizations := commands.NewOrganizationLoop(o.Env)
	d := &commands.Deliveries{
		Loop: commands.NewDeliveryLoop(o.Env), Channels: &commands.Channels{Organizations: organizations},
		Log: o.Inst.Log, NewID: commandstest.NewID,
	}
	id := o.Inst.Begun.OrganizationID
	add := organization.AddChannel{
		ChannelID: "c1", Kind: organization.Webhook, Name: "c1", SecretID: "s1",
		Topics: []domain.Topic{domain.AccessRequested},
	}
	done, err := organizations.Do(
		t.Context(), id, o.Meta(),
		func(organization.State, time.Time) (organization.Command, error) { return add, nil },
	)
	if err != nil {
		t.Fatal(err)
	}
	made := done.State.Channels["c1"].CreatedAt
	for _, topic := range []domain.Topic{domain.AccessRequested, domain.BreakGlass} {
		for after, want := range map[time.Duration]bool{-time.Microsecond: false, 0: true, time.Hour: true} {
			acted, err := d.Queue(t.Context(), id, uuid.New(), made.Add(after), topic, delivery.About{})
			if acted != want || err != nil {
				t.Errorf("%s of %v after it: %t %v", topic, after, acted, err)
			}
		}
	}
}
