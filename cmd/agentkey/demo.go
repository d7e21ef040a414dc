package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"agentkey/domain"
)

// demoFile marks a data folder as one of a demo. It is empty until the history is whole.
const demoFile = "demo"

// demoSettings are the settings that a demo takes. Any other could lead it to something real.
var demoSettings = []string{
	"AGENTKEY_LISTEN", "AGENTKEY_MAX_CONNECTIONS", "AGENTKEY_AGENT_CORS_ORIGINS", "AGENTKEY_ADMIN_CORS_ORIGINS",
	"AGENTKEY_METRICS_LISTEN", "AGENTKEY_DASHBOARD_DIR", "AGENTKEY_LIMIT_READS", "AGENTKEY_LIMIT_REQUESTS",
	"AGENTKEY_LIMIT_CREDENTIALS", "AGENTKEY_LIMIT_ADMIN", "AGENTKEY_LIMIT_ADMIN_READS", "AGENTKEY_LIMIT_PREAUTH",
}

// demoFacts is what the demo shows on its start, and the mark of its folder holds.
type demoFacts struct {
	Agent    string `json:"agent"`
	AgentKey string `json:"agent_key"`
	ToolID   string `json:"tool_id"`
}

type demoCommand struct {
	Data string `placeholder:"DIR" type:"path" help:"Keep the demo in this folder, which is empty or holds an earlier demo. Without it, the demo is deleted at the end."`
}

// Run makes a demo, or finds an earlier one, and serves it until the shell's context ends.
func (d *demoCommand) Run(sh *shell) (err error) {
	if err := refuseSettings(sh.environ); err != nil {
		return err
	}
	c, err := LoadConfig(sh.environ)
	if err != nil {
		return err
	}
	made := false
	if d.Data != "" {
		c.DataDir = d.Data
		if made, err = isDemo(c.DataDir); err != nil {
			return err
		}
	}
	if err := vacant(sh.ctx, c); err != nil { // before anything is made
		return err
	}
	if d.Data == "" {
		if c.DataDir, err = os.MkdirTemp("", "agentkey-demo-"); err != nil {
			return fmt.Errorf("make the folder of the demo: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(c.DataDir)) }()
	}
	if !made {
		_, _ = fmt.Fprintf(sh.stdout, "Making a demo with a history of %d days …\n", demoDays)
		if err := os.MkdirAll(c.DataDir, 0o700); err != nil {
			return fmt.Errorf("make the folder of the demo: %w", err)
		}
		if err := writePrivate(filepath.Join(c.DataDir, demoFile), ""); err != nil {
			return err
		}
	}
	logger := newLogger(sh.stderr)
	log, err := OpenLog(sh.ctx, c, false, logger)
	if err != nil {
		return err
	}
	if !made {
		err = makeDemo(sh.ctx, c, log)
	}
	if err == nil {
		err = serve(sh, c, log, logger)
	}
	return errors.Join(err, log.Close())
}

// makeDemo fills the log, then notes in the mark that it is whole.
func makeDemo(ctx context.Context, c Config, log *openLog) error {
	facts, err := makeHistory(ctx, c, log.Client, time.Now())
	if err != nil {
		return fmt.Errorf("make the history of the demo: %w", err)
	}
	text, err := json.Marshal(facts)
	if err != nil {
		return err
	}
	return writePrivate(filepath.Join(c.DataDir, demoFile), string(text)+"\n")
}

// refuseSettings names every setting that a demo doesn't take.
func refuseSettings(environ []string) error {
	var refused []string
	for _, entry := range environ {
		name, text, _ := strings.Cut(entry, "=")
		known := slices.ContainsFunc(settings, func(s setting) bool { return s.name == name })
		ours := strings.HasPrefix(name, "AGENTKEY_") && !slices.Contains(clientVariables, name)
		if text != "" && (ours || known) && !slices.Contains(demoSettings, name) {
			refused = append(refused, name)
		}
	}
	if len(refused) == 0 {
		return nil
	}
	slices.Sort(refused)
	return usageError{fmt.Errorf(
		"a demo uses nothing of a real installation, so it doesn't take %s: unset what you have set, and name a folder with --data",
		strings.Join(slices.Compact(refused), ", "),
	)}
}

// isDemo reports whether a folder has a demo already. It refuses one that holds anything else.
func isDemo(dir string) (bool, error) {
	facts, err := readDemo(dir)
	if err != nil || facts != nil {
		return facts != nil, err
	}
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(entries) == 0 {
		return false, nil
	}
	if err != nil {
		return false, usageError{fmt.Errorf("read the folder of the demo: %w", err)}
	}
	return false, usageError{fmt.Errorf(
		"%s isn't empty and holds no demo: name an empty folder, or one that agentkey demo has made", dir,
	)}
}

// readDemo returns what the mark of a data folder holds, nil where the folder is none of a demo.
func readDemo(dir string) (*demoFacts, error) {
	path := filepath.Join(dir, demoFile)
	text, err := os.ReadFile(path) //nolint:gosec // the operator names the folder
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // most folders have no mark
	}
	if err != nil {
		return nil, fmt.Errorf("read the mark of the demo: %w", err)
	}
	var facts demoFacts
	if err := json.Unmarshal(text, &facts); err != nil {
		return nil, fmt.Errorf("the demo in %s was not finished: delete the folder, and make another one", dir)
	}
	return &facts, nil
}

// showDemo prints how to look around in a demo.
func showDemo(sh *shell, c Config, parts parts, first, listens string, facts demoFacts) error {
	base := "http://" + listens
	_, _ = fmt.Fprintf(sh.stdout, "This is a demo: its people, agents and credentials are made up.\n")
	if err := offerSignIn(sh, c, parts, first, listens); err != nil {
		return err
	}
	_, err := fmt.Fprintf(
		sh.stdout, "Or call as the %s, with the token in %s:\ncurl %s/api/admin/summary -H 'Authorization: Bearer %s'\n",
		domain.RoleOwner, filepath.Join(c.DataDir, firstTokenFile), base, firstToken(c),
	)
	if err == nil {
		_, err = fmt.Fprintf(
			sh.stdout, "Call as the agent %s:\ncurl %s/api/tools -H 'Authorization: Bearer %s'\n"+
				"curl %s/api/tools/%s/credentials -H 'Authorization: Bearer %s'\n",
			facts.Agent, base, facts.AgentKey, base, facts.ToolID, facts.AgentKey,
		)
	}
	return err
}

// firstToken is the first admin token, or where to put another one.
func firstToken(c Config) string {
	text, err := os.ReadFile(filepath.Join(c.DataDir, firstTokenFile))
	if err != nil {
		return "TOKEN"
	}
	return strings.TrimSpace(string(text))
}
