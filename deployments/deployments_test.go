package deployments_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// read returns a file by its path relative to this folder.
func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// decode reads the only document of a YAML file. A field that T lacks is an error.
func decode[T any](t *testing.T, path string) T {
	t.Helper()
	var out T
	decoder := yaml.NewDecoder(bytes.NewReader(read(t, path)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&out); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := decoder.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		t.Fatalf("%s holds more than one document: %v", path, err)
	}
	return out
}

// files are all files of this folder except those that an operator creates.
func files(t *testing.T) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		if entry.IsDir() && (path == "secrets" || path == filepath.Join("eventstoredb", "certs")) {
			return filepath.SkipDir
		}
		if err == nil && !entry.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil || len(out) < 20 {
		t.Fatalf("only %d files: %v", len(out), err)
	}
	return out
}

func TestEveryFileIsOfAKindThatIsReadHere(t *testing.T) {
	plain := []string{
		"Dockerfile", "Dockerfile.dockerignore", ".gitignore", "caddy/Caddyfile",
		"systemd/agentkey.service", "systemd/agentkey.sysusers",
	}
	for _, path := range files(t) {
		raw := read(t, path)
		var err error
		switch {
		case strings.HasSuffix(path, ".yaml"), strings.HasSuffix(path, ".yaml.example"):
			err = yaml.Unmarshal(raw, new(map[string]any))
		case strings.HasSuffix(path, ".json"):
			err = json.Unmarshal(raw, new(map[string]any))
		case strings.HasSuffix(path, ".go"), slices.Contains(plain, path):
		default:
			t.Errorf("%s: no test here reads this kind of file", path)
		}
		if err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestNoSecretIsInTheFiles(t *testing.T) {
	secrets := map[string]*regexp.Regexp{
		"a key of 32 bytes":  regexp.MustCompile(`\b[A-Za-z0-9+/]{43}=`),
		"a token":            regexp.MustCompile(`sk_(agent|admin)_\w`),
		"a private key":      regexp.MustCompile(`-----BEGIN`),
		"a password in text": regexp.MustCompile(`(?i)password["']?[:=] *["']?[^\s{"'$]`),
	}
	passwords := regexp.MustCompile(`://[^\s:/@]*:([^\s@/]+)@`)
	for _, path := range files(t) {
		if strings.HasSuffix(path, ".go") {
			continue
		}
		text := string(read(t, path))
		for what, pattern := range secrets {
			if found := pattern.FindString(text); found != "" {
				t.Errorf("%s holds %s: %s", path, what, found)
			}
		}
		for _, found := range passwords.FindAllStringSubmatch(text, -1) {
			if found[1] != "REPLACE" {
				t.Errorf("%s contains a URL with a password: %s", path, found[0])
			}
		}
	}
}

// untold are the images whose digest we couldn't learn; docs/building.md says how to add it.
var untold = []string{"docker.eventstore.com/", "eventstore/"}

// image requires a version, for people, and a digest, so that the file still means the same program
// next year. What an operator builds has no digest yet.
func image(t *testing.T, where, name string) {
	t.Helper()
	tagged, digest, pinned := strings.Cut(name, "@")
	_, tag, _ := strings.Cut(tagged[strings.LastIndex(tagged, "/")+1:], ":")
	if tag == "local" || strings.HasPrefix(name, "registry.example/") {
		return
	}
	if !regexp.MustCompile(`^v?\d+\.\d+`).MatchString(tag) {
		t.Errorf("%s: the image %q has no version", where, name)
	}
	isUntold := slices.ContainsFunc(untold, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
	if pinned == isUntold || pinned && !regexp.MustCompile(`^sha256:[0-9a-f]{64}$`).MatchString(digest) {
		t.Errorf("%s: the image %q has no digest, or isn't untold any more", where, name)
	}
}

// nonRoot requires a number, which shows without a passwd file that the user isn't root.
func nonRoot(t *testing.T, where, user string) {
	t.Helper()
	if !regexp.MustCompile(`^[1-9]\d*(:\d+)?$`).MatchString(user) {
		t.Errorf("%s runs as %q", where, user)
	}
}

// served are the paths of the API.
func served(t *testing.T) []string {
	t.Helper()
	var document struct {
		Paths map[string]any `yaml:"paths"`
	}
	err := yaml.Unmarshal(read(t, "../api/contract/openapi_gen.json"), &document)
	if err != nil || len(document.Paths) < 10 {
		t.Fatalf("the API has %d paths: %v", len(document.Paths), err)
	}
	var out []string
	for path := range document.Paths {
		out = append(out, path)
	}
	return out
}

func TestTheDocumentsNameFilesThatExist(t *testing.T) {
	for _, document := range []string{"../docs/deployment.md", "../docs/eventstoredb.md"} {
		text := string(read(t, document))
		if lines := strings.Count(text, "\n"); lines > 120 {
			t.Errorf("%s has %d lines", document, lines)
		}
		named := regexp.MustCompile(`\bdeployments/[\w./-]*[\w/]`).FindAllString(text, -1)
		if len(named) < 3 {
			t.Errorf("%s names %d files", document, len(named))
		}
		for _, path := range named {
			if strings.HasPrefix(path, "deployments/eventstoredb/certs") {
				continue // the commands on the page create it
			}
			if _, err := os.Stat(filepath.Join("..", path)); err != nil {
				t.Errorf("%s: %v", document, err)
			}
		}
	}
}
