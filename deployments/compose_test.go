package deployments_test

import (
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// compose has the fields of a compose file that ours use.
type compose struct {
	Name     string
	Services map[string]service
	Networks map[string]struct {
		Internal bool
		IPAM     struct{ Config []struct{ Subnet string } }
	}
	Volumes    map[string]any
	Secrets    map[string]struct{ File string }
	Extensions map[string]yaml.Node `yaml:",inline"`
}

type service struct {
	Image       string
	Build       struct{ Context, Dockerfile string }
	User        string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	CapAdd      []string `yaml:"cap_add"`
	SecurityOpt []string `yaml:"security_opt"`
	Entrypoint  []string
	Command     []string
	Environment map[string]string
	Networks    names
	NetworkMode string `yaml:"network_mode"`
	Ports       []string
	Volumes     []string
	Tmpfs       []string
	ShmSize     string `yaml:"shm_size"`
	Secrets     []string
	DependsOn   names `yaml:"depends_on"`
	Healthcheck struct {
		Test              []string
		Interval, Timeout string
		Retries           int
	}
	Restart         string
	Logging         struct{ Driver, Options any }
	StopGracePeriod string  `yaml:"stop_grace_period"`
	MemLimit        string  `yaml:"mem_limit"`
	CPUs            float64 `yaml:"cpus"`
	PidsLimit       int     `yaml:"pids_limit"`
}

// names is a list of names, or a map from a name to its details.
type names map[string]struct {
	Condition string
	Address   string `yaml:"ipv4_address"`
}

func (n *names) UnmarshalYAML(node *yaml.Node) error {
	var list []string
	if err := node.Decode(&list); err != nil {
		type plain names
		return node.Decode((*plain)(n))
	}
	*n = names{}
	for _, name := range list {
		(*n)[name] = names{}[name]
	}
	return nil
}

var composeFiles = []string{"compose.yaml", "eventstoredb/compose.yaml"}

func TestEveryServiceIsConfined(t *testing.T) {
	// .NET writes anywhere, and es-gencert-cli into the mounted folder.
	writes := []string{"eventstore", "node1", "node2", "node3", "certificates"}
	for _, path := range composeFiles {
		for name, s := range decode[compose](t, path).Services {
			image(t, name, s.Image)
			user := regexp.MustCompile(`^\$\{\w+:-(.*)\}$`).ReplaceAllString(s.User, "$1")
			nonRoot(t, name, user)
			if !slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
				t.Errorf("%s keeps privileges", name)
			}
			if len(s.CapAdd) > 0 && (name != "entry" || !slices.Equal(s.CapAdd, []string{"NET_BIND_SERVICE"})) {
				t.Errorf("%s gets %v", name, s.CapAdd)
			}
			if !s.ReadOnly && !slices.Contains(writes, name) {
				t.Errorf("%s may write to its image", name)
			}
			if s.MemLimit == "" || s.CPUs == 0 || s.PidsLimit == 0 {
				t.Errorf("%s has no limits", name)
			}
		}
	}
}

func TestNothingIsPublishedButTheEntryOnLoopback(t *testing.T) {
	c := decode[compose](t, "compose.yaml")
	for name, s := range c.Services {
		for _, port := range s.Ports {
			if name != "entry" || !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s", name, port)
			}
		}
		for network := range s.Networks {
			if replica := s.Image == "agentkey:local"; name != "entry" && !replica && !c.Networks[network].Internal {
				t.Errorf("%s reaches the outside through %s", name, network)
			}
		}
	}
	if len(c.Services["entry"].Ports) == 0 {
		t.Error("the entry publishes nothing")
	}
	for name, s := range decode[compose](t, "eventstoredb/compose.yaml").Services {
		for _, port := range s.Ports {
			if !strings.HasPrefix(port, "127.0.0.1:") {
				t.Errorf("%s publishes %s", name, port)
			}
		}
	}
}

func TestWhatAServiceNamesIsThere(t *testing.T) {
	for _, path := range composeFiles {
		c := decode[compose](t, path)
		dir := filepath.Dir(path)
		onDisk := func(name string) {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil && name != "./certs" {
				t.Errorf("%s: %v", path, err)
			}
		}
		used := map[string]bool{}
		for name, s := range c.Services {
			if s.Build.Context != "" {
				onDisk(filepath.Join(s.Build.Context, s.Build.Dockerfile))
			}
			for _, volume := range s.Volumes {
				from, _, _ := strings.Cut(volume, ":")
				used["volume "+from] = true
				if _, named := c.Volumes[from]; strings.HasPrefix(from, "./") {
					onDisk(from)
				} else if !named {
					t.Errorf("%s: the volume %s is not declared", name, from)
				}
			}
			for network := range s.Networks {
				if _, is := c.Networks[network]; !is {
					t.Errorf("%s: the network %s is not declared", name, network)
				}
			}
			for _, secret := range s.Secrets {
				used["secret "+secret] = true
				if _, is := c.Secrets[secret]; !is {
					t.Errorf("%s: the secret %s is not declared", name, secret)
				}
			}
			for variable, value := range s.Environment {
				secret, is := strings.CutPrefix(value, "/run/secrets/")
				given := is && slices.Contains(s.Secrets, secret)
				if strings.HasSuffix(variable, "_FILE") && strings.HasPrefix(value, "/run/") && !given {
					t.Errorf("%s: %s names %s, which the service doesn't get", name, variable, value)
				}
			}
			for other, on := range s.DependsOn {
				before, is := c.Services[other]
				if !is || (on.Condition == "service_healthy" && len(before.Healthcheck.Test) == 0) {
					t.Errorf("%s waits for %s, which does not exist or has no health check", name, other)
				}
			}
		}
		for name := range c.Volumes {
			if !used["volume "+name] {
				t.Errorf("no service uses the volume %s", name)
			}
		}
		for name := range c.Extensions {
			if !strings.HasPrefix(name, "x-") {
				t.Errorf("%s: compose has no section %s", path, name)
			}
		}
		page := string(read(t, "../docs/deployment.md"))
		for name, secret := range c.Secrets {
			file, under := strings.CutPrefix(secret.File, "./secrets/")
			documented := regexp.MustCompile(`> (secrets/)?` + name + `\n`).MatchString(page)
			if !used["secret "+name] || !under || file != name || !documented {
				t.Errorf("the secret %s is unused, is elsewhere, or the page doesn't say how to create it", name)
			}
		}
	}
	if !strings.Contains(string(read(t, ".gitignore")), "/secrets/\n") {
		t.Error("git would track the secrets")
	}
}

// TestTheEntryAsksReplicasWhetherTheyAreReady reads the Caddyfile as lines: addresses, the health
// check and trusted proxies.
func TestTheEntryAsksReplicasWhetherTheyAreReady(t *testing.T) {
	c := decode[compose](t, "compose.yaml")
	caddy := string(read(t, "caddy/Caddyfile"))
	health := regexp.MustCompile(`(?m)^\s*health_uri (\S+)$`).FindStringSubmatch(caddy)
	if health == nil || health[1] != "/readyz" || !slices.Contains(served(t), health[1]) {
		t.Errorf("the entry asks %v", health)
	}
	proxy := regexp.MustCompile(`(?m)^\s*reverse_proxy(?: @\w+)?((?: [\w-]+:\d+)+) ?\{?$`)
	proxied := proxy.FindAllStringSubmatch(caddy, -1)
	if len(proxied) != strings.Count(caddy, "reverse_proxy ") {
		t.Errorf("the entry has %d proxies, and %d can be read", strings.Count(caddy, "reverse_proxy "), len(proxied))
	}
	replicas := 0
	for _, line := range proxied {
		for upstream := range strings.FieldsSeq(line[1]) {
			host, port, _ := strings.Cut(upstream, ":")
			s, is := c.Services[host]
			if !is || (host != "grafana" && !strings.HasSuffix(s.Environment["AGENTKEY_LISTEN"], ":"+port)) {
				t.Errorf("the entry sends calls to %s, where nothing listens", upstream)
			}
			shares := func(network string) bool { _, both := c.Services["entry"].Networks[network]; return both }
			if !slices.ContainsFunc(slices.Collect(maps.Keys(s.Networks)), shares) {
				t.Errorf("the entry does not reach %s", host)
			}
		}
	}
	entry, err := netip.ParseAddr(c.Services["entry"].Networks["edge"].Address)
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range c.Services {
		if s.Image != "agentkey:local" {
			continue
		}
		replicas++
		if s.Environment["AGENTKEY_TRUSTED_PROXIES"] != netip.PrefixFrom(entry, 32).String() {
			t.Errorf("%s trusts %s, but the entry is %s", name, s.Environment["AGENTKEY_TRUSTED_PROXIES"], entry)
		}
		if !strings.Contains(proxied[0][1], " "+name+":") {
			t.Errorf("%s gets no calls", name)
		}
	}
	if subnet := netip.MustParsePrefix(c.Networks["edge"].IPAM.Config[0].Subnet); replicas < 2 ||
		!subnet.Contains(entry) {
		t.Errorf("%d replicas; the entry's address %s in %s", replicas, entry, subnet)
	}
}

func TestPrometheusAsksWhereMetricsAre(t *testing.T) {
	c := decode[compose](t, "compose.yaml")
	var config struct {
		RuleFiles     []string `yaml:"rule_files"`
		ScrapeConfigs []struct {
			Job    string                       `yaml:"job_name"`
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal(read(t, "prometheus/prometheus.yaml"), &config); err != nil {
		t.Fatal(err)
	}
	for _, file := range config.RuleFiles {
		read(t, filepath.Join("prometheus", file))
	}
	asked := map[string]bool{}
	for _, scrape := range config.ScrapeConfigs {
		for _, target := range scrape.Static[0].Targets {
			host, port, _ := strings.Cut(target, ":")
			asked[host] = true
			switch scrape.Job {
			case "agentkey":
				if !strings.HasSuffix(c.Services[host].Environment["AGENTKEY_METRICS_LISTEN"], ":"+port) {
					t.Errorf("%s has no metrics on %s", host, port)
				}
			case "eventstore":
				if c.Services[host].Image == "" {
					t.Errorf("there is no %s", host)
				}
			}
		}
	}
	for name, s := range c.Services {
		if s.Image == "agentkey:local" && !asked[name] {
			t.Errorf("Prometheus doesn't scrape %s", name)
		}
	}
}
