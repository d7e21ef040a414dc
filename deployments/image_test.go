package deployments_test

import (
	"encoding/json"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// stages are the instructions of each stage of the Dockerfile, split into words.
func stages(t *testing.T) [][][]string {
	t.Helper()
	var out [][][]string
	text := strings.ReplaceAll(string(read(t, "Dockerfile")), "\\\n", " ")
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		if words[0] == "FROM" {
			out = append(out, nil)
		}
		if len(out) == 0 {
			t.Fatalf("%s comes before the first stage", line)
		}
		out[len(out)-1] = append(out[len(out)-1], words)
	}
	return out
}

// find returns the words of the only instruction with the given beginning, and its index.
func find(t *testing.T, stage [][]string, begins ...string) ([]string, int) {
	t.Helper()
	at := -1
	for i, words := range stage {
		if len(words) >= len(begins) && slices.Equal(words[:len(begins)], begins) {
			if at >= 0 {
				t.Fatalf("%v appears twice", begins)
			}
			at = i
		}
	}
	if at < 0 {
		t.Fatalf("%v is missing", begins)
	}
	return stage[at], at
}

func TestTheImageIsAStaticBinaryOnNothing(t *testing.T) {
	all := stages(t)
	if len(all) != 2 {
		t.Fatalf("%d stages", len(all))
	}
	build, last := all[0], all[1]
	from, _ := find(t, build, "FROM")
	image(t, "the first stage", from[1])
	_, modules := find(t, build, "COPY", "go.mod", "go.sum", "./")
	_, code := find(t, build, "COPY", ".", ".")
	if modules > code {
		t.Error("every change of the code would download the modules again")
	}
	if _, built := find(t, build, "RUN", "make", "build"); built < code {
		t.Error("it builds before it copies the code")
	}

	if base, _ := find(t, last, "FROM"); !slices.Equal(base, []string{"FROM", "scratch"}) {
		t.Errorf("the last stage is %v", base)
	}
	for _, words := range last {
		if words[0] == "RUN" || (words[0] == "COPY" && words[1] != "--from=build") {
			t.Errorf("the last stage does more than copy the build: %v", words)
		}
	}
	user, _ := find(t, last, "USER")
	nonRoot(t, "the image", user[1])
	volume, _ := find(t, last, "VOLUME")
	if data, _ := find(t, last, "COPY", "--from=build", "--chown="+user[1], "--chmod=0700"); data[5] != volume[1] {
		t.Errorf("the user owns %s and the volume is %s", data[5], volume[1])
	}
	find(t, last, "ENV", "AGENTKEY_DATA_DIR="+volume[1])
	find(t, last, "COPY", "--from=build", "/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt")
	find(t, last, "COPY", "--from=build", "/src/bin/agentkey", "/agentkey")
	var run []string
	for _, name := range []string{"ENTRYPOINT", "CMD"} { // as lists: there is no shell to take them apart
		words, _ := find(t, last, name)
		var part []string
		if err := json.Unmarshal([]byte(strings.Join(words[1:], " ")), &part); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		run = append(run, part...)
	}
	if !slices.Equal(run, []string{"/agentkey", "serve"}) {
		t.Errorf("it runs %q", run)
	}
}

// TestTheImageIsBuiltFromAllThatTheProgramNeeds finds folders that are imported but left out of the
// build.
func TestTheImageIsBuiltFromAllThatTheProgramNeeds(t *testing.T) {
	left := map[string]bool{}
	for line := range strings.Lines(string(read(t, "Dockerfile.dockerignore"))) {
		left[strings.TrimSpace(line)] = true
	}
	if !left["deployments"] || !left[".git"] || !left["**/agentkey-data"] {
		t.Error("secrets, history or data would be sent to the builder")
	}
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imported := range file.Imports {
			ours, is := strings.CutPrefix(strings.Trim(imported.Path.Value, `"`), "agentkey/")
			if folder, _, _ := strings.Cut(ours, "/"); is && left[folder] {
				t.Errorf("%s imports %s, which is left out", path, ours)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
