package commands_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"agentkey/commands"
	"agentkey/commands/commandstest"
)

func TestACredentialIsAStringOrNamedStrings(t *testing.T) {
	many := func(n int) string {
		fields := map[string]string{}
		for i := range n {
			fields[fmt.Sprint("field ", i)] = "v"
		}
		raw, _ := json.Marshal(fields)
		return string(raw)
	}
	long := func(n int) string { return `"` + strings.Repeat("x", n) + `"` }
	for raw, ok := range map[string]bool{
		`"ghp_x"`: true, `" "`: true, `"\u0000"`: true, long(1): true, long(16_384): true,
		`{"user":"a","password":"b"}`: true, many(1): true, many(16): true,
		`"` + strings.Repeat("ä", 8192) + `"`:         true,
		`{"k":"` + strings.Repeat("x", 16_383) + `"}`: true,

		`""`: false, ``: false, `null`: false, `1`: false, `true`: false, `[]`: false, `["a"]`: false, `{}`: false,
		`{"a":1}`: false, `{"a":null}`: false, `{"a":{"b":"c"}}`: false, `{"":"a"}`: false, `{"a":""}`: false,
		`"open`: false, long(16_385): false, many(17): false,
		`"` + strings.Repeat("ä", 8193) + `"`:         false,
		`{"k":"` + strings.Repeat("x", 16_384) + `"}`: false,
	} {
		secret, err := commands.NewCredential([]byte(raw))
		if (err == nil) != ok || secret.Empty() == ok {
			t.Errorf("%.40s of %d bytes: %v", raw, len(raw), err)
		}
		if err != nil && commandstest.Code(err) != "validation_failed" {
			t.Errorf("%.40s: %v", raw, err)
		}
		if err != nil && strings.Contains(err.Error(), "ghp") {
			t.Error("the error shows the credential")
		}
	}
}

func TestACredentialComesBackAsItWasGiven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringN(1, 200, -1).Draw(t, "text")
		raw, err := json.Marshal(text)
		if err != nil {
			t.Fatal(err)
		}
		secret, err := commands.NewCredential(raw)
		if err != nil {
			t.Fatal(err)
		}
		var back string
		if err := json.Unmarshal(secret.Reveal(), &back); err != nil || !bytes.Equal([]byte(back), []byte(text)) {
			t.Fatalf("%q came back as %q: %v", text, back, err)
		}
	})
}
