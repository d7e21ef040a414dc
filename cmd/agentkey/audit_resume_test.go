package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"agentkey/eventstore/eventstoretest/wait"
)

// TestAnExportContinuesWhenTheServiceStartsAgain kills the service in the middle of each download,
// and compares the file with what it answers to somebody who isn't interrupted.
func TestAnExportContinuesWhenTheServiceStartsAgain(t *testing.T) {
	t.Parallel()
	p := startProcess(t, unlimited...)
	f := mustFleet(p, 4, 2)
	p.stop()
	seed(t, p, f, 8000)
	p.run()
	p.admin().mustBeCovered("with lines,\nand \"quotes\"")
	between := startProxy(t, strings.TrimPrefix(p.URL, "http://"))
	for format, says := range map[string]string{
		"jsonl": "it continues after ", "csv": "it continues after ", "ocsf": "it continues after ",
		"bundle": "an archive is always sent whole",
	} {
		file := filepath.Join(t.TempDir(), "audit")
		between.loseAnswersAfter(2_000_000)
		type ending struct {
			code        int
			out, failed string
		}
		ended := make(chan ending, 1)
		args := []string{"export", file, "--url", "http://" + between.address(), "--format", format}
		go func() {
			code, out, failed := p.audit(args...)
			ended <- ending{code, out, failed}
		}()
		wait.Until(t, "the middle of the download", func() bool { return between.lostAnswers() > 0 })
		p.kill()
		p.run()
		between.lead(strings.TrimPrefix(p.URL, "http://"))
		end := wait.For(t, "the end of the download", ended)
		if end.code != exitOK || !strings.Contains(end.failed, says) {
			t.Errorf("%s: %d %s%s", format, end.code, end.out, end.failed)
			continue
		}
		if format == "bundle" {
			if code, out, failed := p.audit("verify", file); code != exitOK {
				t.Errorf("the bundle: %d %s%s", code, out, failed)
			}
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		whole := p.admin().must(200, "GET", auditExport+format, nil).Body
		if !bytes.HasPrefix(whole, text) || len(text) < 3_000_000 {
			t.Errorf("%s: the file has %d bytes, and isn't the beginning of what is answered", format, len(text))
		}
	}
}

// TestWhereADownloadContinues keeps whole entries, in whatever pieces they come.
func TestWhereADownloadContinues(t *testing.T) {
	for format, c := range map[string]struct {
		text string
		last uint64
		rest string
	}{
		"jsonl": {"{\"position\":7}\n{\"position\":9,\"metadata\":\"e30=\"}\n{\"posi", 9, "{\"posi"},
		"ocsf":  {"{\"metadata\":{\"sequence\":12}}\n{", 12, "{"},
		"csv":   {"\"position\",\"id\"\r\n\"5\",\"a\n\"\"b\"\r\n\"6\",\"x\n", 5, "\"6\",\"x\n"},
	} {
		for _, size := range []int{1, 3, len(c.text)} {
			out, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			d := download{out: out, csv: format == "csv"}
			for at := 0; at < len(c.text); at += size {
				if _, err := d.Write([]byte(c.text[at:min(at+size, len(c.text))])); err != nil {
					t.Fatal(err)
				}
			}
			kept, err := os.ReadFile(out.Name())
			if err != nil || string(kept) != strings.TrimSuffix(c.text, c.rest) || d.last != c.last {
				t.Errorf("%s in pieces of %d: after %d with %q: %v", format, size, d.last, kept, err)
			}
			if err := out.Close(); err != nil {
				t.Error(err)
			}
		}
	}
}
