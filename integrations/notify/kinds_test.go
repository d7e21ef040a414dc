package notify

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"agentkey/domain/organization"
)

func TestEveryKindOfTheContractIsARow(t *testing.T) {
	document, err := os.ReadFile("../../api/openapi/admin_notifications.yaml")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`ChannelKind: \{type: string, enum: \[([a-z, ]+)\]`).FindSubmatch(document)
	if found == nil {
		t.Fatal("the contract names no kinds of channel")
	}
	var rows []string
	for k, row := range kinds {
		rows = append(rows, string(k))
		if (row.body == nil) != row.mailed || (len(row.hosts) == 0) != (row.path == "") {
			t.Errorf("%s: %+v", k, row)
		}
	}
	slices.Sort(rows)
	contract := strings.Split(string(found[1]), ", ")
	slices.Sort(contract)
	if !slices.Equal(contract, rows) {
		t.Errorf("the contract has %v, the table %v", contract, rows)
	}
}

func TestAChannelOfAnUnknownKindIsRefused(t *testing.T) {
	for _, k := range []organization.ChannelKind{"", "Slack", "pager"} {
		if err := (Target{URL: "https://example.com"}).Check(k, nil); err == nil ||
			!strings.Contains(err.Error(), "no such channels") {
			t.Errorf("%q: %v", k, err)
		}
		post := Post{Messages: []Message{{}}}
		if p := (&Sender{}).Send(t.Context(), k, Target{URL: "https://example.com"}, post); p == nil || p.Never {
			t.Errorf("%q: %+v", k, p)
		}
	}
}
