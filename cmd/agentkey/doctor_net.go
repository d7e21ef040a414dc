package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/redis/go-redis/v9/logging"

	"agentkey/api/door/limits"
)

func (d *doctor) redis(ctx context.Context) {
	const what = "limits"
	if d.config.Redis == nil {
		d.say(isOK, what, "each process counts for itself; set AGENTKEY_REDIS_URL to share one count")
		return
	}
	within := limits.Patience
	if d.config.Redis.ReadTimeout > 0 {
		within = d.config.Redis.ReadTimeout
	}
	if err := examineRedis(ctx, d.config.Redis); err != nil {
		d.say(isFailed, what, "%v. Until Redis counts calls, each process counts for itself", err)
		return
	}
	logging.Disable()
	took, err := limits.Probe(ctx, d.config.Redis)
	switch {
	case err != nil:
		d.say(
			isFailed, what, "%s: %v; until it counts calls, each process counts for itself. See AGENTKEY_REDIS_URL",
			limits.Why(err), err,
		)
	case took > within:
		d.say(isWarning, what, "Redis takes %s, more than %s, so each process counts for itself; move Redis closer, or "+
			"set read_timeout in AGENTKEY_REDIS_URL",
			took.Round(time.Millisecond), within)
	default:
		d.say(isOK, what, "Redis at %s answers in %s", d.config.Redis.Addr, took.Round(10*time.Microsecond))
	}
}

// renewBefore is how long before its end a certificate should have been replaced.
const renewBefore = 21 * 24 * time.Hour

func (d *doctor) certificate(context.Context) {
	const what = "certificate"
	if d.config.TLSCert == "" {
		return
	}
	pair, err := tls.LoadX509KeyPair(d.config.TLSCert, d.config.TLSKey)
	if err != nil {
		d.say(isFailed, what, "%v; see AGENTKEY_TLS_CERT and AGENTKEY_TLS_KEY", err)
		return
	}
	v, text := valid(pair.Leaf, time.Now())
	if info, err := os.Stat(d.config.TLSKey); v == isOK && err == nil && info.Mode().Perm()&0o007 != 0 {
		v, text = isWarning, "every user can read the key: chmod 0600 "+d.config.TLSKey
	}
	d.say(v, what, "%s", text)
}

// valid judges a certificate by its time.
func valid(leaf *x509.Certificate, now time.Time) (verdict, string) {
	days := int(leaf.NotAfter.Sub(now).Hours() / 24)
	end := leaf.NotAfter.UTC().Format(time.DateOnly)
	switch {
	case now.Before(leaf.NotBefore):
		return isFailed, "it becomes valid at " + leaf.NotBefore.UTC().Format(
			time.RFC3339,
		) + ": check the clock, or wait"
	case now.After(leaf.NotAfter):
		return isFailed, fmt.Sprintf(
			"it expired on %s, %d days ago: replace both files; serve reloads them", end, -days,
		)
	case leaf.NotAfter.Sub(now) < renewBefore:
		return isWarning, fmt.Sprintf("it expires on %s, in %d days: replace both files; serve reloads them", end, days)
	}
	return isOK, fmt.Sprintf("valid until %s, for %d days", end, days)
}

func (d *doctor) address(ctx context.Context) {
	host, _, _ := net.SplitHostPort(d.config.Listen) // LoadConfig has checked it
	scheme, how := "http", "plain HTTP on loopback"
	switch {
	case d.config.TLSCert != "":
		scheme, how = "https", "TLS"
	case !isLoopback(host):
		how = "plain HTTP behind a proxy that terminates TLS; only the proxy may reach it"
	}
	d.taken(ctx, "address", d.config.Listen, how, "AGENTKEY_LISTEN", scheme+"://"+d.config.Listen+"/healthz", `"alive"`)
}

func (d *doctor) metricsAddress(ctx context.Context) {
	at := d.config.MetricsListen
	if at == "" {
		d.say(isOK, "metrics", "off; set AGENTKEY_METRICS_LISTEN to serve them")
		return
	}
	const how = "plain HTTP without a key; only Prometheus should reach it"
	d.taken(ctx, "metrics", at, how, "AGENTKEY_METRICS_LISTEN", "http://"+at+"/metrics", "agentkey_ready")
}

// proxy reports whether the only way out can be reached. What it lets through, it alone knows.
func (d *doctor) proxy(ctx context.Context) {
	const what = "proxy"
	u := d.config.Outbound.Proxy
	if u == nil {
		return
	}
	port := cmp.Or(u.Port(), map[string]string{"http": "80", "https": "443"}[u.Scheme])
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", net.JoinHostPort(u.Hostname(), port))
	if err != nil {
		d.say(isFailed, what, "%v: check AGENTKEY_OUTBOUND_PROXY; without it no notification leaves", err)
		return
	}
	_ = conn.Close()
	d.say(isOK, what, "%s answers, for notifications and pages", u.Host)
}

// mail logs in to the mail server and sends nothing.
func (d *doctor) mail(ctx context.Context) {
	const what = "mail"
	if d.config.Mail == nil {
		return
	}
	if err := examineMail(ctx, d.config.Mail); err != nil {
		d.say(isFailed, what, "%v; until then no e-mail is sent", err)
		return
	}
	d.say(isOK, what, "%s takes the user and the password", d.config.Mail.Address())
}

// model asks the language model's endpoint what it has, which costs nothing. Not all of them tell.
func (d *doctor) model(ctx context.Context) {
	const what = "setup guides"
	if d.config.AI.BaseURL == "" {
		d.say(isOK, what, "built-in only; set AGENTKEY_AI_BASE_URL to let a language model write others")
		return
	}
	request, err := http.NewRequestWithContext(
		ctx, http.MethodGet, strings.TrimRight(d.config.AI.BaseURL, "/")+"/models", http.NoBody,
	)
	if err != nil {
		d.say(isFailed, what, "AGENTKEY_AI_BASE_URL isn't a URL")
		return
	}
	if key := d.config.AI.Key.Reveal(); len(key) > 0 {
		request.Header.Set("Authorization", "Bearer "+string(key))
	}
	client := &http.Client{
		Transport:     d.config.Outbound.Transport(),
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		d.say(
			isFailed, what,
			"the language model can't be reached: %v; check that it runs, and check AGENTKEY_AI_BASE_URL", err,
		)
		return
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4<<20)) // without it the model is not found
	switch {
	case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
		d.say(isFailed, what, "the language model's endpoint rejects the key: check AGENTKEY_AI_API_KEY")
	case response.StatusCode != http.StatusOK:
		d.say(
			isWarning, what, "the language model's endpoint answers, but doesn't list its models (status %d)",
			response.StatusCode,
		)
	case !bytes.Contains(text, []byte(`"`+d.config.AI.Model+`"`)):
		d.say(
			isWarning, what, "the language model's endpoint answers, but doesn't list %s: check AGENTKEY_AI_MODEL",
			d.config.AI.Model,
		)
	default:
		d.say(isOK, what, "%s, at the endpoint of AGENTKEY_AI_BASE_URL", d.config.AI.Model)
	}
}

// taken reports whether an address is free or already served by agentkey, which a URL with a known
// answer shows.
func (d *doctor) taken(ctx context.Context, what, at, how, setting, url, sign string) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at)
	switch {
	case err == nil:
		_ = listener.Close() // it was only to see
		d.say(isOK, what, "%s is free; %s", at, how)
	case errors.Is(err, syscall.EADDRINUSE) && isThere(ctx, url, sign):
		d.say(isOK, what, "%s is served by agentkey; %s", at, how)
	case errors.Is(err, syscall.EADDRINUSE):
		d.say(isFailed, what, "another program uses %s: stop it, or set %s to another address", at, setting)
	default:
		d.say(isFailed, what, "%v; set %s to another address", err, setting)
	}
}

func isThere(ctx context.Context, url, sign string) bool {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // nothing is told and nothing believed but that it is there
	}}
	response, err := client.Do(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(response.Body, 4<<20))
	return err == nil && bytes.Contains(text, []byte(sign))
}
