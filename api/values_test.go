package api

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"agentkey/api/contract"
	"agentkey/api/door"
	"agentkey/audit/actions"
	"agentkey/domain"
)

// TestTheDocumentListsTheValuesOfTheProgram: the actions and categories of the audit, the roles,
// and what they may do.
func TestTheDocumentListsTheValuesOfTheProgram(t *testing.T) {
	t.Parallel()
	c, err := contract.Load()
	if err != nil {
		t.Fatal(err)
	}
	var document struct {
		Components struct {
			Schemas map[string]struct{ Enum []string }
		}
	}
	if err := json.Unmarshal(c.JSON, &document); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string][]string{
		"AuditAction":   actions.Names(),
		"AuditCategory": texts(actions.Categories()),
		"Role":          texts(domain.Roles),
		"Permission":    door.Permissions(domain.RoleOwner),
	} {
		if diff := cmp.Diff(want, document.Components.Schemas[name].Enum); diff != "" {
			t.Errorf("%s (-program +document):\n%s", name, diff)
		}
	}
	for _, op := range c.Operations {
		if op.Permission != "" && !slices.Contains(door.Permissions(domain.RoleOwner), op.Permission) {
			t.Errorf("nobody has the permission %q of %s", op.Permission, op.ID)
		}
	}
}

func texts[T ~string](values []T) []string {
	return views(values, func(v T) string { return string(v) })
}
