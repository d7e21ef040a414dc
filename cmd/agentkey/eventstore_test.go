package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate writes a self-signed certificate for loopback and its key as PEM files.
func certificate(t *testing.T) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certify(t, cert, key, 1, time.Now().Add(time.Hour))
	return cert, key
}

// certify is certificate with a given number, end and places, and for other hosts if any are given.
func certify(t *testing.T, cert, key string, serial int64, end time.Time, hosts ...net.IP) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if len(hosts) == 0 {
		hosts = []net.IP{net.IPv4(127, 0, 0, 1)}
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), NotBefore: time.Now().Add(-1000 * time.Hour), NotAfter: end, IsCA: true,
		BasicConstraintsValid: true, IPAddresses: hosts,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	err = errors.Join(
		os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
		os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnEventStoreOverTLS serves the store with TLS and a password, and the API with TLS of its own
// on top of it.
func TestAnEventStoreOverTLS(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	password := filepath.Join(filepath.Dir(cert), "password")
	if err := os.WriteFile(password, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	log := ownLog(
		t, "it has a certificate of its own", "--tls-cert", cert, "--tls-key", key, "--user", "agentkey",
		"--password-file", password,
	)
	env := log.replicas()
	env[0] = "AGENTKEY_EVENTSTORE_URL=esdb://agentkey:" + url.PathEscape(
		"correct horse",
	) + "@" + log.listen + "?tls=true&tlsCAFile=" + url.QueryEscape(cert)
	p := start(t, env...)
	tool := p.admin().mustTool("GitHub", "ghp_secret")
	id, agentKey := p.admin().mustAgent("Onboarding")
	p.admin().mustAssign(id, tool)
	if a := p.with(agentKey).fetch(tool); a.Text("credential") != "ghp_secret" {
		t.Errorf("over TLS: %s", a.Body)
	}
	env[0] = strings.Replace(env[0], "correct", "wrong", 1)
	code, stdout, stderr := runCommand(
		t, append(env, "AGENTKEY_LISTEN=127.0.0.1:0", "AGENTKEY_DATA_DIR="+t.TempDir()), "serve",
	)
	if code != exitFault || strings.Contains(stdout, "listens") || strings.Contains(stderr, "horse") {
		t.Errorf("with a wrong password: exit %d: %s%s", code, stdout, stderr)
	}
}

func TestAnEventStoreIsNotOpenToTheNetworkByAccident(t *testing.T) {
	t.Parallel()
	cert, key := certificate(t)
	for _, flags := range [][]string{
		{"--listen", "0.0.0.0:0", "--insecure"},
		{"--listen", "127.0.0.1:0"},
		{"--listen", "nonsense", "--insecure"},
		{"--listen", "127.0.0.1:0", "--tls-cert", cert, "--tls-key", key},
		{"--listen", "127.0.0.1:0", "--insecure", "--user", "agentkey"},
	} {
		code, stdout, stderr := runCommand(
			t, nil, append([]string{"eventstore", "serve", "--data", t.TempDir()}, flags...)...,
		)
		if code != exitUsage || stdout != "" {
			t.Errorf("%v: exit %d: %s%s", flags, code, stdout, stderr)
		}
	}
}
