package main

import (
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"agentkey/eventstore/eventstoretest/wait"
	"agentkey/readmodels/readmodelstest"
)

// mustTake fetches until the limit says no on each replica, and returns how many fetches it let
// through on each.
func mustTake(t testing.TB, replicas []*program, key, tool string) []int {
	t.Helper()
	out := make([]int, len(replicas))
	for i, p := range replicas {
		for {
			a := p.with(key).fetch(tool)
			if a.Status == 429 && a.Code() == "rate_limited" {
				break
			}
			if a.Status != 200 {
				t.Fatalf("a fetch got %d: %s", a.Status, a.Body)
			}
			out[i]++
		}
	}
	return out
}

// TestRedisMayStopAndStart stops the Redis that counts calls, under load. Calls continue, each
// replica counts for itself, says so, and goes back to the common count when Redis is there again.
func TestRedisMayStopAndStart(t *testing.T) {
	t.Parallel()
	redis := startRedis(t)
	patient := redis.URL + "?read_timeout=5s" // a machine busy with other tests must not pass for a slow Redis
	replicas := startReplicasOn(t, 2, sharedLog(t), readmodelstest.Postgres(t), patient,
		"AGENTKEY_LIMIT_CREDENTIALS=5/24h", "AGENTKEY_LIMIT_ADMIN=1000000/1s", "AGENTKEY_LIMIT_ADMIN_READS=1000000/1s",
		scraped)
	f := mustFleet(replicas[0], 4, 1)
	stop := mustAsk(t, replicas)
	if got := mustTake(t, replicas, f.keys[0], f.tools[0]); !slices.Equal(got, []int{5, 0}) {
		t.Errorf("with Redis it let %v through", got)
	}
	for _, key := range f.keys[1:3] {
		redis.stop()
		at(t, replicas, "limits", "degraded", "degraded")
		for _, p := range replicas {
			p.shows(map[string]float64{"agentkey_limiter_alone": 1, "agentkey_ready": 0.5})
		}
		if got := mustTake(t, replicas, key, f.tools[0]); !slices.Equal(got, []int{5, 5}) {
			t.Errorf("without Redis it let %v through", got)
		}
		redis.start()
		at(t, replicas, "limits", "ready", "ok")
		for _, p := range replicas {
			p.shows(map[string]float64{"agentkey_limiter_alone": 0, "agentkey_ready": 1})
		}
	}
	stop()
	if got := mustTake(t, replicas, f.keys[3], f.tools[0]); !slices.Equal(got, []int{5, 0}) {
		t.Errorf("with Redis again it let %v through", got)
	}
}

// TestAStalledRedisDelaysNoCall lets Redis accept connections and answer nothing. One fetch
// finds that out, and for five seconds the others don't ask.
func TestAStalledRedisDelaysNoCall(t *testing.T) {
	t.Parallel()
	socket, _, _ := strings.Cut(strings.TrimPrefix(sharedRedis(t), "unix://"), "?")
	proxy := startProxy(t, socket)
	p := startReplicasOn(t, 1, sharedLog(t), readmodelstest.Postgres(t), "redis://"+proxy.address(),
		"AGENTKEY_LIMIT_CREDENTIALS=1000000/1s", "AGENTKEY_LIMIT_ADMIN=1000000/1s", "AGENTKEY_LIMIT_ADMIN_READS=1000000/1s",
		scraped)[0]
	f := mustFleet(p, 2, 1)
	agent := p.with(f.keys[0])
	fetch := func() {
		t.Helper()
		if a := agent.fetch(f.tools[0]); a.Status != 200 || a.Header.Get("X-RateLimit-Limit") != "1000000" {
			t.Fatalf("with Redis stalled a fetch got %d %v: %s", a.Status, a.Header, a.Body)
		}
	}
	for range 2 {
		proxy.loseAnswers()
		fetch()
		at(t, []*program{p}, "limits", "degraded", "degraded")
		p.shows(map[string]float64{"agentkey_limiter_alone": 1, "agentkey_ready": 0.5})
		fetches, asked := 0, proxy.lostAnswers()
		wait.Until(t, "Redis is asked again", func() bool {
			fetch()
			fetches++
			return proxy.lostAnswers() > asked
		})
		if fetches < 5 {
			t.Errorf("the fetch number %d has asked the stalled Redis again", fetches)
		}
		proxy.cut()
		wait.Until(t, "counted together again", func() bool {
			agent.fetch(f.tools[0])
			status, limits := p.ready("limits")
			return status == "ready" && limits == "ok"
		})
	}
}

// mustAsk lets an admin ask every replica, over and over, for their own name. Each call is counted
// and must be answered.
func mustAsk(t testing.TB, replicas []*program) (stop func()) {
	t.Helper()
	over := make(chan struct{})
	var asking sync.WaitGroup
	for _, p := range replicas {
		admin, next := p.admin(), pace(t)
		asking.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-over:
					return
				case <-next:
				}
				if a, err := admin.try("GET", "/api/admin/me", nil); err != nil || a.Status != 200 ||
					a.Header.Get("X-RateLimit-Limit") == "" {
					t.Errorf("call %d got %d %v: %s %v", n, a.Status, a.Header, a.Body, err)
					return
				}
			}
		})
	}
	stop = sync.OnceFunc(func() {
		close(over)
		asking.Wait()
	})
	t.Cleanup(stop)
	return stop
}

// TestRedisMayAnswerWithErrors makes a Redis that runs refuse to count, and lets it count again.
// Fetches continue, within the limit, and readiness and doctor say what is wrong.
func TestRedisMayAnswerWithErrors(t *testing.T) {
	t.Parallel()
	wrong := func(t *testing.T, redis *goredis.Client) func() {
		mustDo(t, redis, "config", "set", "requirepass", "another")
		return func() {
			redis.Options().Password = "another"
			mustDo(t, redis, "config", "set", "requirepass", "")
		}
	}
	for _, tt := range []struct {
		name   string
		says   string // what readiness and doctor say
		before bool   // it is so from the start
		fail   func(t *testing.T, redis *goredis.Client) (mend func())
	}{
		{"it became a replica", "READONLY", false, func(t *testing.T, redis *goredis.Client) func() {
			mustDo(t, redis, "replicaof", "127.0.0.1", "1")
			return func() { mustDo(t, redis, "replicaof", "no", "one") }
		}},
		{"its memory is full", "OOM", false, func(t *testing.T, redis *goredis.Client) func() {
			mustDo(t, redis, "config", "set", "maxmemory", "1")
			return func() { mustDo(t, redis, "config", "set", "maxmemory", "0") }
		}},
		{"its password changed", "the password is missing or wrong", false, func(t *testing.T, redis *goredis.Client) func() {
			mend := wrong(t, redis)
			mustDo(t, redis.WithTimeout(10*time.Second), "client", "kill", "type", "normal")
			return mend
		}},
		{"the password was wrong from the start", "the password is missing or wrong", true, wrong},
		{"its user may not run scripts", "NOPERM", false, func(t *testing.T, redis *goredis.Client) func() {
			mustDo(t, redis, "acl", "setuser", "default", "-eval", "-evalsha")
			return func() { mustDo(t, redis, "acl", "setuser", "default", "+eval", "+evalsha") }
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			engine := startRedis(t)
			opts, err := goredis.ParseURL(engine.URL)
			if err != nil {
				t.Fatal(err)
			}
			redis := goredis.NewClient(opts)
			defer redis.Close()
			var mend func()
			if tt.before {
				mend = tt.fail(t, redis)
			}
			p := start(
				t, "AGENTKEY_REDIS_URL="+engine.URL+"?read_timeout=5s", "AGENTKEY_LIMIT_CREDENTIALS=5/24h",
				"AGENTKEY_LIMIT_ADMIN=1000000/1s", "AGENTKEY_LIMIT_ADMIN_READS=1000000/1s",
			)
			admin := p.admin()
			tool := admin.mustTool("GitHub", "ghp_secret")
			id, key := admin.mustAgent("Onboarding")
			admin.mustAssign(id, tool)
			if !tt.before {
				if status, limits := p.ready("limits"); status != "ready" || limits != "ok" {
					t.Errorf("before: %s, limits %s", status, limits)
				}
				mend = tt.fail(t, redis)
			}
			if got := mustTake(t, []*program{p}, key, tool); got[0] != 5 {
				t.Errorf("alone it let %v through", got)
			}
			admin.must(200, "GET", "/api/admin/me", nil)
			p.becomes(200, `"degraded"`, tt.says, "Until Redis counts, this process counts alone")
			_, said, _ := runCommand(t, p.env, "doctor")
			if !regexp.MustCompile(`(?m)^failed +limits .*` + tt.says + `.*AGENTKEY_REDIS_URL`).MatchString(said) {
				t.Errorf("the doctor says:\n%s", said)
			}
			mend()
			wait.Until(t, "counted together again", func() bool {
				admin.must(200, "GET", "/api/admin/me", nil)
				status, limits := p.ready("limits")
				return status == "ready" && limits == "ok"
			})
		})
	}
}

func mustDo(t *testing.T, redis *goredis.Client, args ...any) {
	t.Helper()
	if err := redis.Do(t.Context(), args...).Err(); err != nil {
		t.Fatalf("%v: %v", args, err)
	}
}
