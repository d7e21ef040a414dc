package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestListsAndTheDocumentAreCompressed reads them with and without compression, and compares.
func TestListsAndTheDocumentAreCompressed(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	for i := range 20 {
		admin.mustTool(fmt.Sprint("Tool ", i), "ghp_secret")
	}
	_, key := admin.mustAgent("Onboarding")
	for _, tt := range []struct {
		by   client
		path string
	}{
		{admin, "/api/admin/tools"},
		{admin, "/api/admin/tools?limit=7"},
		{admin, "/api/admin/audit"},
		{admin, "/api/admin/tool-templates"},
		{admin, "/api/admin/catalog/export?format=json"},
		{p.with(key), "/api/tools"},
		{p.anyone(), "/openapi.json"},
	} {
		plain := raw(t, tt.by, tt.path, "identity")
		for _, accepted := range []string{"gzip", "br, GZIP ; q=0.5", "deflate,gzip;q=1.0,*;q=0"} {
			packed := raw(t, tt.by, tt.path, accepted)
			unpacked, err := gzip.NewReader(bytes.NewReader(packed.Body))
			if err != nil || packed.Header.Get("Content-Encoding") != "gzip" ||
				!lists(packed.Header.Get("Vary"), "Accept-Encoding") && len(packed.Header.Values("Vary")) < 2 {
				t.Errorf("%s for %q: %v %v", tt.path, accepted, err, packed.Header)
				continue
			}
			if text, err := io.ReadAll(unpacked); err != nil || !bytes.Equal(text, plain.Body) {
				t.Errorf("%s for %q differs: %v", tt.path, accepted, err)
			}
			if len(packed.Body) > len(plain.Body)/2 {
				t.Errorf("%s shrinks from %d to %d", tt.path, len(plain.Body), len(packed.Body))
			}
		}
		for _, refused := range []string{"identity", "gzip;q=0", "br", "*;q=0", "gzip;q=x"} {
			if a := raw(t, tt.by, tt.path, refused); a.Header.Get("Content-Encoding") != "" ||
				!bytes.Equal(a.Body, plain.Body) {
				t.Errorf("%s for %q: %v", tt.path, refused, a.Header)
			}
		}
	}
	if a := raw(t, admin, "/api/admin/tools?limit=0", "gzip"); a.Status != 400 ||
		a.Header.Get("Content-Encoding") != "" {
		t.Errorf("a refusal: %d %v", a.Status, a.Header)
	}
	if a := raw(t, admin, "/api/admin/grants", "gzip"); a.Header.Get("Content-Encoding") != "" ||
		string(bytes.TrimSpace(a.Body)) != `{"items":[]}` {
		t.Errorf("a short list: %v %s", a.Header, a.Body)
	}
}

// TestAnswersWithSecretsAreNotCompressed asks for compression wherever a secret is answered.
func TestAnswersWithSecretsAreNotCompressed(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	secret := strings.Repeat("ghp_secret ", 200)
	tool := admin.mustTool("GitHub", secret)
	id, key := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	for _, a := range []answer{
		p.with(key).must(200, "GET", "/api/tools/"+tool+"/credentials", nil, "Accept-Encoding", "gzip"),
		admin.must(200, "POST", "/api/admin/agents/"+id+"/rotate-key", nil, "Accept-Encoding", "gzip"),
		admin.must(201, "POST", "/api/admin/agents", object{"name": "Another"}, "Accept-Encoding", "gzip"),
	} {
		if a.Header.Get("Content-Encoding") != "" || a.Text("api_key")+a.Text("credential") == "" {
			t.Errorf("%v %s", a.Header, a.Body)
		}
	}
}

// raw is a GET whose body is left as it arrives.
func raw(t *testing.T, c client, path, accepted string) answer {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, c.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", accepted)
	if c.key != "" {
		request.Header.Set("Authorization", "Bearer "+c.key)
	}
	request.Header.Set("X-Wait-For-Position", fmt.Sprint(c.seen.Load()))
	response, err := c.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{Status: response.StatusCode, Header: response.Header, Body: body}
}

// TestTheDocumentShowsNothingOfOurGenerator looks for extensions that only it reads.
func TestTheDocumentShowsNothingOfOurGenerator(t *testing.T) {
	t.Parallel()
	doc := start(t).anyone().must(200, "GET", "/openapi.json", nil)
	if strings.Contains(string(doc.Body), "x-go") || doc.At("components.schemas.Credential.oneOf") == nil {
		t.Errorf("the document: %.300s", doc.Body)
	}
}
