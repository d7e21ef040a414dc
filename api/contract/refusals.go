package contract

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// refusals are the codes that a call may be refused with, their statuses, and which calls that may
// happen to. What only some calls are refused for, their codes in the document say.
var refusals = []struct {
	status int
	codes  []string
	happen func(*Operation) bool // nil: only where the document names the code
}{
	{400, []string{"malformed_json"}, (*Operation).takesBody},
	{400, []string{"validation_failed"}, func(o *Operation) bool { return o.isAuthenticated() || o.TakesInput() }},
	{400, []string{"docs_unavailable"}, nil},
	{401, []string{
		"credentials_missing", "credentials_malformed", "credentials_unknown", "credentials_expired",
	}, (*Operation).isAuthenticated},
	// An agent learns that it is suspended before it learns that a call is none of an agent.
	{403, []string{"wrong_caller", "agent_suspended", "origin_not_allowed"}, (*Operation).isAuthenticated},
	{403, []string{"not_a_member"}, func(o *Operation) bool { return o.Caller == "admin" }},
	{403, []string{"role_insufficient"}, func(o *Operation) bool { return o.Permission != "" }},
	{403, []string{"access_not_approved", "own_agent"}, nil},
	{404, []string{"not_found"}, func(o *Operation) bool { return strings.Contains(o.Path, "{") }},
	{409, []string{"idempotency_key_reused", "idempotency_in_progress"}, (*Operation).TakesIdempotencyKey},
	{409, []string{
		"already_pending", "already_approved", "already_decided", "already_approved_by_you", "approvals_required",
		"outside_allowed_hours", "tool_frozen", "agent_not_active", "tool_exists", "suggestion_cooling_down",
		"suggestion_dismissed", "too_many_waiting", "overlap_running", "identity_taken", "last_owner",
		"credential_shape_differs", "not_covered_yet",
	}, nil},
	{412, []string{"revision_stale"}, func(o *Operation) bool { return o.TakesIfMatch }},
	{413, []string{"body_too_large"}, func(o *Operation) bool { return o.Method != http.MethodGet }},
	{415, []string{"unsupported_media_type"}, (*Operation).takesBody},
	{428, []string{"precondition_required", "simulation_required"}, nil},
	{429, []string{"rate_limited"}, func(o *Operation) bool { return o.isAuthenticated() || o.signsIn() }},
	{500, []string{"internal"}, func(*Operation) bool { return true }},
	{503, []string{"busy"}, func(o *Operation) bool { return o.ID != "getHealth" && o.ID != "getReadiness" }},
	{503, []string{"event_log_unavailable", "log_restored", "newer_version_required"}, func(o *Operation) bool {
		return o.isAuthenticated() || o.signsIn() || o.ID == "listVerificationKeys"
	}},
	{503, []string{"issuer_unavailable"}, (*Operation).isAuthenticated},
	{503, []string{"read_model_unavailable", "read_model_behind"}, (*Operation).isAuthenticated},
	{503, []string{"ai_not_configured", "ai_unavailable", "ai_answer_invalid"}, nil},
}

func (o *Operation) isAuthenticated() bool { return o.Caller != "anyone" }

func (o *Operation) signsIn() bool { return strings.HasPrefix(o.Path, "/auth/") }

func (o *Operation) takesBody() bool { return o.Body != nil }

// Refusals are the codes with which a call may be refused, by their status.
func (o *Operation) Refusals() map[int][]string {
	out := map[int][]string{}
	for _, r := range refusals {
		for _, code := range r.codes {
			if r.happen != nil && r.happen(o) || slices.Contains(o.codes, code) {
				out[r.status] = append(out[r.status], code)
			}
		}
	}
	return out
}

// refused says what each status means for the caller.
var refused = map[int]string{
	400: "The request isn't well-formed, or a field or parameter in it isn't valid.",
	401: "The credentials are missing, wrong or expired.",
	403: "The caller may not do this.",
	404: "There is no such thing, or it belongs to another organization.",
	409: "It doesn't go with how things are now, or with another call.",
	412: "What the call is about has changed since the caller saw it.",
	413: "The body is too large.",
	415: "The body is of another media type.",
	428: "The call has to say what the caller has seen.",
	429: "The limit of the call is used up.",
}

// told is a list of refusals in a line of Markdown.
func told(refusals map[int][]string) string {
	var out []string
	for _, status := range slices.Sorted(maps.Keys(refusals)) {
		out = append(out, fmt.Sprintf("%d `%s`", status, strings.Join(refusals[status], "`, `")))
	}
	return "Refusals: " + strings.Join(out, "; ") + "."
}
