package main

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"testing"
)

// tab is a page of a headless Chromium that a test works with through the DevTools protocol
// (https://chromedevtools.github.io/devtools-protocol), of which it needs four calls.
type tab struct {
	t       *testing.T
	to      io.Writer
	from    *bufio.Reader
	session string
	calls   int
}

// openTab starts a browser with one page, whose window has a size in pixels. It ends with the test.
func openTab(t *testing.T, width, height int) *tab {
	t.Helper()
	theirs, ours, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	answers, said, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "chromium", "--headless", "--no-sandbox", "--disable-gpu",
		"--remote-debugging-pipe", "--hide-scrollbars", "--user-data-dir="+t.TempDir(),
		fmt.Sprintf("--window-size=%d,%d", width, height), "about:blank")
	cmd.ExtraFiles = []*os.File{theirs, said} // 3 and 4, where the browser reads and writes
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_, _ = theirs.Close(), said.Close()
	b := &tab{t: t, to: ours, from: bufio.NewReader(answers)}
	t.Cleanup(func() {
		_, _ = ours.Close(), answers.Close() // then it ends
		_ = cmd.Wait()
	})
	target := b.do("Target.createTarget", object{"url": "about:blank"})["targetId"]
	session := b.do("Target.attachToTarget", object{"targetId": target, "flatten": true})["sessionId"]
	b.session, _ = session.(string)
	b.do("Emulation.setDeviceMetricsOverride", object{
		"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600,
	})
	return b
}

// do makes one call and returns its result, or {"error": …}. Messages end with a zero byte; events
// are passed over.
func (b *tab) do(method string, params object) object {
	b.t.Helper()
	b.calls++
	message := object{"id": b.calls, "method": method, "params": params}
	if b.session != "" {
		message["sessionId"] = b.session
	}
	raw, err := json.Marshal(message)
	if err != nil {
		b.t.Fatal(err)
	}
	if _, err := b.to.Write(append(raw, 0)); err != nil {
		b.t.Fatalf("the browser: %v", err)
	}
	for {
		raw, err := b.from.ReadBytes(0)
		if err != nil {
			b.t.Fatalf("the browser at %s: %v", method, err)
		}
		var answer struct {
			ID     int    `json:"id"`
			Result object `json:"result"`
			Error  object `json:"error"`
		}
		if err := json.Unmarshal(raw[:len(raw)-1], &answer); err != nil {
			b.t.Fatal(err)
		}
		if answer.ID != b.calls {
			continue
		}
		if answer.Error != nil {
			return object{"error": answer.Error}
		}
		return answer.Result
	}
}

// eval runs an expression in the page, waits for its promise, and returns its value.
func (b *tab) eval(expression string) any {
	b.t.Helper()
	done := b.evaluate(expression)
	for _, wrong := range []string{"error", "exceptionDetails"} {
		if done[wrong] != nil {
			b.t.Fatalf("%s: %v", expression, done[wrong])
		}
	}
	result, _ := done["result"].(map[string]any)
	return result["value"]
}

func (b *tab) evaluate(expression string) object {
	b.t.Helper()
	return b.do("Runtime.evaluate", object{
		"expression": expression, "awaitPromise": true, "returnByValue": true, "userGesture": true,
	})
}

// goTo opens a page. What it loads may still be on its way.
func (b *tab) goTo(url string) {
	b.t.Helper()
	b.do("Page.navigate", object{"url": url})
}

// until waits up to half a minute until an expression holds, also over a page that is loaded again.
func (b *tab) until(what, expression string) {
	b.t.Helper()
	wait := `new Promise((resolve) => {
		const end = Date.now() + 30000;
		const look = () => {
			let is = false;
			try { is = Boolean(` + expression + `); } catch {}
			if (is || Date.now() > end) resolve(is); else setTimeout(look, 20);
		};
		look();
	})`
	done := b.evaluate(wait)
	if done["error"] != nil {
		done = b.evaluate(wait)
	}
	if result, _ := done["result"].(map[string]any); result["value"] != true {
		b.t.Fatalf("%s: not in half a minute; the page says %q", what, b.eval("document.body?.innerText"))
	}
}

// fill types a text into the field that a selector finds.
func (b *tab) fill(selector, text string) {
	b.t.Helper()
	b.eval(fmt.Sprintf("document.querySelector(%q).focus()", selector))
	b.do("Input.insertText", object{"text": text})
}

// click clicks the first button with a text, below a selector.
func (b *tab) click(selector, text string) {
	b.t.Helper()
	b.eval(fmt.Sprintf(
		"[...document.querySelectorAll(%q)].find((e) => e.textContent === %q).click()", selector+" button", text,
	))
}

// shoot returns a picture of the page, in the light or the dark.
func (b *tab) shoot(scheme string) []byte {
	b.t.Helper()
	b.do("Emulation.setEmulatedMedia", object{
		"features": []object{{"name": "prefers-color-scheme", "value": scheme}},
	})
	data, _ := b.do("Page.captureScreenshot", object{"format": "png"})["data"].(string)
	png, err := base64.StdEncoding.DecodeString(data)
	if err != nil || len(png) == 0 {
		b.t.Fatalf("a picture: %v", err)
	}
	return png
}
