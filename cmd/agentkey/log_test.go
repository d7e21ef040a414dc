package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"os"
	"regexp"
	"slices"
	"testing"

	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/domain/organization"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
)

// serverVariable names the event store that tests share, in every run. Without it each test that
// would share one gets a store of its own.
const serverVariable = "TEST_EVENTSTORE_URL"

// sharedLog is the configuration of serve processes on a log that other tests and earlier runs have
// written to. One log holds one installation, so all of them join it with one master key. A test
// that shares it works in an organization of its own (see settle), and doesn't count what the
// installation has as a whole.
func sharedLog(t testing.TB) []string {
	t.Helper()
	key := sha256.Sum256([]byte("the installation of the tests"))
	server := os.Getenv(serverVariable)
	if server == "" {
		server = ownLog(t, "there is no server to share").url()
	}
	return []string{
		"AGENTKEY_EVENTSTORE_URL=" + server, "AGENTKEY_MASTER_KEYS=" + base64.StdEncoding.EncodeToString(key[:]),
	}
}

// startShared runs the program on the shared log, in this process.
func startShared(t testing.TB, env ...string) *program {
	t.Helper()
	p := start(t, append(sharedLog(t), env...)...)
	settle(p)
	return p
}

// settle gives processes on the shared log an organization of this test's own.
func settle(replicas ...*program) {
	token := replicas[0].organization(replicas[0].t.Name(), "owner").key
	for _, p := range replicas {
		p.Token = token
	}
}

// alone says that a test takes the embedded store although there is a server to share, and why.
func alone(t testing.TB, why string) {
	t.Helper()
	if os.Getenv(serverVariable) != "" {
		t.Logf("this log isn't on the server of %s: %s", serverVariable, why)
	}
}

var storeListens = regexp.MustCompile(`The event store listens on (\S+)`)

// logServer is `agentkey eventstore serve` in this process.
type logServer struct {
	t      testing.TB
	dir    string
	listen string
	flags  []string
	cancel context.CancelFunc
	ended  chan int
}

// ownLog serves the embedded store over loopback until the test ends: an empty log that the test
// may stop, fill and count. It says why sharedLog doesn't do. Without flags everybody on this
// machine may come in.
func ownLog(t testing.TB, why string, flags ...string) *logServer {
	t.Helper()
	alone(t, why)
	if !slices.Contains(flags, "--tls-cert") {
		flags = append(flags, "--insecure")
	}
	l := &logServer{t: t, dir: t.TempDir(), listen: "127.0.0.1:0", flags: flags}
	l.start()
	t.Cleanup(l.stop)
	return l
}

// start serves, at the same address as before if there was one. While nobody listened there, a
// connection of another test may have got the port, so it is tried until it is free again.
func (l *logServer) start() {
	l.t.Helper()
	wait.Until(l.t, "the event store listens on "+l.listen, l.launch)
}

// launch reports whether the event store listens. If it doesn't, it has ended.
func (l *logServer) launch() bool {
	ctx, cancel := context.WithCancel(context.Background())
	out, errs := newLines(), newLines()
	ended := make(chan int, 1)
	go func() {
		ended <- run(
			ctx, append([]string{"eventstore", "serve", "--listen", l.listen, "--data", l.dir}, l.flags...), nil, nil, out,
			errs,
		)
	}()
	for {
		address, changed := out.find(storeListens)
		if address != "" {
			l.listen, l.cancel, l.ended = address, cancel, ended
			return true
		}
		select {
		case <-changed:
		case code := <-ended:
			cancel()
			l.t.Logf("the event store ended with %d: %s", code, errs)
			return false
		}
	}
}

func (l *logServer) stop() {
	if l.cancel == nil {
		return
	}
	l.cancel()
	l.cancel = nil
	if code := <-l.ended; code != exitOK {
		l.t.Errorf("the event store ended with %d", code)
	}
}

// url is where a log without TLS is.
func (l *logServer) url() string { return "esdb://" + l.listen + "?tls=false" }

// replicas is the configuration that serve processes on one log share.
func (l *logServer) replicas() []string { return l.replicasAt(l.listen) }

// replicasAt is replicas for processes that reach the log at another address.
func (l *logServer) replicasAt(address string) []string {
	l.t.Helper()
	master, err := seal.NewMasterKeyText()
	if err != nil {
		l.t.Fatal(err)
	}
	token, _, err := keys.New(keys.Service, uuid.Nil, organization.ConfiguredToken)
	if err != nil {
		l.t.Fatal(err)
	}
	return append([]string{
		"AGENTKEY_EVENTSTORE_URL=esdb://" + address + "?tls=false", "AGENTKEY_MASTER_KEYS=" + master,
		"AGENTKEY_ADMIN_TOKEN=" + token,
	}, unlimited...)
}
