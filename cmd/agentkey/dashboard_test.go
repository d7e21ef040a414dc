package main

import (
	"bytes"
	"flag"
	"image/color"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const exampleDashboard = "../../docs/examples/dashboard"

var pictureFolder = flag.String("pictures", "", "a folder for pictures of the example dashboard")

// looksLikeAMonth opens the example dashboard on a demo, in the light, the dark and on a telephone.
// Its first screen costs four calls and little to transfer.
func looksLikeAMonth(t *testing.T, p *program) {
	t.Helper()
	for name, width := range map[string]int{"dashboard": 1100, "phone": 390} {
		b := openTab(t, width, 1000)
		b.goTo(p.URL + "/")
		b.until("the form", "!document.querySelector('#sign-in').hidden")
		b.fill("#token", p.Token)
		b.click("#sign-in", "Sign in")
		b.until("the stream", "document.querySelector('#live').textContent === 'live'")
		b.until("the chart", "document.querySelectorAll('#chart .vended[height]:not([height=\"0\"])').length === 14")
		const screen = `performance.getEntriesByType("resource").filter((e) =>
			/\/api\/admin\/(?!me$)/.test(e.name) && e.responseStatus === 200)`
		if calls := b.eval(screen + ".length"); calls != 4.0 {
			t.Errorf("the first screen takes %v calls", calls)
		}
		size, _ := b.eval(screen + ".reduce((sum, e) => sum + e.transferSize, 0)").(float64)
		t.Logf("the first screen is %v bytes as transferred", size)
		if size == 0 || size > 20_000 {
			t.Errorf("the first screen is %v bytes as transferred", size)
		}
		if wide := b.eval("document.documentElement.scrollWidth"); wide != float64(width) {
			t.Errorf("in a window of %d pixels it is %v wide", width, wide)
		}
		light, dark := b.shoot("light"), b.shoot("dark")
		if brightness(t, light) < 2*brightness(t, dark) {
			t.Error("the dark picture is about as bright as the light one")
		}
		if *pictureFolder != "" {
			put(t, *pictureFolder, name+".png", string(light))
			put(t, *pictureFolder, name+"-dark.png", string(dark))
		}
	}
}

// brightness is that of a picture's first pixel, from 0 to 65535.
func brightness(t *testing.T, picture []byte) uint16 {
	t.Helper()
	decoded, err := png.Decode(bytes.NewReader(picture))
	if err != nil {
		t.Fatal(err)
	}
	return color.Gray16Model.Convert(decoded.At(0, 0)).(color.Gray16).Y //nolint:forcetypeassert // of this model
}

// TestTheExampleDashboardDecides signs in on the smallest dashboard, sees a request come, decides
// on what was shown, and signs out.
func TestTheExampleDashboardDecides(t *testing.T) {
	t.Parallel()
	p := start(t, append([]string{"AGENTKEY_DASHBOARD_DIR=" + exampleDashboard}, unlimited...)...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "ghp_secret")
	id, key := admin.mustAgent("<b>Onboarding</b>")
	agent := p.with(key)
	ask := func(key, tool, reason string) string {
		return p.with(key).must(201, "POST", "/api/tools/"+tool+"/request", object{"reason": reason}).Text("request_id")
	}
	status := func(request string) string {
		return admin.must(200, "GET", "/api/admin/requests/"+request, nil).Text("status")
	}
	request := ask(key, tool, "to open pull requests")

	b := openTab(t, 1100, 900)
	b.goTo(p.URL + "/")
	b.until("the form", "!document.querySelector('#sign-in').hidden")
	b.fill("#token", "sk_admin_wrong")
	b.click("#sign-in", "Sign in")
	b.until("the refusal", "document.querySelector('#alert').textContent.length > 20")
	b.fill("#token", p.Token)
	b.click("#sign-in", "Sign in")
	b.until("the request", "document.querySelector('.reason')?.textContent === 'to open pull requests'")
	b.until("the stream", "document.querySelector('#live').textContent === 'live'")
	if cookies := b.eval("document.cookie + sessionStorage.length"); cookies != "0" {
		t.Errorf("a script can read %q", cookies)
	}
	if n := b.eval("document.querySelectorAll('article b').length"); n != 0.0 {
		t.Errorf("an agent's name made %v elements", n)
	}

	// What happens elsewhere appears. A person who is typing keeps the card, and decides on that.
	other, otherKey := admin.mustAgent("Reviewer")
	second := ask(otherKey, tool, "to read them")
	b.until("the second request", "document.querySelectorAll('article').length === 2")
	mark := func(text string) { // gives the field of the card with a text an id
		b.eval("[...document.querySelectorAll('article')].find((a) => a.textContent.includes('" + text + "'))" +
			".querySelector('input').id = 'why'")
	}
	mark("to read them")
	b.fill("#why", "Ask")
	seen := admin.must(200, "GET", "/api/admin/agents/"+other, nil)
	admin.must(200, "PATCH", "/api/admin/agents/"+other, object{"name": "Renamed"}, "If-Match", seen.Header.Get("ETag"))
	b.until("the new entry", "document.querySelector('#audit').textContent.includes('Renamed')")
	b.eval("document.querySelector('#why').closest('form').querySelector('button:not([type])').click()")
	b.until("what changed", "document.querySelector('#alert').textContent.startsWith('This request changed')")
	if is := status(second); is != "pending" {
		t.Errorf("what was decided on a card of former times is %s", is)
	}
	b.until("the card of now", "document.querySelector('#queue').textContent.includes('Renamed')")
	mark("Renamed")
	b.fill("#why", "Ask the owner first.")
	b.eval("document.querySelector('#why').closest('form').querySelector('button[type=button]').click()")
	b.until("one card", "document.querySelectorAll('article').length === 1")
	denied := admin.must(200, "GET", "/api/admin/requests/"+second, nil)
	if denied.Text("denial_reason") != "Ask the owner first." {
		t.Errorf("denied: %s", denied.Body)
	}
	b.click("article", "Approve")
	b.until("an empty queue", "document.querySelector('#queue').textContent === 'Nothing is waiting.'")
	if is := status(request); is != "approved" {
		t.Errorf("the request is %s", is)
	}
	agent.must(200, "GET", "/api/tools/"+tool+"/credentials", nil)
	admin.must(204, "DELETE", "/api/admin/agents/"+id+"/grants/"+tool, nil)
	b.until("the audit", "document.querySelector('#audit').textContent.includes('<b>Onboarding</b>')")

	b.click("header", "Sign out")
	b.until("the form again", "document.readyState === 'complete' && !document.querySelector('#sign-in').hidden")

	// A viewer sees requests come, and neither decides nor reads the audit.
	_, viewer := admin.newToken("Screen", "viewer")
	b.fill("#token", viewer)
	b.click("#sign-in", "Sign in")
	b.until("the stream", "document.querySelector('#live').textContent === 'live'")
	ask(otherKey, tool, "to read them again")
	b.until("the request", "document.querySelector('.reason')?.textContent === 'to read them again'")
	if shown := b.eval(`document.querySelectorAll("article form, #alert:not([hidden])").length +
		document.querySelector("#audit").offsetHeight`); shown != 0.0 {
		t.Errorf("a viewer sees %v", b.eval("document.body.innerText"))
	}
}

// TestTheExampleDashboardFromAnotherOrigin serves the same files elsewhere, on a telephone.
func TestTheExampleDashboardFromAnotherOrigin(t *testing.T) {
	t.Parallel()
	var api string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/" {
			http.FileServer(http.Dir(exampleDashboard)).ServeHTTP(w, r)
			return
		}
		page, err := os.ReadFile(filepath.Join(exampleDashboard, "index.html"))
		if err != nil {
			t.Error(err)
		}
		_, _ = w.Write(bytes.Replace(page, []byte(`-api" content="`), []byte(`-api" content="`+api), 1))
	}))
	defer elsewhere.Close()
	p := start(t, append([]string{"AGENTKEY_ADMIN_CORS_ORIGINS=" + elsewhere.URL}, unlimited...)...)
	api = p.URL
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	_, key := p.admin().mustAgent("Onboarding")
	p.with(key).must(201, "POST", "/api/tools/"+tool+"/request", object{"reason": strings.Repeat("to review ", 40)})

	b := openTab(t, 390, 844)
	b.goTo(elsewhere.URL + "/")
	b.until("the form", "!document.querySelector('#sign-in').hidden")
	b.fill("#token", p.Token)
	b.click("#sign-in", "Sign in")
	b.until("the request", "document.querySelectorAll('article').length === 1")
	b.until("the stream", "document.querySelector('#live').textContent === 'live'")
	if wide := b.eval("document.documentElement.scrollWidth"); wide != 390.0 {
		t.Errorf("on a telephone the page is %v pixels wide", wide)
	}
	b.click("article", "Approve")
	b.until("an empty queue", "document.querySelector('#queue').textContent === 'Nothing is waiting.'")
}
