package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sys/unix"

	"agentkey/commands/keys"
	"agentkey/domain/organization"
	"agentkey/eventstore"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
)

// TestMistakesInTheConfigurationAreListedAtOnce starts with what nobody should: exit 2, every
// mistake named, nothing opened, and no secret repeated.
func TestMistakesInTheConfigurationAreListedAtOnce(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	code, _, stderr := runCommand(t, []string{
		"AGENTKEY_DATA_DIR=" + dir, "AGENTKEY_LISTEN=8080", "AGENTKEY_MASTER_KEYS=canary",
		"AGENTKEY_ADMIN_TOKEN=sk_admin_canary",
		"AGENTKEY_LIMIT_READS=many", "AGENTKEY_NONSENSE=1", "AGENTKEY_TRUSTED_PROXIES=10.0.0.1",
		"AGENTKEY_EVENTSTORE_URL=postgres://canary",
		"AGENTKEY_TLS_CERT=cert.pem", "AGENTKEY_PLAIN_HTTP=yes", "AGENTKEY_AGENT_CORS_ORIGINS=example.com",
		"AGENTKEY_DATABASE_SCHEMA=pg_canary", "AGENTKEY_MAX_CONNECTIONS=0", "AGENTKEY_URL=http://x",
	}, "serve")
	if code != exitUsage {
		t.Errorf("exit %d", code)
	}
	for _, name := range []string{
		"AGENTKEY_LISTEN", "AGENTKEY_MASTER_KEYS", "AGENTKEY_ADMIN_TOKEN", "AGENTKEY_LIMIT_READS", "AGENTKEY_NONSENSE",
		"AGENTKEY_TRUSTED_PROXIES", "AGENTKEY_EVENTSTORE_URL", "AGENTKEY_TLS_CERT", "AGENTKEY_PLAIN_HTTP",
		"AGENTKEY_AGENT_CORS_ORIGINS", "AGENTKEY_DATABASE_SCHEMA", "AGENTKEY_MAX_CONNECTIONS",
	} {
		if !strings.Contains(stderr, name+":") {
			t.Errorf("%s is not named:\n%s", name, stderr)
		}
	}
	if strings.Contains(stderr, "canary") || strings.Contains(stderr, "AGENTKEY_URL") {
		t.Errorf("a secret is repeated, or an agent's variable is a mistake:\n%s", stderr)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the data folder was made")
	}
}

func TestASecretMayComeFromAFile(t *testing.T) {
	t.Parallel()
	key, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(key+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := start(t, "AGENTKEY_MASTER_KEYS_FILE="+file)
	if _, err := os.Stat(filepath.Join(p.Dir, masterKeyFile)); err == nil {
		t.Error("a key was made although one is configured")
	}
	if code, _, stderr := runCommand(t, append(p.env, "AGENTKEY_MASTER_KEYS="+key), "serve"); code != exitUsage ||
		!strings.Contains(stderr, "not both") {
		t.Errorf("both: exit %d: %s", code, stderr)
	}
}

// terminal returns a terminal of the test's own: what a program writes to it, and the end that
// reads that.
func terminal(t *testing.T) (program, reader *os.File) {
	t.Helper()
	reader, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = reader.Close() })
	if err := unix.IoctlSetPointerInt(int(reader.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	number, err := unix.IoctlGetInt(int(reader.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = program.Close() })
	return program, reader
}

func TestTheFirstTokenIsPrintedOnATerminal(t *testing.T) {
	t.Parallel()
	screen, reader := terminal(t)
	dir := t.TempDir()
	ctx, stop := context.WithCancel(t.Context())
	ended, stderr := make(chan int, 1), newLines()
	env := []string{"AGENTKEY_LISTEN=127.0.0.1:0", "AGENTKEY_DATA_DIR=" + dir}
	go func() { ended <- run(ctx, []string{"serve"}, env, strings.NewReader(""), screen, stderr) }()
	said, lines := "", bufio.NewScanner(reader)
	for !strings.Contains(said, "AgentKey listens") && lines.Scan() {
		said += lines.Text() + "\n"
	}
	if kept := readFile(t, filepath.Join(dir, firstTokenFile)); !strings.Contains(said, strings.TrimSpace(kept)) {
		t.Errorf("the terminal shows %q", said)
	}
	stop()
	if code := <-ended; code != exitOK {
		t.Errorf("exit %d: %s", code, stderr)
	}
}

func TestTheNullDeviceIsNotATerminal(t *testing.T) {
	t.Parallel()
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	if isTerminal(null) || isTerminal(newLines()) {
		t.Error("a token would be printed where it is collected")
	}
}

func TestTheFirstTokenIsKeptAndNotPrinted(t *testing.T) {
	t.Parallel()
	p := start(t)
	if said := p.stdout.String(); strings.Contains(said, "sk_admin_") ||
		!strings.Contains(said, filepath.Join(p.Dir, firstTokenFile)) {
		t.Errorf("it says %q", said)
	}
	for _, name := range []string{firstTokenFile, masterKeyFile} {
		if info, err := os.Stat(filepath.Join(p.Dir, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v %v", name, info.Mode(), err)
		}
	}
	p.restart()
	if strings.Contains(p.stdout.String(), "sk_admin_") {
		t.Error("the token was printed again")
	}
	p.admin().must(200, "GET", "/api/admin/me", nil)
	p.stop()
	if !strings.HasSuffix(p.stdout.String(), "AgentKey has stopped.\n") {
		t.Errorf("a clean stop writes %q", p.stdout.String())
	}
}

func TestTheProgramSaysWhichItIs(t *testing.T) {
	t.Parallel()
	version, commit := build()
	code, stdout, stderr := runCommand(t, nil, "--version")
	if code != exitOK || stdout != "agentkey "+version+" "+commit+"\n" || version == "" || commit == "" {
		t.Errorf("exit %d: %q %q", code, stdout, stderr)
	}
	p := start(t)
	ready := p.anyone().must(200, "GET", "/readyz", nil)
	if ready.Text("version") != version || ready.Text("commit") != commit {
		t.Errorf("readiness says %v", ready.JSON)
	}
}

func TestTheOperatorIsNamedInTheAuditAndNowhereInClear(t *testing.T) {
	t.Parallel()
	p := start(t)
	id := strings.TrimSpace(p.shell("organization", "create", "Second"))
	p.shell("token", "create", "--organization", id, "--name", "reader", "--role", "owner")
	token := strings.TrimSpace(
		p.shell("token", "create", "--organization", id, "--name", "auditor", "--role", "auditor"),
	)
	var entries []any
	wait.Until(t, "the audit shows what the operator did", func() bool {
		entries = p.with(token).must(200, "GET", "/api/admin/audit", nil).JSON["items"].([]any)
		return len(entries) >= 3
	})
	named := map[any]bool{}
	for _, e := range entries {
		if actor := e.(map[string]any)["actor"].(map[string]any); actor["id"] == "operator" {
			named[e.(map[string]any)["action"]] = true
			if actor["label"] != whoRuns() {
				t.Errorf("the operator is %v, not %s", actor, whoRuns())
			}
		}
	}
	if !named["organization.created"] || !named["service_token.created"] {
		t.Errorf("the audit says of the operator only %v", named)
	}
	p.office(func(ctx context.Context, o *office) error {
		return walk(ctx, o.client, func(e eventstore.Recorded) error {
			if bytes.Contains(e.Data, []byte(whoRuns())) || bytes.Contains(e.Metadata, []byte(whoRuns())) {
				t.Errorf("%s holds the operator's name in clear", e.Stream)
			}
			return nil
		})
	})
}

func TestAConfiguredTokenReplacesTheOneBefore(t *testing.T) {
	t.Parallel()
	p := start(t)
	first := p.Token
	configured := p.shell("token", "new")
	p.stop()
	p.env = append(p.env, "AGENTKEY_ADMIN_TOKEN="+configured)
	p.run()
	if role := p.with(configured).must(200, "GET", "/api/admin/me", nil).Text("role"); role != "owner" {
		t.Errorf("its role is %q", role)
	}
	for range 3 {
		p.with(first).refused(401, "credentials_unknown", "GET", "/api/admin/me", nil)
	}
	random, _, err := keys.New(keys.Service, uuid.Nil, organization.ConfiguredToken)
	if err != nil {
		t.Fatal(err)
	}
	p.with(random).refused(401, "credentials_unknown", "GET", "/api/admin/me", nil)
	var used []map[string]any
	wait.Until(t, "somebody still has it", func() bool {
		used = p.with(configured).must(200, "GET", "/api/admin/audit?action=service_token.refused", nil).Items()
		return len(used) > 0
	})
	oldest := used[len(used)-1]
	data, _ := oldest["data"].(object)
	target, _ := oldest["target"].(object)
	request, _ := oldest["request"].(object)
	if data["count"] != 1.0 || target["type"] != "service_token" || target["id"] != data["token_id"] ||
		request["ip"] != "127.0.0.1" || oldest["agent_id"] != nil {
		t.Errorf("the first use of the minute: %v", used)
	}
	recovered := p.shell("admin", "recover")
	p.with(recovered).must(200, "GET", "/api/admin/me", nil)
}

func TestASecondProcessOnTheDataFolderIsRefused(t *testing.T) {
	t.Parallel()
	p := start(t)
	code, _, stderr := runCommand(t, p.env, "serve")
	if code != exitFault || !strings.Contains(stderr, "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("exit %d: %s", code, stderr)
	}
	p.admin().must(200, "GET", "/api/admin/me", nil)
}

// TestNothingIsMadeForAnAddressThatIsTaken starts where another process listens.
func TestNothingIsMadeForAnAddressThatIsTaken(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	taken, folder := listener.Addr().String(), filepath.Join(t.TempDir(), "data")
	for name, c := range map[string]struct{ env, args []string }{
		"AGENTKEY_LISTEN": {
			[]string{"AGENTKEY_DATA_DIR=" + folder, "AGENTKEY_LISTEN=" + taken}, []string{"serve"},
		},
		"AGENTKEY_METRICS_LISTEN": {
			[]string{"AGENTKEY_DATA_DIR=" + folder, "AGENTKEY_LISTEN=127.0.0.1:0", "AGENTKEY_METRICS_LISTEN=" + taken},
			[]string{"serve"},
		},
		"--listen": {nil, []string{"eventstore", "serve", "--insecure", "--data", folder, "--listen", taken}},
	} {
		code, _, said := runCommand(t, c.env, c.args...)
		if code != exitFault || !strings.Contains(said, taken) || !strings.Contains(said, "another address") ||
			!strings.Contains(said, name) {
			t.Errorf("%s: %d %s", name, code, said)
		}
		if _, err := os.Stat(folder); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: the data folder was made: %v", name, err)
		}
	}
}

func TestAnAddressThatIsNotLoopbackNeedsTLS(t *testing.T) {
	t.Parallel()
	env := []string{"AGENTKEY_DATA_DIR=" + t.TempDir(), "AGENTKEY_LISTEN=0.0.0.0:0"}
	if code, _, stderr := runCommand(t, env, "serve"); code != exitUsage ||
		!strings.Contains(stderr, "AGENTKEY_TLS_CERT") || !strings.Contains(stderr, "behind-proxy") {
		t.Errorf("exit %d: %s", code, stderr)
	}
	env = append(env, "AGENTKEY_PLAIN_HTTP=behind-proxy")
	// all callers would count as one
	for _, unnamed := range [][]string{env, append(slices.Clip(env), "AGENTKEY_TRUSTED_PROXIES=,")} {
		if _, err := LoadConfig(unnamed); err == nil ||
			!strings.Contains(err.Error(), "AGENTKEY_TRUSTED_PROXIES: it is required") {
			t.Errorf("a proxy that isn't named is taken: %v", err)
		}
	}
	if _, err := LoadConfig(append(env, "AGENTKEY_TRUSTED_PROXIES=10.0.0.5/32")); err != nil {
		t.Error(err)
	}
}

// TestADataFolderThatCanNotBeWrittenIsNamed runs as a user who may not write there: root may write
// anywhere.
func TestADataFolderThatCanNotBeWrittenIsNamed(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	program := filepath.Join(filepath.Dir(dir), "agentkey")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(self)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.WriteFile(program, text, 0o755), os.Chmod(filepath.Dir(dir), 0o755), os.Chmod(dir, 0o555),
	); err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), program, "serve")
	command.Dir = "/"
	command.Env = []string{asProgram + "=1", "AGENTKEY_DATA_DIR=" + dir, "AGENTKEY_LISTEN=127.0.0.1:0"}
	if os.Geteuid() == 0 {
		command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := command.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFault ||
		!strings.Contains(string(out), "this user can't write to the data folder "+dir) {
		t.Errorf("it ended with %v: %s", err, out)
	}
}

// TestMasterKeys goes through a key's life: wrong and missing ones are refused before anything
// listens, a new one is added, becomes the current one, takes over every secret, and the old one
// can be dropped.
func TestMasterKeys(t *testing.T) {
	t.Parallel()
	p := start(t)
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	id, key := p.admin().mustAgent("Onboarding")
	p.admin().mustAssign(id, tool)
	path := filepath.Join(p.Dir, masterKeyFile)
	p.stop()
	old, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := seal.ParseMasterKey(stranger)
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runCommand(t, append(p.env, "AGENTKEY_MASTER_KEYS="+stranger), "serve")
	if code != exitFault || !strings.Contains(stderr, parsed.ID()) || strings.Contains(stdout, "listens") ||
		strings.Contains(stderr, stranger) {
		t.Errorf("a wrong key: exit %d: %s%s", code, stdout, stderr)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runCommand(t, p.env, "serve"); code != exitFault ||
		!strings.Contains(stderr, "AGENTKEY_MASTER_KEYS") {
		t.Errorf("a missing key: exit %d: %s", code, stderr)
	}
	if err := os.WriteFile(path, old, 0o600); err != nil {
		t.Fatal(err)
	}
	p.run()
	p.shell("keys", "add") // while it serves, through its socket
	p.restart()
	lines := strings.Fields(readFile(t, path))
	if len(lines) != 2 || lines[0] != strings.TrimSpace(string(old)) {
		t.Fatalf("the file has %d keys", len(lines))
	}
	if err := os.WriteFile(path, []byte(lines[1]+"\n"+lines[0]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.restart()
	if out := p.shell("keys", "roll"); !strings.Contains(out, "Rewrapped") {
		t.Errorf("roll: %s", out)
	}
	if out := p.shell("keys", "roll"); !strings.HasPrefix(out, "Rewrapped 0 secrets") {
		t.Errorf("roll again: %s", out)
	}
	if a := p.with(key).fetch(tool); a.Text("credential") != "ghp_secret" {
		t.Errorf("after rolling: %s", a.Body)
	}
	p.stop()
	if err := os.WriteFile(path, []byte(lines[1]+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.run()
	if a := p.with(key).fetch(tool); a.Text("credential") != "ghp_secret" {
		t.Errorf("without the old key: %s", a.Body)
	}
	if code, _, stderr := runCommand(t, p.env, "nonsense"); code != exitUsage || !strings.Contains(stderr, "nonsense") {
		t.Errorf("an unknown command: exit %d: %s", code, stderr)
	}
}

// TestAProcessThatLacksAMasterKeyIsNotReady wraps the credentials with a key that a serving process
// does not have, and then with the one that it has.
func TestAProcessThatLacksAMasterKeyIsNotReady(t *testing.T) {
	t.Parallel()
	p := start(t)
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	id, key := p.admin().mustAgent("Onboarding")
	p.admin().mustAssign(id, tool)
	p.shell("keys", "add")
	keys := strings.Fields(readFile(t, filepath.Join(p.Dir, masterKeyFile)))
	added, err := seal.ParseMasterKey(keys[1])
	if err != nil {
		t.Fatal(err)
	}
	roll := func(ring string) {
		if code, _, stderr := runCommand(t, append(p.env, "AGENTKEY_MASTER_KEYS="+ring), "keys", "roll"); code != exitOK {
			t.Fatalf("roll: exit %d: %s", code, stderr)
		}
	}
	roll(keys[1] + "," + keys[0])
	p.anyone().must(200, "GET", "/readyz", nil) // nothing has needed it yet
	p.with(key).refused(503, "busy", "GET", "/api/tools/"+tool+"/credentials", nil)
	p.becomes(503, `"not_ready"`, added.ID())
	roll(keys[0] + "," + keys[1])
	p.becomes(200, `"ready"`)
	if a := p.with(key).fetch(tool); a.Text("credential") != "ghp_secret" {
		t.Errorf("after it was wrapped with a key that is configured: %s", a.Body)
	}
}

func readFile(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
