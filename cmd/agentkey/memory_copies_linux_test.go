package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"agentkey/eventstore/eventstoretest"
)

// copies counts how often first and then is one text in the memory of this process. They come as
// two, so that the search itself finds nothing.
func copies(t *testing.T, first, then string) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 1<<20)
	for line := range strings.Lines(string(maps)) {
		var begin, end uintptr
		var rights string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &begin, &end, &rights); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if !strings.HasPrefix(rights, "rw") || strings.Contains(line, "/") {
			continue
		}
		for at := begin; at < end; {
			size := min(uintptr(len(buffer)), end-at)
			local := []unix.Iovec{{Base: &buffer[0]}}
			local[0].SetLen(int(size))
			got, err := unix.ProcessVMReadv(
				os.Getpid(), local, []unix.RemoteIovec{{Base: at, Len: int(size)}}, 0,
			)
			if err != nil || got == 0 {
				break // it is gone, or can't be read
			}
			for text := buffer[:got]; ; {
				found := bytes.Index(text, []byte(first))
				if found < 0 {
					break
				}
				text = text[found+len(first):]
				if bytes.HasPrefix(text, []byte(then)) {
					n++
				}
			}
			at += uintptr(got)
		}
		clear(buffer)
	}
	return n
}

// TestFewCopiesOfACredentialStayInMemory fetches a credential with a client of another process.
func TestFewCopiesOfACredentialStayInMemory(t *testing.T) {
	p := start(t, unlimited...)
	admin := p.admin()
	tool := admin.mustTool("GitHub", "to be replaced")
	id, key := admin.mustAgent("Onboarding")
	admin.mustAssign(id, tool)
	first, then := strings.Repeat("k3", 12), strings.Repeat("9Zq", 12)
	curl := func(script string, args ...string) {
		t.Helper()
		out, err := exec.Command("sh", append([]string{"-c", script, "sh"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
	curl(
		`printf '{"credential":"%s%s"}' "$1" "$2" | curl -sSf -o /dev/null -X PUT -H "Authorization: Bearer $3" `+
			`-H 'Content-Type: application/json' --data-binary @- "$4"`,
		first, then, p.Token, p.URL+"/api/admin/tools/"+tool+"/credential",
	)
	runtime.GC()
	before := copies(t, first, then)
	for range 20 {
		curl(
			`curl -sSf -H "Authorization: Bearer $3" "$4" | grep -q "$1$2"`,
			first, then, key, p.URL+"/api/tools/"+tool+"/credentials",
		)
	}
	runtime.GC()
	after := copies(t, first, then)
	t.Logf("%d copies after it was set, %d after 20 fetches", before, after)
	most, more := 16, 6
	if eventstoretest.RaceDetector { // buffers stay longer; fetches that each left a copy would leave 20
		most, more = 24, 12
	}
	if after > most || after > before+more {
		t.Errorf("%d copies stay in memory after 20 fetches", after)
	}
}
