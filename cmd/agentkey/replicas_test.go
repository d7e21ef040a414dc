package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"agentkey/readmodels/readmodelstest"
)

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

// startReplicas runs serve processes on the shared log, with the read model in one Postgres and the
// counts in one Redis. Fetches are counted, and never too many.
func startReplicas(t testing.TB, n int) []*program {
	t.Helper()
	return startReplicasOn(
		t, n, sharedLog(t), readmodelstest.Postgres(t), sharedRedis(t), "AGENTKEY_LIMIT_CREDENTIALS=1000000/1s",
	)
}

// startReplicasOn is startReplicas on given engines. settings replace what replicas otherwise get.
func startReplicasOn(t testing.TB, n int, log []string, database, counts string, settings ...string) []*program {
	t.Helper()
	env := append(slices.Clone(log), "AGENTKEY_DATABASE_URL="+database, "AGENTKEY_REDIS_URL="+counts)
	for _, limit := range unlimited {
		if !slices.Contains(env, limit) { // a variable that is set twice is a mistake
			env = append(env, limit)
		}
	}
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
	if !slices.ContainsFunc(env, func(e string) bool { return strings.HasPrefix(e, "AGENTKEY_ADMIN_TOKEN=") }) {
		settle(out...)
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
