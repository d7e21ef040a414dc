package main

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"agentkey/integrations/oidc/oidctest"
)

// TestMetaSaysWhatThereIs reads it with nothing configured, and with much.
func TestMetaSaysWhatThereIs(t *testing.T) {
	t.Parallel()
	const path = "/api/admin/meta"
	bare := start(t, "AGENTKEY_LIMIT_READS=7/2m", "AGENTKEY_LIMIT_REQUESTS=off").admin().must(200, "GET", path, nil)
	want := map[string]any{"ai": false, "dashboard": false, "mail": false, "sign_in": false, "witnesses": false}
	if diff := cmp.Diff(want, bare.At("features")); diff != "" || bare.At("vending.enabled") != true {
		t.Errorf("with nothing configured: %s\n%s", bare.Body, diff)
	}
	limits, _ := bare.At("limits").([]any)
	if diff := cmp.Diff(map[string]any{"tier": "reads", "limit": 7.0, "window_seconds": 120.0}, limits[0]); diff != "" {
		t.Errorf("the limits are %v", limits)
	}
	for _, limit := range limits {
		if limit.(map[string]any)["tier"] == "requests" { //nolint:forcetypeassert // the document was checked
			t.Errorf("a limit that is off is listed: %v", limits)
		}
	}
	roles, _ := bare.At("roles").([]any)
	if len(roles) != 5 {
		t.Errorf("the roles are %v", roles)
	}

	dir := t.TempDir()
	put(t, dir, "index.html", "<title>A dashboard</title>")
	p := start(t, append(
		signsInAt(oidctest.New(t)), "AGENTKEY_OIDC_CLIENT_ID="+oidctest.ClientID,
		"AGENTKEY_OIDC_CLIENT_SECRET="+oidctest.ClientSecret, "AGENTKEY_DASHBOARD_DIR="+dir,
		"AGENTKEY_AI_BASE_URL=http://127.0.0.1:1/v1",
		"AGENTKEY_AI_MODEL=m", "AGENTKEY_SMTP_URL=smtp://127.0.0.1:1", "AGENTKEY_SMTP_FROM=agentkey@example.com",
	)...)
	_, viewer := p.admin().newToken("Screen", "viewer")
	much := p.with(viewer).must(200, "GET", path, nil)
	want = map[string]any{"ai": true, "dashboard": true, "mail": true, "sign_in": true, "witnesses": false}
	if diff := cmp.Diff(want, much.At("features")); diff != "" {
		t.Errorf("with much configured: %s", diff)
	}
	me := p.with(viewer).must(200, "GET", "/api/admin/me", nil)
	for _, role := range much.At("roles").([]any) { //nolint:forcetypeassert // the document was checked
		role := role.(map[string]any) //nolint:forcetypeassert // as above
		if role["name"] == "viewer" && !cmp.Equal(role["permissions"], me.At("permissions")) {
			t.Errorf("a viewer's permissions are %v, and %v for themselves", role, me.At("permissions"))
		}
	}
}
