package main

import (
	"database/sql"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"google.golang.org/grpc/codes"

	"agentkey/eventstore/eventstoretest/wait"
)

// TestReadinessSaysWhyTheLogCanNotBeReached puts one wrong server after another in the log's place,
// for a process with TLS and one without, and then the right one.
func TestReadinessSaysWhyTheLogCanNotBeReached(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	dir := filepath.Dir(cert)
	other, otherKey := certificate(t) // of an authority that isn't trusted
	far, farKey := filepath.Join(dir, "far.pem"), filepath.Join(dir, "far-key.pem")
	certify(t, far, farKey, 2, time.Now().Add(time.Hour), net.IPv4(127, 0, 0, 2))
	password, authorities := filepath.Join(dir, "password"), filepath.Join(dir, "authorities.pem")
	trusted := readFile(t, cert) + readFile(t, far)
	if err := errors.Join(
		os.WriteFile(password, []byte("canary"), 0o600), os.WriteFile(authorities, []byte(trusted), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	serve := func(cert, key, password string) *logServer {
		return ownLog(
			t, reached, "--tls-cert", cert, "--tls-key", key, "--user", "agentkey", "--password-file", password,
		)
	}
	log, plain := serve(cert, key, password), ownLog(t, reached)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	before, beforePlain := startProxy(t, log.listen), startProxy(t, plain.listen)
	env := log.replicas()
	env[0] = "AGENTKEY_EVENTSTORE_URL=esdb://agentkey:canary@" + before.address() + "?tls=true&tlsCAFile=" +
		url.QueryEscape(authorities)
	p, q := start(t, env...), start(t, plain.replicasAt(beforePlain.address())...)
	for _, tt := range []struct {
		p      *program
		proxy  *proxy
		behind string
		says   string
	}{
		{p, before, "", "nothing listens on " + before.address()},
		{p, before, plain.listen, "doesn't speak TLS"},
		{p, before, serve(other, otherKey, password).listen, "isn't trusted here"},
		{p, before, serve(far, farKey, password).listen, "is for 127.0.0.2 and not for 127.0.0.1"},
		{p, before, serve(cert, key, key).listen, "or the password is wrong"},
		{p, before, refusing(t, cert, key, codes.PermissionDenied), "may not read $all"},
		{p, before, refusing(t, cert, key, codes.Unimplemented), "isn't an EventStoreDB"},
		{p, before, silent.Addr().String(), "doesn't answer"},
		{q, beforePlain, "", "nothing listens on " + beforePlain.address()},
		{q, beforePlain, log.listen, "expects TLS: add tls=true"},
		{q, beforePlain, silent.Addr().String(), "doesn't answer"},
	} {
		tt.proxy.lead(tt.behind)
		wait.Until(t, tt.says, func() bool {
			a := tt.p.anyone().call("GET", "/readyz", nil, "X-Wait-For-Position", "")
			if strings.Contains(string(a.Body), "canary") {
				t.Fatalf("a password: %s", a.Body)
			}
			return a.Status == 503 && strings.Contains(string(a.Body), tt.says)
		})
	}
	before.lead(log.listen)
	beforePlain.lead(plain.listen)
	for _, p := range []*program{p, q} {
		p.becomes(200, `"event_log","status":"ok"`)
	}
}

// strict is a Postgres that lets the user agentkey in by a password and over TLS alone.
type strict struct {
	*engine
	admin     *sql.DB
	cert, key string
}

func startStrict(t *testing.T) *strict {
	t.Helper()
	s := &strict{engine: startPostgres(t)}
	db, err := sql.Open("pgx", s.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	s.admin = db
	cert, key := certificate(t)
	s.cert, s.key = cert, key
	s.certify(cert, key)
	s.place(
		"pg_hba.conf",
		"local all all trust\nhost all postgres 127.0.0.1/32 trust\nhostssl all agentkey 127.0.0.1/32 scram-sha-256\n",
	)
	s.do(
		"ALTER SYSTEM SET ssl = on", "CREATE ROLE agentkey LOGIN PASSWORD 'canary'",
		"CREATE DATABASE keys OWNER agentkey", "SELECT pg_reload_conf()",
	)
	wait.Until(t, "TLS is on", func() bool { return column(t, db, "SHOW ssl")[0] == "on" })
	return s
}

// do carries out what the database's administrator would.
func (s *strict) do(statements ...string) {
	s.t.Helper()
	for _, statement := range statements {
		if _, err := s.admin.ExecContext(s.t.Context(), statement); err != nil {
			s.t.Fatalf("%s: %v", statement, err)
		}
	}
}

// breaks does something and ends the connections that agentkey has.
func (s *strict) breaks(statements ...string) {
	s.t.Helper()
	s.do(append(statements, `SELECT pg_reload_conf()`,
		`SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'agentkey'`)...)
}

// place writes a file of the server, which must belong to its user.
func (s *strict) place(name, text string) {
	s.t.Helper()
	data := filepath.Join(s.folder, "data")
	info, err := os.Stat(data)
	if err == nil {
		err = os.WriteFile(filepath.Join(data, name), []byte(text), 0o600)
	}
	if owner, ok := info.Sys().(*syscall.Stat_t); err == nil && ok {
		err = os.Chown(filepath.Join(data, name), int(owner.Uid), int(owner.Gid))
	}
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *strict) certify(cert, key string) {
	s.t.Helper()
	for name, path := range map[string]string{"server.crt": cert, "server.key": key} {
		s.place(name, readFile(s.t, path))
	}
}

// TestReadinessSaysWhyPostgresAndRedisCanNotBeReached makes the mistakes that are common in their
// URLs, and those that come later, on the side of the servers.
func TestReadinessSaysWhyPostgresAndRedisCanNotBeReached(t *testing.T) {
	t.Parallel()
	postgres, redis := startStrict(t), startRedis(t)
	socket := strings.TrimPrefix(redis.URL, "unix://")
	operator := goredis.NewClient(&goredis.Options{Network: "unix", Addr: socket})
	mustDo(t, operator, "config", "set", "requirepass", "another")
	_ = operator.Close()        // it has done all that it should
	cert, key := certificate(t) // of an authority that nobody trusts
	secure := ownLog(t, reached, "--tls-cert", cert, "--tls-key", key, "--user", "agentkey", "--password-file", key)
	plain, encrypted := startProxy(t, socket), startProxy(t, socket)
	at, err := url.Parse(postgres.URL)
	if err != nil {
		t.Fatal(err)
	}
	database := func(host, options string) string {
		return databaseSetting + "=postgres://agentkey:canary@" + host + ":" + at.Port() + "/keys?" + options
	}
	trusted := "sslmode=verify-full&sslrootcert=" + url.QueryEscape(postgres.cert)
	begin := func(env ...string) *program {
		p := start(t, append(unlimited, "AGENTKEY_LIMIT_ADMIN_READS=1000000/1s")...) // while nothing is wrong
		p.stop()
		p.env = append(p.env, env...)
		p.launch()
		p.begun()
		return p
	}
	says := func(p *program, texts ...string) {
		t.Helper()
		wait.Until(t, strings.Join(texts, ", "), func() bool {
			p.admin().call("GET", "/api/admin/me", nil) // it is counted, and so Redis is asked
			said := string(p.anyone().call("GET", "/readyz", nil).Body)
			if strings.Contains(said, "canary") {
				t.Fatalf("a password: %s", said)
			}
			return !slices.ContainsFunc(texts, func(text string) bool { return !strings.Contains(said, text) })
		})
	}

	first := begin(database("127.0.0.1", trusted), redisSetting+"=redis://:canary@"+plain.address())
	says(first, `"read_model","status":"ok"`)
	plain.lead("")
	postgres.stop()
	says(first, "nothing listens on 127.0.0.1:"+at.Port(), "nothing listens on "+plain.address())
	postgres.start()
	plain.lead(secure.listen)
	postgres.breaks("ALTER SYSTEM SET ssl = off")
	says(first, "127.0.0.1:"+at.Port()+" doesn't speak TLS", plain.address()+" expects TLS: begin")
	postgres.certify(cert, key)
	postgres.breaks("ALTER SYSTEM SET ssl = on")
	plain.lead(socket)
	says(
		first, "the certificate of 127.0.0.1:"+at.Port()+" is signed by an authority that isn't trusted here",
		"Redis at "+plain.address()+" doesn't know the user, or the password is missing or wrong",
	)
	postgres.certify(postgres.cert, postgres.key)
	postgres.breaks("ALTER ROLE agentkey PASSWORD 'another'")
	says(first, "doesn't know the user agentkey, or the password is wrong")
	postgres.breaks("ALTER ROLE agentkey PASSWORD 'canary'", "ALTER DATABASE keys ALLOW_CONNECTIONS false")
	postgres.do("ALTER DATABASE keys RENAME TO others")
	says(first, "has no database keys")
	postgres.do("ALTER DATABASE others RENAME TO keys", "ALTER DATABASE keys ALLOW_CONNECTIONS true")

	second := begin(database("localhost", trusted), redisSetting+"=rediss://"+encrypted.address())
	says(second, "is for 127.0.0.1 and not for localhost", encrypted.address()+" doesn't speak TLS")
	encrypted.lead(secure.listen)
	says(second, encrypted.address()+" is signed by an authority that isn't trusted here")

	third := begin(
		databaseSetting+"=postgres://agentkey:canary@db.invalid/keys", redisSetting+"=redis://redis.invalid:6379",
	)
	says(third, "the host name db.invalid", "the host name redis.invalid")

	code, stdout, stderr := runCommand(t, []string{
		"AGENTKEY_DATA_DIR=" + t.TempDir(), "AGENTKEY_LISTEN=127.0.0.1:0", database("127.0.0.1", "sslmode=disable"),
	}, "serve")
	if code == exitOK || !strings.Contains(stderr, "add sslmode=verify-full") ||
		strings.Contains(stdout+stderr, "canary") {
		t.Errorf("without TLS serve began: exit %d: %s%s", code, stdout, stderr)
	}
}
