package main

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"

	"agentkey/commands/keys"
	"agentkey/domain/organization"
	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/eventstore/seal"
	"agentkey/readmodels/readmodelstest"
)

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

// startLog serves an event store over loopback until the test ends.
func startLog(t testing.TB, flags ...string) *logServer {
	t.Helper()
	return startLogWith(t, append([]string{"--insecure"}, flags...)...)
}

// startLogWith is startLog with given flags for who may come in.
func startLogWith(t testing.TB, flags ...string) *logServer {
	t.Helper()
	l := &logServer{t: t, dir: t.TempDir(), listen: "127.0.0.1:0", flags: flags}
	l.start()
	t.Cleanup(l.stop)
	return l
}

// start serves, at the same address as before if there was one.
func (l *logServer) start() {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	out, errs := newLines(), newLines()
	l.cancel, l.ended = cancel, make(chan int, 1)
	ended := l.ended
	go func() {
		ended <- run(
			ctx, append([]string{"eventstore", "serve", "--listen", l.listen, "--data", l.dir}, l.flags...), nil, out,
			errs,
		)
	}()
	wait.Until(l.t, "listening: "+errs.String(), func() bool {
		address, _ := out.find(storeListens)
		if address != "" {
			l.listen = address
		}
		return address != ""
	})
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

// sharedRedis is the Redis that all tests may use. A machine that is busy with other tests isn't a
// slow Redis.
func sharedRedis(t testing.TB) string {
	t.Helper()
	url := os.Getenv("TEST_REDIS_URL")
	if url == "" {
		t.Fatal("TEST_REDIS_URL is not set: run the tests with scripts/engines go test …")
	}
	return url + "?read_timeout=20s"
}

// startReplicas runs serve processes on one log, with the read model in one Postgres and the counts
// in one Redis. Fetches are counted, and never too many.
func startReplicas(t testing.TB, n int) []*program {
	t.Helper()
	return startReplicasOn(
		t, n, startLog(t), readmodelstest.Postgres(t), sharedRedis(t), "AGENTKEY_LIMIT_CREDENTIALS=1000000/1s",
	)
}

// startReplicasOn is startReplicas on given engines. settings replace what replicas otherwise get.
func startReplicasOn(t testing.TB, n int, log *logServer, database, counts string, settings ...string) []*program {
	t.Helper()
	env := append(log.replicas(), "AGENTKEY_DATABASE_URL="+database, "AGENTKEY_REDIS_URL="+counts)
	for _, setting := range settings {
		name, _, _ := strings.Cut(setting, "=")
		env = slices.DeleteFunc(env, func(e string) bool { return strings.HasPrefix(e, name+"=") })
	}
	env = append(env, settings...)
	out := make([]*program, n)
	for i := range out {
		out[i] = startProcess(t, env...)
		out[i].unverified = i > 0 // they share the log that the first leaves
	}
	return out
}

func TestTwoProcessesAreOneService(t *testing.T) {
	t.Parallel()
	p := startReplicas(t, 2)
	tool := p[0].admin().mustTool("GitHub", "ghp_secret")
	p[1].seen.Store(p[0].seen.Load())
	id, key := p[1].admin().mustAgent("Onboarding")
	p[0].admin().mustAssign(id, tool)
	for i := range p {
		if a := p[i].with(key).fetch(tool); a.Text("credential") != "ghp_secret" {
			t.Errorf("replica %d: %s", i, a.Body)
		}
	}
	if a := p[0].with(key).fetch(tool); !strings.HasPrefix(a.Text("receipt.stream"), "agent-"+id) ||
		fmt.Sprint(a.At("receipt.revision")) != "4" {
		t.Errorf("the third fetch: %s", a.Body)
	}
}
