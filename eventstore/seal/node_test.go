package seal_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"agentkey/domain"
	"agentkey/eventstore/codec"
	"agentkey/eventstore/pae"
	"agentkey/eventstore/seal"
)

type question struct {
	Do         string              `json:"do"`
	Key        []byte              `json:"key,omitempty"`
	Plain      []byte              `json:"plain"`
	Sealed     string              `json:"sealed,omitempty"`
	Associated []byte              `json:"associated,omitempty"`
	IV         []byte              `json:"iv,omitempty"`
	Master     string              `json:"master,omitempty"`
	Secret     *codec.SecretSealed `json:"secret,omitempty"`
}

type answer struct {
	Sealed string `json:"sealed"`
	Plain  []byte `json:"plain"`
	Error  string `json:"error"`
}

// node asks Node's crypto all questions at once.
func node(t *testing.T, questions ...question) []answer {
	t.Helper()
	path, err := exec.LookPath("node")
	if err != nil {
		t.Fatal(
			"node is not installed: the sealed format is checked against its crypto (Debian: apt-get install nodejs)",
		)
	}
	var in bytes.Buffer
	for _, q := range questions {
		if err := json.NewEncoder(&in).Encode(q); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.CommandContext(t.Context(), path, filepath.Join("testdata", "gcm.mjs"))
	cmd.Stdin, cmd.Stderr = &in, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("node: %v", err)
	}
	var answers []answer
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		var a answer
		if err := json.Unmarshal(lines.Bytes(), &a); err != nil {
			t.Fatalf("node said %s: %v", lines.Text(), err)
		}
		answers = append(answers, a)
	}
	if len(answers) != len(questions) {
		t.Fatalf("node gave %d answers to %d questions", len(answers), len(questions))
	}
	return answers
}

func TestGoAndNodeOpenWhatTheOtherSealed(t *testing.T) {
	key := bytes.Repeat([]byte{7}, 32)
	other := bytes.Repeat([]byte{8}, 32)
	plains := [][]byte{{}, []byte("x"), []byte("sk_live_ü€😀"), bytes.Repeat([]byte{0, 255}, 8192)}
	var questions []question
	for _, associated := range [][]byte{nil, pae.Encode([]byte("where"), []byte("it belongs"))} {
		for _, plain := range plains {
			sealed, err := seal.Seal(key, plain, associated)
			if err != nil {
				t.Fatal(err)
			}
			questions = append(
				questions,
				question{Do: "open", Key: key, Sealed: sealed, Associated: associated, Plain: plain},
				question{Do: "seal", Key: key, Associated: associated, Plain: plain},
				question{Do: "open", Key: other, Sealed: sealed, Associated: associated},
				question{Do: "open", Key: key, Sealed: sealed, Associated: []byte("elsewhere")},
				question{
					Do: "open", Key: key, Sealed: sealed[:len(sealed)-1] + string(sealed[len(sealed)-1]^1),
					Associated: []byte("elsewhere"),
				},
			)
		}
	}
	for n, a := range node(t, questions...) {
		q := questions[n]
		switch n % 5 {
		case 0:
			if a.Error != "" || !bytes.Equal(a.Plain, q.Plain) {
				t.Errorf("node opens %d bytes as %d: %s", len(q.Plain), len(a.Plain), a.Error)
			}
		case 1:
			plain, err := seal.Open(key, a.Sealed, q.Associated)
			if err != nil || !bytes.Equal(plain, q.Plain) {
				t.Errorf("we open %d bytes as %d: %v %s", len(q.Plain), len(plain), err, a.Error)
			}
			if strings.ContainsAny(a.Sealed, "+/=") {
				t.Errorf("node's text is %s", a.Sealed)
			}
		default:
			if a.Error == "" {
				t.Errorf("node opened what it should not: question %d", n)
			}
		}
	}
}

// TestVectors are frozen: sealed once by Node with fixed IVs, they open forever.
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []question
	if err := json.Unmarshal(raw, &vectors); err != nil || len(vectors) == 0 {
		t.Fatalf("%d vectors: %v", len(vectors), err)
	}
	questions := make([]question, len(vectors))
	for n, v := range vectors {
		plain, err := seal.Open(v.Key, v.Sealed, v.Associated)
		if err != nil || !bytes.Equal(plain, v.Plain) {
			t.Errorf("vector %d opens as %q: %v", n, plain, err)
		}
		stored, err := base64.RawURLEncoding.DecodeString(v.Sealed)
		if err != nil || !bytes.Equal(stored[:12], v.IV) || len(stored) != 12+16+len(v.Plain) {
			t.Errorf("vector %d is not IV, tag and ciphertext: %v", n, err)
		}
		questions[n] = v
		questions[n].Do, questions[n].Sealed = "seal", ""
	}
	for n, a := range node(t, questions...) {
		if a.Sealed != vectors[n].Sealed {
			t.Errorf("node seals vector %d as %q: %s", n, a.Sealed, a.Error)
		}
	}
}

// TestNodeOpensAWholeEnvelope derives the wrapping key and the associated data from the documents
// alone.
func TestNodeOpensAWholeEnvelope(t *testing.T) {
	text, err := seal.NewMasterKeyText()
	if err != nil {
		t.Fatal(err)
	}
	secret, err := ring(t, text).SealSecret(binding, domain.NewSecret([]byte("sk_live_ü")))
	if err != nil {
		t.Fatal(err)
	}
	moved := secret
	moved.Owner = "tool-2"
	answers := node(
		t, question{Do: "envelope", Master: text, Secret: &secret},
		question{Do: "envelope", Master: text, Secret: &moved},
	)
	if string(answers[0].Plain) != "sk_live_ü" {
		t.Errorf("node opens %q: %s", answers[0].Plain, answers[0].Error)
	}
	if answers[1].Error == "" {
		t.Error("node opened what was moved")
	}
}
