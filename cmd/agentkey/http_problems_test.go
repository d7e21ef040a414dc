package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestARefusalSaysWhatEachFieldMustBe sends bodies and queries with several mistakes. All are told
// at once, each with what is taken instead, and none with what was sent: it may be a secret in the
// wrong place.
func TestARefusalSaysWhatEachFieldMustBe(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	agentID, key := admin.mustAgent("Onboarding")
	const sent = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
	const toolFields = "approval, auth_type, credential, credential_mode, description, docs_url, instructions, " +
		"labels, max_grant_seconds, name, url"
	type field = object
	for _, tt := range []struct {
		name, method, path string
		by                 client
		body               any
		want               []any
	}{
		{"an agent", "POST", "/api/admin/agents", admin, object{
			"name": "x", "description": strings.Repeat(sent, 13),
			"key": sent,
		}, []any{
			field{"field": "description", "message": "it must be text of at most 500 characters"},
			field{"field": "key", "message": "there is no such field here; the fields here are description, " +
				"labels, name, owner"},
			field{"field": "name", "message": "it must be text of 2 to 120 characters"},
		}},
		{"a tool", "POST", "/api/admin/tools", admin, object{
			"auth_type": sent, "credential": []string{sent}, "url": sent,
			"max_grant_seconds": sent,
		}, []any{
			field{"field": "auth_type", "message": "it must be one of api_key, oauth_token, bot_token, other"},
			field{
				"field":   "credential",
				"message": "it must be a string, or an object of 1 to 16 named strings, of at most 16384 bytes",
			},
			field{"field": "credential_mode", "message": "it is required; it must be one of shared, per_agent"},
			field{"field": "max_grant_seconds", "message": "it must be a whole number from 1 to 315360000"},
			field{"field": "name", "message": "it is required; it must be text of 2 to 120 characters"},
			field{
				"field": "url", "message": "it must be an http or https URL without a user, of at most 500 characters",
			},
		}},
		{
			"access", "POST", "/api/admin/agents/" + agentID + "/grants", admin,
			object{"tool_id": sent, "expires_at": sent},
			[]any{
				field{"field": "expires_at", "message": "it must be a time such as 2030-01-31T12:00:00Z"},
				field{"field": "tool_id", "message": "it must be a UUID in canonical lower case"},
			},
		},
		{"a request", "POST", "/api/tools/" + tool + "/request", p.with(key), object{"reason": 1}, []any{
			field{"field": "reason", "message": "it must be text of 5 to 500 characters"},
		}},
		{"a tool for a suggestion", "POST", "/api/admin/suggestions/" + tool + "/accept", admin, object{"tool": object{
			"name": "Linear", "credential": object{"user": sent, "password": []string{sent}}, "auth_type": sent,
			"key": sent,
		}}, []any{
			field{"field": "tool.auth_type", "message": "it must be one of api_key, oauth_token, bot_token, other"},
			field{
				"field":   "tool.credential",
				"message": "it must be a string, or an object of 1 to 16 named strings, of at most 16384 bytes",
			},
			field{"field": "tool.credential_mode", "message": "it is required; it must be one of shared, per_agent"},
			field{"field": "tool.key", "message": "there is no such field here; the fields here are " + toolFields},
		}},
		{"a list", "GET", "/api/admin/agents?limit=" + sent + "&status=" + sent, admin, nil, []any{
			field{"field": "limit", "message": "it must be a whole number from 1 to 200"},
			field{"field": "status", "message": "it must be one of active, suspended, retired"},
		}},
		{"the audit", "GET", "/api/admin/audit?from=" + sent + "&agent_id=" + sent, admin, nil, []any{
			field{"field": "agent_id", "message": "it must be a UUID in canonical lower case"},
			field{"field": "from", "message": "it must be a time such as 2030-01-31T12:00:00Z"},
		}},
	} {
		for range 5 { // always in one order
			a := tt.by.refused(400, "validation_failed", tt.method, tt.path, tt.body)
			if diff := cmp.Diff(any(tt.want), a.JSON["details"]); diff != "" {
				t.Errorf("%s: %s", tt.name, diff)
			}
			if bytes.Contains(a.Body, []byte("ghp_")) || strings.Contains(p.stderr.String(), sent) {
				t.Errorf("%s repeats what was sent: %s", tt.name, a.Body)
			}
			describes := "GET /openapi.json"
			if tt.name == "a request" {
				describes = "GET " + tt.path
			}
			if !strings.Contains(a.Text("hint"), describes) {
				t.Errorf("%s: the hint is %q", tt.name, a.Text("hint"))
			}
		}
	}
}

// TestARefusalNamesTheFirstFiftyMistakes sends a list of nothing else.
func TestARefusalNamesTheFirstFiftyMistakes(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	tools := slices.Repeat([]any{1}, 1999)
	a := p.admin().refused(
		400, "validation_failed", "PUT", "/api/admin/catalog/import", object{"agentkey_catalog": 1, "tools": tools},
	)
	details, _ := a.JSON["details"].([]any)
	if len(details) != 50 || !namesField(a, "tools[0]") || !namesField(a, "tools[49]") {
		t.Errorf("%d details: %.300s", len(details), a.Body)
	}
}

// TestABodyIsNotCompressed sends one that says that it is.
func TestABodyIsNotCompressed(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	for _, coding := range []string{"gzip", "br", "deflate, gzip", "x"} {
		p.admin().refused(
			415, "unsupported_media_type", "POST", "/api/admin/agents", object{"name": "Onboarding"},
			"Content-Encoding", coding,
		)
	}
	p.admin().must(201, "POST", "/api/admin/agents", object{"name": "Onboarding"}, "Content-Encoding", "identity")
}
