package main

import (
	"net/url"
	"strings"
	"testing"
)

// startNginx serves a compressing nginx in front of the program, and returns its client.
func startNginx(p *program, c client) client {
	p.t.Helper()
	upstream, err := url.Parse(p.URL)
	if err != nil {
		p.t.Fatal(err)
	}
	c.base = startEngine(p.t, "nginx", "TEST_NGINX_URL", "NGINX_UPSTREAM="+upstream.Host).URL
	return c
}

// weak is the tag of an answer, which the proxy must have weakened.
func weak(t *testing.T, a answer) []string {
	t.Helper()
	tag := a.Header.Get("ETag")
	if !strings.HasPrefix(tag, `W/"`) {
		t.Fatalf("the proxy left the tag as it was: %s", tag)
	}
	return []string{"If-Match", tag}
}

func TestACompressingProxyLetsPeopleEditAndDecide(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := startNginx(p, p.admin())
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("Onboarding")
	for _, path := range []string{"/api/admin/tools/" + tool, "/api/admin/agents/" + id} {
		was := weak(t, admin.must(200, "GET", path, nil))
		now := weak(t, admin.must(200, "PATCH", path, object{"description": "First"}, was...))
		admin.refused(412, "revision_stale", "PATCH", path, object{"description": "Second"}, was...)
		admin.must(200, "PATCH", path, object{"description": "Second"}, "If-Match", was[1]+", "+now[1])
	}
	agent := startNginx(p, p.with(key))
	request := agent.must(201, "POST", "/api/tools/"+tool+"/request", object{"reason": "To open issues"})
	path := "/api/admin/requests/" + request.Text("request_id")
	seen := weak(t, admin.must(200, "GET", path, nil))
	admin.must(200, "POST", path+"/approve", nil, seen...)
}
