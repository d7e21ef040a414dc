package main

import (
	"crypto/tls"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"agentkey/readmodels/readmodelstest"
)

// reached is why these tests serve logs of their own.
const reached = "it reaches it in wrong ways"

// refusing is a gRPC server over TLS that knows every user and answers each call with a code, and
// returns its address.
func refusing(t *testing.T, cert, key string, code codes.Code) string {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer(
		grpc.Creds(credentials.NewServerTLSFromCert(&pair)),
		grpc.UnknownServiceHandler(func(any, grpc.ServerStream) error { return status.Error(code, "Access Denied") }),
	)
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(listener) }()
	t.Cleanup(func() {
		s.Stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return listener.Addr().String()
}

// TestEachMistakeInTheURLHasItsOwnSentence makes every mistake that is common in the URL of an
// EventStoreDB. The doctor and serve say the same, and neither shows a password.
func TestEachMistakeInTheURLHasItsOwnSentence(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	dir := filepath.Dir(cert)
	password, notPEM := filepath.Join(dir, "password"), filepath.Join(dir, "not.pem")
	for path, text := range map[string]string{password: "correct horse\n", notPEM: "nothing"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	secure := ownLog(t, reached, "--tls-cert", cert, "--tls-key", key, "--user", "agentkey", "--password-file", password)
	plain, gone := ownLog(t, reached), ownLog(t, reached)
	gone.stop()
	_, port, _ := net.SplitHostPort(secure.listen)
	denies, web := refusing(t, cert, key, codes.PermissionDenied), refusing(t, cert, key, codes.Unimplemented)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = silent.Close() })
	const user = "agentkey:correct%20horse@"
	trusted := "?tls=true&tlsCAFile=" + url.QueryEscape(cert)
	for _, tt := range []struct{ name, url, want string }{
		{"an authority that isn't trusted", user + secure.listen + "?tls=true", "add tlsCAFile=FILE, with"},
		{"TLS to a plain port", user + plain.listen + trusted, "doesn't speak TLS"},
		{"plain to a TLS port", secure.listen + "?tls=false", "expects TLS: add tls=true"},
		{"the certificate of another host", user + "localhost:" + port + trusted, "is for 127.0.0.1 and not for localhost"},
		{"nothing listens", gone.listen + "?tls=false", "nothing listens on " + gone.listen},
		{"nothing listens, with TLS", user + gone.listen + trusted, "nothing listens on " + gone.listen},
		{"a host name that doesn't exist", "es.invalid:2113?tls=false", "the host name es.invalid"},
		{"a CA file that doesn't exist", user + secure.listen + "?tlsCAFile=/nowhere/ca.pem", `"/nowhere/ca.pem"`},
		{"a CA file without a certificate", user + secure.listen + "?tlsCAFile=" + notPEM, "holds no certificate"},
		{"a wrong password", "agentkey:wrong%20horse@" + secure.listen + trusted, "or the password is wrong"},
		{"an unknown user", "somebody:correct%20horse@" + secure.listen + trusted, "doesn't know the user somebody"},
		{"no password", secure.listen + trusted, "asks for a user and a password"},
		{"no right to read $all", user + denies + trusted, `{"$acl":{"$r":["agentkey","$admins"]}}`},
		{"not an EventStoreDB", user + web + trusted, "isn't an EventStoreDB"},
		{"a server that hangs", silent.Addr().String() + "?tls=false", "doesn't answer"},
		{"a server that hangs, with TLS", user + silent.Addr().String() + trusted, "doesn't answer"},
		{"two seeds, both wrong", "es.invalid:2113," + gone.listen + "?tls=false", "nothing listens on " + gone.listen},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := append(plain.replicas(), "AGENTKEY_DATA_DIR="+t.TempDir(), "AGENTKEY_LISTEN=127.0.0.1:0")
			env[0] = "AGENTKEY_EVENTSTORE_URL=esdb://" + tt.url
			began := time.Now()
			code, said, _ := consult(t, env)
			t.Logf("after %s: %s", time.Since(began).Round(time.Millisecond), said["event log"])
			if code != exitFault {
				t.Errorf("the doctor: exit %d", code)
			}
			expect(t, said, map[string]string{"event log": "failed " + tt.want})
			code, stdout, stderr := runCommand(t, env, "serve")
			if code == exitOK || !strings.Contains(stderr, tt.want) || strings.Contains(stdout+stderr, "horse") {
				t.Errorf("serve: exit %d: %s%s", code, stdout, stderr)
			}
		})
	}
	if code, said, _ := consult(t, append(
		secure.replicas()[1:], "AGENTKEY_EVENTSTORE_URL=esdb://"+user+secure.listen+trusted,
		"AGENTKEY_DATA_DIR="+t.TempDir(), "AGENTKEY_LISTEN=127.0.0.1:0",
	)); code != exitOK {
		t.Errorf("without a mistake: exit %d: %v", code, said)
	}
}

// TestEachMistakeInTheOtherURLsHasItsOwnSentence does the same for the other servers that settings
// name.
func TestEachMistakeInTheOtherURLsHasItsOwnSentence(t *testing.T) {
	t.Parallel()
	database, err := url.Parse(readmodelstest.Postgres(t))
	if err != nil {
		t.Fatal(err)
	}
	cert, key := certificate(t)
	secure := ownLog(t, reached, "--tls-cert", cert, "--tls-key", key, "--user", "agentkey", "--password-file", key)
	letters := startMailbox(t)
	gone := ownLog(t, reached)
	gone.stop()
	with := func(u url.URL, change func(*url.URL)) string {
		change(&u)
		return u.String()
	}
	const from = "AGENTKEY_SMTP_FROM=agentkey@example.com"
	for _, tt := range []struct{ name, setting, what, want string }{
		{
			"Postgres: nothing listens", databaseSetting + "=" + with(*database, func(u *url.URL) { u.Host = gone.listen }),
			"read model", "nothing listens on " + gone.listen,
		},
		{
			"Postgres: no such host", databaseSetting + "=" + with(*database, func(u *url.URL) { u.Host = "db.invalid:5432" }),
			"read model", "the host name db.invalid",
		},
		{
			"Postgres: no such database", databaseSetting + "=" + with(*database, func(u *url.URL) { u.Path = "/nowhere" }),
			"read model", "has no database nowhere",
		},
		{"Postgres: no such user", databaseSetting + "=" + with(*database, func(u *url.URL) {
			u.User = url.UserPassword("nobody", "canary")
		}), "read model", "refuses the user nobody"},
		{"Postgres: TLS to a plain port", databaseSetting + "=" + with(*database, func(u *url.URL) {
			u.RawQuery = "sslmode=require"
		}), "read model", "doesn't speak TLS"},
		{"Redis: nothing listens", redisSetting + "=redis://:canary@" + gone.listen, "limits", "nothing listens on 127"},
		{"Redis: no such host", redisSetting + "=redis://redis.invalid:6379", "limits", "the host name redis.invalid"},
		{"Redis: TLS to a plain port", redisSetting + "=rediss://" + letters.address, "limits", "doesn't speak TLS"},
		{"Redis: plain to a TLS port", redisSetting + "=redis://" + secure.listen, "limits", "expects TLS: begin"},
		{"Redis: an unknown authority", redisSetting + "=rediss://" + secure.listen, "limits", "isn't trusted here"},
		{"mail: nothing listens", mailSetting + "=smtp://u:canary@" + gone.listen, "mail", "nothing listens on 127"},
		{"mail: no such host", mailSetting + "=smtp://u:canary@mail.invalid:587", "mail", "the host name mail.invalid"},
		{"mail: TLS to a plain port", mailSetting + "=smtps://u:canary@" + letters.address, "mail", "doesn't speak TLS"},
		{"mail: an unknown authority", mailSetting + "=smtps://u:canary@" + secure.listen, "mail", "isn't trusted here"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			env := []string{"AGENTKEY_DATA_DIR=" + t.TempDir(), "AGENTKEY_LISTEN=127.0.0.1:0", tt.setting}
			if tt.what == "mail" {
				env = append(env, from)
			}
			code, stdout, stderr := runCommand(t, env, "doctor")
			if code != exitFault || strings.Contains(stdout+stderr, "canary") {
				t.Errorf("exit %d: %s%s", code, stdout, stderr)
			}
			code, said, _ := consult(t, env)
			if code != exitFault {
				t.Errorf("exit %d: %v", code, said)
			}
			expect(t, said, map[string]string{tt.what: "failed " + tt.want})
		})
	}
	_, said, _ := consult(t, []string{
		"AGENTKEY_DATA_DIR=" + t.TempDir(), "AGENTKEY_LISTEN=127.0.0.1:0", from,
		mailSetting + "=smtp://" + letters.address + "?tls=off",
	})
	expect(t, said, map[string]string{"mail": "ok " + letters.address})
	if sent := letters.all(); len(sent) != 0 {
		t.Errorf("the doctor sent %v", sent)
	}
}
