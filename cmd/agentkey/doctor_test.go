package main

import (
	"context"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"agentkey/eventstore"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/seal"
	"agentkey/readmodels/readmodelstest"
)

var lookedAt = regexp.MustCompile(
	`(?m)^(ok|warning|failed) +(configuration|data folder|disk|event log|clock|master keys|own secrets|` +
		`history|read model|limits|certificate|address|metrics|proxy|mail|setup guides|sign-in) +(\S.*)$`,
)

// consult runs the doctor and returns its exit code and what it reports.
func consult(t *testing.T, env []string) (code int, said map[string]string, stderr string) {
	t.Helper()
	code, stdout, stderr := runCommand(t, env, "doctor")
	said = map[string]string{}
	for _, m := range lookedAt.FindAllStringSubmatch(stdout, -1) {
		said[m[2]] = m[1] + " " + m[3]
	}
	if lines := strings.Count(stdout, "\n"); lines != len(said) {
		t.Errorf("%d things in %d lines:\n%s", len(said), lines, stdout)
	}
	return code, said, stderr
}

// expect compares what the doctor reports with the expected verdicts and words.
func expect(t *testing.T, said map[string]string, want map[string]string) {
	t.Helper()
	for what, words := range want {
		verdict, word, _ := strings.Cut(words, " ")
		if !strings.HasPrefix(said[what], verdict+" ") || !strings.Contains(said[what], word) {
			t.Errorf("%s: %q, not %q", what, said[what], words)
		}
	}
}

func TestTheDoctorMakesNothingWhereNothingIs(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	code, said, stderr := consult(t, []string{"AGENTKEY_DATA_DIR=" + dir, "AGENTKEY_LISTEN=127.0.0.1:0"})
	if code != exitOK {
		t.Errorf("exit %d: %s", code, stderr)
	}
	expect(t, said, map[string]string{
		"configuration": "ok ", "data folder": "ok serve creates it", "event log": "ok none yet",
		"master keys": "ok serve creates one", "read model": "ok ", "limits": "ok ", "address": "ok is free",
		"metrics":      "ok off",
		"setup guides": "ok built-in", "sign-in": "ok service tokens only",
	})
	if _, err := os.Stat(dir); err == nil {
		t.Error("the data folder was made")
	}
}

// TestTheDoctorLooksWhetherItRunsOrNot asks while it serves and after it has stopped; the log stays
// as it is.
func TestTheDoctorLooksWhetherItRunsOrNot(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	certify(t, cert, key, 1, time.Now().Add(100*24*time.Hour+time.Hour))
	p := start(t, scraped)
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	id, _ := p.admin().mustAgent("Onboarding")
	p.admin().mustAssign(id, tool)
	events := func() (n int) {
		p.office(func(ctx context.Context, o *office) error {
			return walk(ctx, o.client, func(e eventstore.Recorded) error {
				if c, _ := codec.Split(e.Stream); c != codec.Unknown && c != codec.Uses && c != codec.Checkpoints {
					n++ // the others follow what was called before
				}
				return nil
			})
		})
		return n
	}
	if err := os.Chmod(p.Dir, 0o700); err != nil { // a test's folder is open to others
		t.Fatal(err)
	}
	before := events()
	env := []string{
		"AGENTKEY_DATA_DIR=" + p.Dir, "AGENTKEY_LISTEN=" + strings.TrimPrefix(p.URL, "http://"),
		"AGENTKEY_METRICS_LISTEN=" + strings.TrimSuffix(
			strings.TrimPrefix(p.await(p.stdout, metricsAt), "http://"), "/metrics",
		),
	}
	code, said, stderr := consult(t, env)
	if code != exitOK {
		t.Errorf("while it serves: exit %d: %s", code, stderr)
	}
	expect(t, said, map[string]string{
		"data folder": "ok 0700", "event log": "ok served by process", "clock": "ok ",
		"master keys": "ok the current one first", "history": "ok ", "read model": "ok up to position",
		"address": "ok served by agentkey", "metrics": "ok served by agentkey",
	})
	p.stop()
	env = append(env, "AGENTKEY_TLS_CERT="+cert, "AGENTKEY_TLS_KEY="+key)
	if code, said, stderr = consult(t, env); code != exitOK {
		t.Errorf("after it stopped: exit %d: %s", code, stderr)
	}
	expect(t, said, map[string]string{
		"event log": "ok no process serves", "clock": "ok ", "master keys": "ok the current one first",
		"history": "ok ", "read model": "ok up to position", "address": "ok is free; TLS", "metrics": "ok is free",
		"certificate": "ok for 100 days",
	})
	if after := events(); after != before {
		t.Errorf("the log had %d events and has %d", before, after)
	}
}

func TestTheDoctorLooksAtTheProductionEngines(t *testing.T) {
	t.Parallel()
	log := ownLog(t, "the doctor sees it empty first")
	database, counts := readmodelstest.Postgres(t), os.Getenv("TEST_REDIS_URL")
	env := append(log.replicas(), "AGENTKEY_DATABASE_URL="+database, "AGENTKEY_REDIS_URL="+counts)
	_, said, _ := consult(t, append(env, "AGENTKEY_DATA_DIR="+t.TempDir(), "AGENTKEY_LISTEN=127.0.0.1:0"))
	expect(t, said, map[string]string{
		"event log": "ok empty", "master keys": "ok the current one first",
		"read model": "ok no tables of this version yet", "limits": "ok answers in",
	})
	p := start(t, env...)
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	p.admin().must(200, "GET", "/api/admin/tools/"+tool, nil)
	code, said, stderr := consult(t, p.env)
	if code != exitOK {
		t.Errorf("exit %d: %s", code, stderr)
	}
	expect(t, said, map[string]string{
		"event log": "ok EventStoreDB at " + log.listen, "clock": "ok ", "master keys": "ok ",
		"read model": "ok up to position", "limits": "ok answers in",
	})
}

// TestTheDoctorNamesEverythingThatIsBrokenAtOnce breaks what can be broken, and looks for the
// passwords of it all.
func TestTheDoctorNamesEverythingThatIsBrokenAtOnce(t *testing.T) {
	t.Parallel()
	p := start(t)
	p.stop()
	cert, key := certificate(t)
	certify(t, cert, key, 1, time.Now().Add(-50*time.Hour))
	stranger, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := seal.ParseMasterKey(stranger)
	if err != nil {
		t.Fatal(err)
	}
	other, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := os.Chmod(p.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runCommand(t, []string{
		"AGENTKEY_DATA_DIR=" + p.Dir, "AGENTKEY_LISTEN=127.0.0.1:0", "AGENTKEY_METRICS_LISTEN=" + other.Addr().String(),
		"AGENTKEY_MASTER_KEYS=" + stranger,
		"AGENTKEY_DATABASE_URL=postgres://agentkey:canary@127.0.0.1:1/agentkey",
		"AGENTKEY_REDIS_URL=redis://agentkey:canary@127.0.0.1:1/0", "AGENTKEY_TLS_CERT=" + cert,
		"AGENTKEY_TLS_KEY=" + key,
	}, "doctor")
	if code != exitFault || !strings.Contains(stderr, "5 of these failed") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	for _, said := range []string{
		`(?m)^warning +data folder .*chmod 0700 `, `(?m)^failed +master keys .*` + parsed.ID(),
		`(?m)^failed +read model .*127.0.0.1:1`, `(?m)^failed +limits .*nothing listens on 127.0.0.1:1`,
		`(?m)^failed +certificate .*expired on .* 2 days ago`,
		`(?m)^failed +metrics .*another program.*AGENTKEY_METRICS_LISTEN`, `(?m)^ok +event log `, `(?m)^ok +address `,
	} {
		if !regexp.MustCompile(said).MatchString(stdout) {
			t.Errorf("it does not say %s:\n%s", said, stdout)
		}
	}
	if strings.Contains(stdout+stderr, "canary") || strings.Contains(stdout+stderr, stranger) {
		t.Errorf("a secret is repeated:\n%s%s", stdout, stderr)
	}
	if err := os.Remove(filepath.Join(p.Dir, masterKeyFile)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.Dir, readModelFile), []byte("no database at all"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	env := []string{
		"AGENTKEY_DATA_DIR=" + p.Dir, "AGENTKEY_LISTEN=127.0.0.1:0", "AGENTKEY_TLS_CERT=" + cert,
		"AGENTKEY_TLS_KEY=" + key,
	}
	code, said, _ := consult(t, env)
	if code != exitFault {
		t.Errorf("exit %d", code)
	}
	expect(t, said, map[string]string{
		"master keys": "failed AGENTKEY_MASTER_KEYS", "read model": "failed fills a new one",
		"certificate": "failed AGENTKEY_TLS_KEY",
	})
	if _, err := os.Stat(filepath.Join(p.Dir, masterKeyFile)); err == nil {
		t.Error("a master key was made")
	}
	p.unverified = true // its key is gone
}

func TestTheDoctorSaysThatTheLogCanNotBeReached(t *testing.T) {
	t.Parallel()
	log := ownLog(t, "it stops the log")
	env := append(log.replicas(), "AGENTKEY_DATA_DIR="+t.TempDir(), "AGENTKEY_LISTEN=127.0.0.1:0")
	log.stop()
	code, said, _ := consult(t, env)
	if code != exitFault {
		t.Errorf("exit %d", code)
	}
	expect(
		t, said,
		map[string]string{
			"event log": "failed nothing listens on " + log.listen, "master keys": "warning ", "address": "ok ",
		},
	)
}

func TestTheDoctorRefusesAWrongConfiguration(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		env, args []string
		says      string
	}{
		{[]string{"AGENTKEY_LISTEN=0.0.0.0:8080"}, []string{"doctor"}, "plain HTTP"},
		{[]string{"AGENTKEY_NONSENSE=1"}, []string{"doctor"}, "AGENTKEY_NONSENSE"},
		{nil, []string{"doctor", "nonsense"}, "nonsense"},
	} {
		code, stdout, stderr := runCommand(t, append(c.env, "AGENTKEY_DATA_DIR="+t.TempDir()), c.args...)
		if code != exitUsage || !strings.Contains(stdout+stderr, c.says) || strings.Contains(stdout, "failed ") {
			t.Errorf("%v %v: exit %d: %s%s", c.env, c.args, code, stdout, stderr)
		}
	}
}

func TestADiskIsFullBeforeItIs(t *testing.T) {
	t.Parallel()
	const gib = 1 << 30
	for _, c := range []struct {
		free, size uint64
		want       verdict
	}{
		{100 * gib, 100 * gib, isOK},
		{21 * gib, 100 * gib, isOK},
		{20 * gib, 100 * gib, isWarning},
		{1 << 25, 100 * gib, isWarning},
		{1 << 20, 100 * gib, isFailed},
		{0, 100 * gib, isFailed},
		{0, 0, isFailed},
	} {
		if got, text := full(c.free, c.size); got != c.want {
			t.Errorf("%d of %d: %s %s", c.free, c.size, got, text)
		}
	}
}

func TestACertificateIsJudgedByItsTime(t *testing.T) {
	t.Parallel()
	now := time.Now()
	day := 24 * time.Hour
	for _, c := range []struct {
		from, until time.Duration
		want        verdict
	}{
		{-day, 90 * day, isOK},
		{-day, 20 * day, isWarning},
		{-day, time.Hour, isWarning},
		{-2 * day, -day, isFailed},
		{day, 90 * day, isFailed},
	} {
		if got, text := valid(
			&x509.Certificate{NotBefore: now.Add(c.from), NotAfter: now.Add(c.until)}, now,
		); got != c.want {
			t.Errorf("from %s until %s: %s %s", c.from, c.until, got, text)
		}
	}
}

// TestTheDoctorFindsAClockThatIsBehind lets the log's clock run ahead of ours.
func TestTheDoctorFindsAClockThatIsBehind(t *testing.T) {
	t.Parallel()
	p, off := startOnClock(t)
	off.Store(int64(time.Minute))
	p.admin().mustAgent("Onboarding")
	code, said, _ := consult(t, p.env)
	if code != exitFault {
		t.Errorf("exit %d", code)
	}
	expect(t, said, map[string]string{"clock": "failed behind the log's"})
}

func TestTheDoctorAsksForTheModel(t *testing.T) {
	t.Parallel()
	models := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path != "/v1/models":
			http.NotFound(w, r)
		case r.Header.Get("Authorization") != "Bearer right":
			w.WriteHeader(401)
		default:
			_, _ = io.WriteString(w, `{"object":"list","data":[{"id":"there","object":"model"}]}`)
		}
	}))
	t.Cleanup(models.Close)
	for _, c := range []struct{ url, model, key, want string }{
		{models.URL + "/v1/", "there", "right", "ok there"},
		{models.URL + "/v1", "elsewhere", "right", "warning list elsewhere"},
		{models.URL, "there", "right", "warning status 404"},
		{models.URL + "/v1", "there", "canary", "failed AGENTKEY_AI_API_KEY"},
		{"http://127.0.0.1:1/v1", "there", "canary", "failed can't be reached"},
	} {
		_, said, _ := consult(t, []string{
			"AGENTKEY_DATA_DIR=" + t.TempDir(), "AGENTKEY_LISTEN=127.0.0.1:0", "AGENTKEY_AI_BASE_URL=" + c.url,
			"AGENTKEY_AI_MODEL=" + c.model, "AGENTKEY_AI_API_KEY=" + c.key,
		})
		expect(t, said, map[string]string{"setup guides": c.want})
		if strings.Contains(said["setup guides"], "canary") {
			t.Errorf("the key is told: %s", said["setup guides"])
		}
	}
}

func TestTheDoctorLooksWhetherTheProxyIsThere(t *testing.T) {
	t.Parallel()
	way := startWayOut(t, "", http.NotFoundHandler())
	for proxy, want := range map[string]string{
		way.URL: "ok answers", "http://user:canary-proxy@127.0.0.1:1": "failed AGENTKEY_OUTBOUND_PROXY",
	} {
		_, said, _ := consult(t, []string{
			"AGENTKEY_DATA_DIR=" + t.TempDir(), "AGENTKEY_LISTEN=127.0.0.1:0", "AGENTKEY_OUTBOUND_PROXY=" + proxy,
		})
		expect(t, said, map[string]string{"proxy": want})
		if strings.Contains(said["proxy"], "canary") {
			t.Errorf("the password is told: %s", said["proxy"])
		}
	}
}
