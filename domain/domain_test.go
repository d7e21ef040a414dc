package domain_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"agentkey/domain"
)

const canary = "canary-5f1c"

type document struct{ Shown domain.Secret }

func TestASecretReachesNoPrinterLoggerOrMarshaller(t *testing.T) {
	secret := domain.NewSecret([]byte(canary))
	holder := struct {
		Shown  domain.Secret
		hidden domain.Secret
		Ptr    *domain.Secret
	}{secret, secret, &secret}
	var out bytes.Buffer
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%p", "%T"} {
		for _, v := range []any{
			secret, &secret, holder, &holder, []domain.Secret{secret}, map[string]domain.Secret{"k": secret},
		} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
	}
	for _, v := range []any{secret, holder, []domain.Secret{secret}} {
		raw, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		out.Write(raw)
	}
	raw, err := xml.Marshal(document{secret})
	if err != nil {
		t.Fatal(err)
	}
	out.Write(raw)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("x", slog.Any("secret", secret), slog.Any("holder", holder))
	slog.New(slog.NewTextHandler(&out, nil)).Info("x", slog.Any("secret", secret), slog.Any("holder", holder))
	_, _ = fmt.Fprintln(&out, fmt.Errorf("with %v: %w", secret, errors.New("x")))
	for _, form := range []string{
		canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), fmt.Sprintf("%d", []byte(canary)),
	} {
		if strings.Contains(out.String(), form) {
			t.Errorf("it leaves as %s", form)
		}
	}
	if string(secret.Reveal()) != canary {
		t.Error("it does not reveal what it holds")
	}
}

func TestASecretIsEmptyUntilItHoldsSomething(t *testing.T) {
	var none domain.Secret
	none.Clear()
	if !none.Empty() || none.Reveal() != nil || !domain.NewSecret(nil).Empty() {
		t.Error("the zero secret holds something")
	}
	raw := []byte(canary)
	secret := domain.NewSecret(raw)
	if secret.Empty() {
		t.Error("it is empty")
	}
	secret.Clear()
	if bytes.Contains(raw, []byte("c")) {
		t.Error("clearing left the bytes")
	}
}

func TestARoleIsOneOfFour(t *testing.T) {
	for role, want := range map[domain.Role]bool{
		domain.RoleOwner: true, domain.RoleAdmin: true, domain.RoleApprover: true, domain.RoleAuditor: true, "": false,
		"Owner": false, "root": false,
	} {
		if role.Valid() != want {
			t.Errorf("%q: %v", role, !want)
		}
	}
}

func TestARefusalNamesTheNextOperation(t *testing.T) {
	for _, what := range []string{"tool", "agent", "request", "grant", "version of the usage guide"} {
		if e := domain.NotFound(what); e.Kind != domain.KindNotFound || e.Code != "not_found" ||
			!strings.Contains(e.Detail, what) || len(e.Next) == 0 || !strings.Contains(e.Hint, "{"+e.Next[0].Op+"}") {
			t.Errorf("%s: %+v", what, e)
		}
	}
	if e := domain.Invalid("expires_at", "it must lie in the future"); e.Kind != domain.KindInvalid ||
		len(e.Fields) != 1 || e.Fields[0].Field != "expires_at" {
		t.Errorf("got %+v", e)
	}
	if e := domain.Stale(); e.Kind != domain.KindStale || e.Code != "revision_stale" ||
		!strings.Contains(e.Hint, "{condition}") {
		t.Errorf("got %+v", e)
	}
}
