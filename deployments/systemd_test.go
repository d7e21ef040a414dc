package deployments_test

import (
	"slices"
	"strings"
	"testing"
)

// unit reads a unit file: the list of values of each key in each section.
func unit(t *testing.T, path string) map[string]map[string][]string {
	t.Helper()
	out := map[string]map[string][]string{}
	section := ""
	for line := range strings.Lines(string(read(t, path))) {
		line = strings.TrimSpace(line)
		switch {
		case line == "" || line[0] == '#' || line[0] == ';':
		case line[0] == '[' && line[len(line)-1] == ']':
			section = line[1 : len(line)-1]
			out[section] = map[string][]string{}
		default:
			key, value, is := strings.Cut(line, "=")
			if !is || section == "" {
				t.Fatalf("%s: %q isn't a setting in a section", path, line)
			}
			out[section][key] = append(out[section][key], value)
		}
	}
	return out
}

func TestTheUnitIsHardened(t *testing.T) {
	service := unit(t, "systemd/agentkey.service")["Service"]
	for key, want := range map[string][]string{
		"NoNewPrivileges": {"yes"}, "ProtectSystem": {"strict"}, "ProtectHome": {"yes"}, "PrivateTmp": {"yes"},
		"PrivateDevices": {"yes"}, "ProtectKernelTunables": {"yes"}, "ProtectKernelModules": {"yes"},
		"ProtectKernelLogs": {"yes"}, "ProtectControlGroups": {"yes"}, "RestrictNamespaces": {"yes"},
		"RestrictSUIDSGID": {"yes"}, "LockPersonality": {"yes"}, "MemoryDenyWriteExecute": {"yes"},
		"RestrictAddressFamilies": {"AF_UNIX AF_INET AF_INET6"}, "CapabilityBoundingSet": {""},
		"AmbientCapabilities": {""}, "SystemCallFilter": {"@system-service", "~@privileged @resources"},
		"SystemCallArchitectures": {"native"}, "UMask": {"0077"}, "LimitCORE": {"0"}, "StateDirectory": {"agentkey"},
		"StateDirectoryMode": {"0700"}, "RestartPreventExitStatus": {"2"},
		"ExecStart": {"/usr/local/bin/agentkey serve"},
	} {
		if !slices.Equal(service[key], want) {
			t.Errorf("%s is %q, not %q", key, service[key], want)
		}
	}
	user := service["User"]
	users := string(read(t, "systemd/agentkey.sysusers"))
	if len(user) != 1 || user[0] == "root" || !strings.Contains(users, "\nu "+user[0]+" ") {
		t.Errorf("it runs as %q, which nothing creates", user)
	}
}

func TestTheUnitProvidesTheFilesOfItsSettings(t *testing.T) {
	service := unit(t, "systemd/agentkey.service")["Service"]
	var credentials []string
	for _, line := range service["LoadCredential"] {
		name, _, _ := strings.Cut(line, ":")
		credentials = append(credentials, name)
	}
	used := 0
	for _, line := range service["Environment"] {
		variable, value, _ := strings.Cut(line, "=")
		if name, is := strings.CutPrefix(value, "%d/"); is {
			used++
			if !slices.Contains(credentials, name) || !strings.HasSuffix(variable, "_FILE") {
				t.Errorf("%s names %s, and credentials are %v", variable, name, credentials)
			}
		}
		if variable == "AGENTKEY_DATA_DIR" && value != "%S/"+service["StateDirectory"][0] {
			t.Errorf("the data folder is %s", value)
		}
		if strings.HasSuffix(variable, "_LISTEN") && !strings.HasPrefix(value, "127.0.0.1:") {
			t.Errorf("%s is on a network", line)
		}
	}
	page := string(read(t, "../docs/deployment.md"))
	for _, line := range service["LoadCredential"] {
		if _, path, _ := strings.Cut(line, ":"); !strings.Contains(page, "> "+path+"'") {
			t.Errorf("the page doesn't say how to create %s", path)
		}
	}
	if used != len(credentials) || used == 0 {
		t.Errorf("%d of %d credentials are used", used, len(credentials))
	}
}
