package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// contractCodes are the codes that clients may rely on, without those of features to come.
var contractCodes = []string{
	"malformed_json", "validation_failed", "credentials_missing", "credentials_malformed", "credentials_unknown",
	"credentials_expired", "agent_suspended", "role_insufficient", "wrong_caller", "origin_not_allowed",
	"access_not_approved", "not_found", "method_not_allowed", "already_pending", "already_approved", "already_decided",
	"already_approved_by_you", "approvals_required", "own_agent", "outside_allowed_hours",
	"tool_frozen", "not_covered_yet",
	"agent_not_active", "tool_exists", "suggestion_cooling_down", "suggestion_dismissed", "too_many_waiting",
	"overlap_running", "identity_taken", "last_owner", "credential_shape_differs",
	"idempotency_key_reused", "idempotency_in_progress", "revision_stale", "precondition_required",
	"simulation_required", "body_too_large",
	"unsupported_media_type", "rate_limited", "internal", "event_log_unavailable", "read_model_unavailable",
	"read_model_behind", "busy", "newer_version_required", "log_restored", "not_a_member", "issuer_unavailable",
	"ai_not_configured", "ai_unavailable",
	"ai_answer_invalid",
	"docs_unavailable",
}

// TestEachCodeOfTheContractIsProduced looks for each code in the tests of this folder, which call a
// running program, and for codes in the program that the contract does not have.
func TestEachCodeOfTheContractIsProduced(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if file != "badinput_list_test.go" {
			tests.Write(text)
		}
	}
	for _, code := range contractCodes {
		if !strings.Contains(tests.String(), `"`+code+`"`) {
			t.Errorf("no test here produces %s", code)
		}
	}
	written, found := regexp.MustCompile(`Code:\s*"([a-z_]+)"`), map[string]bool{}
	for _, folder := range []string{"api", "commands", "domain"} {
		err := filepath.WalkDir(filepath.Join("..", "..", folder), func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			for _, m := range written.FindAllStringSubmatch(string(text), -1) {
				found[m[1]] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for code := range found {
		if !slices.Contains(contractCodes, code) {
			t.Errorf("the contract has no %s", code)
		}
	}
	if len(found) < 20 {
		t.Errorf("only %d codes were found in the program", len(found))
	}
}
