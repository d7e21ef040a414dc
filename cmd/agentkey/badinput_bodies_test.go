package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"agentkey/eventstore/eventstoretest/wait"
)

// raw writes bytes to the server as they are and reads the answers that come until it closes the
// connection or has given as many as were asked for. With cut the connection says that nothing
// follows.
func (p *program) raw(answers int, text string, cut bool) []answer {
	p.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(p.URL, "http://"))
	if err != nil {
		p.t.Fatal(err)
	}
	if err := conn.SetDeadline(time.Now().Add(wait.Patience)); err != nil {
		p.t.Fatal(err)
	}
	written := make(chan error, 1)
	go func() {
		_, err := io.WriteString(conn, text)
		if tcp, ok := conn.(*net.TCPConn); cut && err == nil && ok {
			err = tcp.CloseWrite()
		}
		written <- err
	}()
	in := bufio.NewReader(conn)
	var out []answer
	for range answers {
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			break
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil {
			p.t.Fatal(err)
		}
		out = append(out, newAnswer(response, body))
	}
	_ = conn.Close()
	if err := <-written; err != nil {
		p.t.Logf("the server did not read everything: %v", err)
	}
	return out
}

// head is the first lines of a call with a key; what is missing of its headers may follow.
func head(method, path, key string) string {
	return method + " " + path + " HTTP/1.1\r\nHost: agentkey\r\nAuthorization: Bearer " +
		"" + key + "\r\nContent-Type: application/json\r\n"
}

func TestAMediaTypeThatIsNotJSONIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	id, _ := admin.mustAgent("Onboarding")
	for _, tt := range []struct {
		mediaType string
		status    int
	}{
		{"", 415},
		{"text/plain", 415},
		{"application/x-www-form-urlencoded", 415},
		{"application/jsonp", 415},
		{"application/problem+json", 415},
		{"application/json; charset=iso-8859-1", 415},
		{"application/json; charset=utf-16", 415},
		{"application/json;;", 415},
		{"json", 415},
		{"application/json", 201},
		{"Application/JSON", 201},
		{"application/json; charset=utf-8", 201},
		{"application/json;charset=UTF-8", 201},
		{`application/json; charset="utf-8"`, 201},
	} {
		a := admin.call("POST", "/api/admin/agents", `{"name":"Onboarding"}`, "Content-Type", tt.mediaType)
		if a.Status != tt.status || (tt.status == 415 && a.Code() != "unsupported_media_type") {
			t.Errorf("%q: status %d: %s", tt.mediaType, a.Status, a.Body)
		}
	}
	// Where every field is optional there need be no body, and then no media type; a body needs one
	// here too.
	admin.must(200, "POST", "/api/admin/agents/"+id+"/rotate-key", nil)
	admin.must(200, "POST", "/api/admin/agents/"+id+"/rotate-key", "")
	admin.refused(
		415, "unsupported_media_type", "POST", "/api/admin/agents/"+id+"/rotate-key", `{"overlap_seconds":1}`,
		"Content-Type", "",
	)
	admin.refused(
		415, "unsupported_media_type", "POST", "/api/admin/agents/"+id+"/rotate-key", nil, "Content-Type", "text/plain",
	)
	admin.refused(415, "unsupported_media_type", "POST", "/api/admin/agents", nil)
}

func TestABodyIsMeasuredAsItComes(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	_, key := admin.mustAgent("Onboarding")
	agent := p.with(key)
	padded := func(body string, size int) string { return body + strings.Repeat(" ", size-len(body)) }
	ask, register := `{"reason":"to open pull requests"}`, `{"name":"Measured"}`
	request := func() string {
		return "/api/tools/" + admin.mustTool(fmt.Sprint("GitHub ", newID()), "ghp_secret") + "/request"
	}

	agent.must(201, "POST", request(), padded(ask, 8192))
	agent.refused(413, "body_too_large", "POST", request(), padded(ask, 8193))
	agent.refused(413, "body_too_large", "POST", request(), strings.Repeat("x", 8193))
	var most int // as large as what it may hold, but for admins at least this
	told := admin.refused(413, "body_too_large", "POST", "/api/admin/agents", strings.Repeat(" ", 1<<20)).Text("detail")
	if _, err := fmt.Sscanf(told, "The body is larger than %d bytes.", &most); err != nil || most < 32<<10 {
		t.Fatalf("it says %s", told)
	}
	admin.must(201, "POST", "/api/admin/agents", padded(register, most))
	admin.refused(413, "body_too_large", "POST", "/api/admin/agents", padded(register, most+1))

	chunked := func(body string) string {
		out := "Transfer-Encoding: chunked\r\n\r\n"
		for body != "" {
			n := min(len(body), 1000)
			out += fmt.Sprintf("%x\r\n%s\r\n", n, body[:n])
			body = body[n:]
		}
		return out + "0\r\n\r\n"
	}
	before := len(admin.must(200, "GET", "/api/admin/agents?q=measured&limit=200", nil).Items())
	for _, tt := range []struct {
		name, text string
		status     []int
		code       string
	}{
		{"chunks up to the limit", head("POST", request(), key) + chunked(padded(ask, 8192)), []int{201}, ""},
		{
			"chunks beyond the limit", head("POST", request(), key) + chunked(padded(ask, 8193)),
			[]int{413},
			"body_too_large",
		},
		{
			"chunks far beyond the limit",
			head("POST", "/api/admin/agents", p.Token) + chunked(padded(register, 200_000)),
			[]int{413},
			"body_too_large",
		},
		{
			"an understated length beside chunks",
			head("POST", request(), key) + "Content-Length: 5\r\n" + chunked(padded(ask, 9000)),
			[]int{413},
			"body_too_large",
		},
		{
			"an understated length that cuts the object, and a longer stream",
			head("POST", "/api/admin/agents", p.Token) + "Content-Length: 10\r\n\r\n" + register + "\r\n\r\n",
			[]int{400, 400},
			"malformed_json",
		},
		{
			"an overstated length, and the stream ends",
			head("POST", "/api/admin/agents", p.Token) + "Content-Length: 100\r\n\r\n" + register,
			[]int{400},
			"malformed_json",
		},
		{
			"chunks that end early",
			head("POST", "/api/admin/agents", p.Token) + "Transfer-Encoding: chunked\r\n\r\n100\r\n" + register,
			[]int{400},
			"malformed_json",
		},
		{
			"a negative length", head("POST", "/api/admin/agents", p.Token) + "Content-Length: -1\r\n\r\n" + register,
			[]int{400},
			"",
		},
		{
			"two lengths",
			head("POST", "/api/admin/agents", p.Token) + "Content-Length: 19\r\nContent-Length: 20\r\n\r\n" + register,
			[]int{400},
			"",
		},
	} {
		got := p.raw(len(tt.status), tt.text, strings.Contains(tt.name, "end"))
		if len(got) == 0 || got[0].Status != tt.status[0] || got[0].Code() != tt.code {
			t.Errorf("%s: %+v", tt.name, got)
		}
		for i := range got {
			if got[i].Status != tt.status[i] {
				t.Errorf("%s: answer %d is %d: %s", tt.name, i, got[i].Status, got[i].Body)
			}
		}
	}
	// What follows a complete object within an understated length is the next call of the connection,
	// and no call.
	got := p.raw(
		2,
		head("POST", "/api/admin/agents", p.Token)+fmt.Sprintf(
			"Content-Length: %d\r\n\r\n", len(register),
		)+register+register+"\r\n\r\n",
		false,
	)
	if len(got) != 2 || got[0].Status != 201 || got[1].Status != 400 {
		t.Errorf("a longer stream: %+v", got)
	}
	p.seen.Store(0)
	position := got[0].Header.Get("X-Event-Position")
	after := len(
		admin.must(200, "GET", "/api/admin/agents?q=measured&limit=200", nil, "X-Wait-For-Position", position).Items(),
	)
	if after != before+1 {
		t.Errorf("%d agents were registered, not one", after-before)
	}
}

func TestABodyIsOneObjectThatReadsOneWay(t *testing.T) {
	t.Parallel()
	p := start(t, unlimited...)
	admin := p.admin()
	for _, tt := range []struct {
		name, body string
		code       string // "" is success
		field      string
	}{
		{name: "one object", body: `{"name":"Onboarding"}`},
		{name: "white space round it", body: " \t\r\n{\"name\" : \"Onboarding\"}\n "},
		{name: "an escaped name", body: `{"n\u0061me":"Onboarding"}`},
		{name: "a pair of surrogates", body: `{"name":"\ud83d\ude00\uD83D\uDE00"}`},
		{name: "a backslash before what looks like a surrogate", body: `{"name":"\\ud800"}`},
		{name: "the replacement character itself", body: "{\"name\":\"\uFFFD\uFFFD\"}"},

		{name: "nothing", body: ``, code: "malformed_json"},
		{name: "white space alone", body: "  \n ", code: "malformed_json"},
		{name: "truncated within a string", body: `{"name":"Onboar`, code: "malformed_json"},
		{name: "truncated before the end", body: `{"name":"Onboarding"`, code: "malformed_json"},
		{name: "truncated after a comma", body: `{"name":"Onboarding",`, code: "malformed_json"},
		{name: "truncated after a name", body: `{"name"`, code: "malformed_json"},
		{name: "truncated within an escape", body: `{"name":"Onboarding\u00`, code: "malformed_json"},
		{name: "two objects", body: `{"name":"Onboarding"}{"name":"Another"}`, code: "malformed_json"},
		{
			name: "two objects on two lines", body: "{\"name\":\"Onboarding\"}\n{\"name\":\"Another\"}",
			code: "malformed_json",
		},
		{name: "an object and a bracket", body: `{"name":"Onboarding"}]`, code: "malformed_json"},
		{name: "an object and a comma", body: `{"name":"Onboarding"},`, code: "malformed_json"},
		{name: "an array", body: `[{"name":"Onboarding"}]`, code: "malformed_json"},
		{name: "a string", body: `"Onboarding"`, code: "malformed_json"},
		{name: "a number", body: `1`, code: "malformed_json"},
		{name: "true", body: `true`, code: "malformed_json"},
		{name: "null", body: `null`, code: "malformed_json"},
		{name: "a trailing comma", body: `{"name":"Onboarding",}`, code: "malformed_json"},
		{name: "single quotes", body: `{'name':'Onboarding'}`, code: "malformed_json"},
		{name: "no quotes round a name", body: `{name:"Onboarding"}`, code: "malformed_json"},
		{name: "a comment", body: `{"name":"Onboarding"/* */}`, code: "malformed_json"},
		{name: "a form", body: `name=Onboarding`, code: "malformed_json"},
		{name: "a control character in a string", body: "{\"name\":\"On\nboarding\"}", code: "malformed_json"},
		{name: "an escape that there is not", body: `{"name":"On\xboarding"}`, code: "malformed_json"},
		{name: "a byte order mark", body: "\ufeff" + `{"name":"Onboarding"}`, code: "malformed_json"},
		{name: "a member twice", body: `{"name":"Onboarding","name":"Another"}`, code: "malformed_json"},
		{
			name: "a member twice with one value", body: `{"name":"Onboarding","name":"Onboarding"}`,
			code: "malformed_json",
		},
		{
			name: "a member twice, once escaped", body: `{"name":"Onboarding","n\u0061me":"Another"}`,
			code: "malformed_json",
		},
		{name: "a member twice that there is not", body: `{"name":"Onboarding","x":1,"x":1}`, code: "malformed_json"},
		{name: "a member twice further in", body: `{"name":"Onboarding","x":{"y":1,"y":1}}`, code: "malformed_json"},
		{name: "half a pair of surrogates", body: `{"name":"On\ud800boarding"}`, code: "malformed_json"},
		{name: "the other half", body: `{"name":"On\udc00boarding"}`, code: "malformed_json"},
		{name: "halves in the wrong order", body: `{"name":"\ude00\ud83d"}`, code: "malformed_json"},
		{name: "half a pair in a member name", body: `{"name":"Onboarding","\ud800":1}`, code: "malformed_json"},
		{name: "bytes that are not UTF-8", body: "{\"name\":\"On\xffboarding\"}", code: "malformed_json"},
		{name: "an overlong encoding", body: "{\"name\":\"On\xc0\xafboarding\"}", code: "malformed_json"},
		{name: "an encoded surrogate", body: "{\"name\":\"On\xed\xa0\x80boarding\"}", code: "malformed_json"},
		{name: "UTF-16", body: "\x00{\x00}", code: "malformed_json"},
		{name: "nested without end", body: `{"name":` + strings.Repeat("[", 30_000), code: "malformed_json"},

		{name: "no name", body: `{}`, code: "validation_failed", field: "name"},
		{name: "a name in another case", body: `{"Name":"Onboarding"}`, code: "validation_failed", field: "name"},
		{
			name: "a member that differs in case beside the right one", body: `{"name":"Onboarding","NAME":"Another"}`,
			code: "validation_failed", field: "NAME",
		},
		{
			name: "a member that differs by a sign that folds", body: `{"name":"Onboarding","de\u017fcription":"x"}`,
			code: "validation_failed", field: "deſcription",
		},
		{
			name: "a field that there is not", body: `{"name":"Onboarding","admin":true}`, code: "validation_failed",
			field: "admin",
		},
		{
			name: "a field of the answer", body: `{"name":"Onboarding","status":"active"}`, code: "validation_failed",
			field: "status",
		},
		{name: "null for what is required", body: `{"name":null}`, code: "validation_failed", field: "name"},
		{
			name: "null for what is optional", body: `{"name":"Onboarding","description":null}`,
			code: "validation_failed", field: "description",
		},
		{name: "a number for a string", body: `{"name":12}`, code: "validation_failed", field: "name"},
		{
			name: "an object for a string", body: `{"name":{"text":"Onboarding"}}`, code: "validation_failed",
			field: "name",
		},
		{name: "an array for a string", body: `{"name":["Onboarding"]}`, code: "validation_failed", field: "name"},
		{
			name: "nested deeper than anybody reads",
			body: `{"name":` + strings.Repeat("[", 15_000) + strings.Repeat("]", 15_000) + `}`,
			code: "malformed_json",
		},
	} {
		a := admin.call("POST", "/api/admin/agents", tt.body)
		if status := map[bool]int{true: 201, false: 400}[tt.code == ""]; a.Status != status || a.Code() != tt.code {
			t.Errorf("%s: status %d: %.300s", tt.name, a.Status, a.Body)
			continue
		}
		if tt.field != "" && !namesField(a, tt.field) {
			t.Errorf("%s: it does not name %s: %.300s", tt.name, tt.field, a.Body)
		}
	}
}

// namesField reports whether a refusal's details name a field.
func namesField(a answer, field string) bool {
	details, _ := a.JSON["details"].([]any)
	for _, d := range details {
		if d, _ := d.(map[string]any); d["field"] == field {
			return true
		}
	}
	return false
}
