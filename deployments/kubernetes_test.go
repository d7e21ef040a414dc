package deployments_test

import (
	"maps"
	"net/netip"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// head has the fields of every manifest.
type head struct {
	Kind     string
	Metadata struct {
		Name, Namespace string
		Labels          map[string]string
	}
}

// manifest decodes a manifest into out, and its head.
func manifest(t *testing.T, kind string, out any) head {
	t.Helper()
	raw := read(t, filepath.Join("kubernetes", kind))
	var h head
	if err := yaml.Unmarshal(raw, &h); err != nil {
		t.Fatal(err)
	}
	if err := yaml.Unmarshal(raw, out); err != nil {
		t.Fatal(err)
	}
	return h
}

type labels map[string]string

type selector struct {
	MatchLabels labels `yaml:"matchLabels"`
}

type probe struct {
	HTTPGet struct{ Path, Port string } `yaml:"httpGet"`
}

// pod has the fields of a pod specification that the tests check.
type pod struct {
	ServiceAccountName string `yaml:"serviceAccountName"`
	Automount          *bool  `yaml:"automountServiceAccountToken"`
	ServiceLinks       *bool  `yaml:"enableServiceLinks"`
	SecurityContext    struct {
		RunAsNonRoot   bool                  `yaml:"runAsNonRoot"`
		RunAsUser      string                `yaml:"runAsUser"`
		RunAsGroup     string                `yaml:"runAsGroup"`
		FSGroup        string                `yaml:"fsGroup"`
		SeccompProfile struct{ Type string } `yaml:"seccompProfile"`
	} `yaml:"securityContext"`
	Containers []struct {
		Image   string
		EnvFrom []struct {
			ConfigMap struct{ Name string } `yaml:"configMapRef"`
		} `yaml:"envFrom"`
		Ports []struct {
			Name string
			Port string `yaml:"containerPort"`
		}
		Startup         probe `yaml:"startupProbe"`
		Liveness        probe `yaml:"livenessProbe"`
		Readiness       probe `yaml:"readinessProbe"`
		Resources       struct{ Requests, Limits map[string]string }
		SecurityContext struct {
			Escalation   *bool `yaml:"allowPrivilegeEscalation"`
			ReadOnly     bool  `yaml:"readOnlyRootFilesystem"`
			Capabilities struct{ Drop, Add []string }
		} `yaml:"securityContext"`
		VolumeMounts []struct {
			Name      string
			MountPath string `yaml:"mountPath"`
		} `yaml:"volumeMounts"`
	}
	Volumes []struct {
		Name     string
		EmptyDir any `yaml:"emptyDir"`
		Secret   struct {
			SecretName string `yaml:"secretName"`
		}
	}
}

type deployment struct {
	Spec struct {
		Replicas int
		Selector selector
		Template struct {
			Metadata struct{ Labels labels }
			Spec     pod
		}
	}
}

type settings struct {
	Data       map[string]string
	StringData map[string]string `yaml:"stringData"`
}

func TestEveryManifestIsInTheNamespaceAndUnderItsName(t *testing.T) {
	want := []string{
		"ConfigMap", "Deployment", "Namespace", "NetworkPolicy", "PodDisruptionBudget", "Secret", "Service",
		"ServiceAccount",
	}
	paths, err := filepath.Glob("kubernetes/*")
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, name := range paths {
		h := manifest(t, filepath.Base(name), new(map[string]any))
		kinds = append(kinds, h.Kind)
		if space := h.Metadata.Namespace; h.Metadata.Name != "agentkey" ||
			(space != "agentkey" && h.Kind != "Namespace") {
			t.Errorf("%s is %s in %q", name, h.Metadata.Name, space)
		}
		if file, _, _ := strings.Cut(filepath.Base(name), "."); file != strings.ToLower(h.Kind) {
			t.Errorf("%s holds a %s", name, h.Kind)
		}
		if applied := filepath.Ext(name) == ".yaml"; applied != (h.Kind != "Secret") {
			t.Errorf("kubectl apply on the folder takes %s: %t", name, applied)
		}
	}
	if slices.Sort(kinds); !slices.Equal(kinds, want) {
		t.Errorf("there are %v", kinds)
	}
}

func TestThePodHasNoPrivileges(t *testing.T) {
	var d deployment
	manifest(t, "deployment.yaml", &d)
	spec := d.Spec.Template.Spec
	if spec.Automount == nil || *spec.Automount || spec.ServiceAccountName != "agentkey" {
		t.Error("it gets a token for the cluster")
	}
	if spec.ServiceLinks == nil || *spec.ServiceLinks {
		t.Error("the cluster would set AGENTKEY_… variables that the program refuses")
	}
	context := spec.SecurityContext
	nonRoot(t, "the pod", context.RunAsUser)
	if !context.RunAsNonRoot || context.SeccompProfile.Type != "RuntimeDefault" ||
		context.FSGroup != context.RunAsUser {
		t.Errorf("the pod runs under %+v", context)
	}
	if user, _ := find(t, stages(t)[1], "USER"); user[1] != context.RunAsUser+":"+context.RunAsGroup {
		t.Errorf("the image is for %s and the pod runs as %s:%s", user[1], context.RunAsUser, context.RunAsGroup)
	}
	if d.Spec.Replicas < 2 || len(spec.Containers) != 1 {
		t.Fatalf("%d replicas of %d containers", d.Spec.Replicas, len(spec.Containers))
	}
	c := spec.Containers[0]
	image(t, "the pod", c.Image)
	drop := c.SecurityContext.Capabilities
	if c.SecurityContext.Escalation == nil || *c.SecurityContext.Escalation || !c.SecurityContext.ReadOnly ||
		!slices.Equal(drop.Drop, []string{"ALL"}) || len(drop.Add) > 0 {
		t.Errorf("the container runs under %+v", c.SecurityContext)
	}
	if c.Resources.Limits["memory"] == "" || c.Resources.Requests["cpu"] == "" {
		t.Errorf("the container has no limits: %+v", c.Resources)
	}
	var account struct {
		Automount *bool `yaml:"automountServiceAccountToken"`
	}
	if manifest(t, "serviceaccount.yaml", &account); account.Automount == nil || *account.Automount {
		t.Error("the account hands out its token")
	}
	space := manifest(t, "namespace.yaml", new(any))
	if space.Metadata.Labels["pod-security.kubernetes.io/enforce"] != "restricted" {
		t.Error("the namespace admits more than it needs")
	}
}

func TestNoNetworkIsTrustedToNameAddresses(t *testing.T) {
	var config settings
	manifest(t, "configmap.yaml", &config)
	for item := range strings.SplitSeq(config.Data["AGENTKEY_TRUSTED_PROXIES"], ",") {
		if trusted, err := netip.ParsePrefix(item); err != nil || !trusted.IsSingleIP() {
			t.Errorf("%s is trusted, so an agent in it could claim any address", item)
		}
	}
}

func TestProbesAndPortsMatchTheProgram(t *testing.T) {
	var d deployment
	var config settings
	manifest(t, "deployment.yaml", &d)
	manifest(t, "configmap.yaml", &config)
	c := d.Spec.Template.Spec.Containers[0]
	ports := map[string]string{}
	for _, p := range c.Ports {
		ports[p.Name] = p.Port
	}
	for name, variable := range map[string]string{"http": "AGENTKEY_LISTEN", "metrics": "AGENTKEY_METRICS_LISTEN"} {
		if config.Data[variable] != "0.0.0.0:"+ports[name] {
			t.Errorf("port %s is %s and %s is %s", name, ports[name], variable, config.Data[variable])
		}
	}
	for _, p := range []struct {
		probe probe
		path  string
	}{{c.Startup, "/healthz"}, {c.Liveness, "/healthz"}, {c.Readiness, "/readyz"}} {
		if got := p.probe.HTTPGet; got.Path != p.path || got.Port != "http" || !slices.Contains(served(t), got.Path) {
			t.Errorf("a probe asks %+v, not %s", got, p.path)
		}
	}
	var service struct {
		Spec struct {
			Selector labels
			Ports    []struct {
				Target string `yaml:"targetPort"`
			}
		}
	}
	var budget, policy struct {
		Spec struct {
			Selector    selector
			PodSelector selector `yaml:"podSelector"`
			Minimum     int      `yaml:"minAvailable"`
			PolicyTypes []string `yaml:"policyTypes"`
			Ingress     []struct{ Ports []struct{ Port string } }
		}
	}
	manifest(t, "service.yaml", &service)
	manifest(t, "poddisruptionbudget.yaml", &budget)
	manifest(t, "networkpolicy.yaml", &policy)
	marks := d.Spec.Template.Metadata.Labels
	for name, chosen := range map[string]labels{
		"deployment": d.Spec.Selector.MatchLabels, "service": service.Spec.Selector,
		"budget": budget.Spec.Selector.MatchLabels, "policy": policy.Spec.PodSelector.MatchLabels,
	} {
		if len(chosen) == 0 || !maps.Equal(chosen, marks) {
			t.Errorf("the %s selects %v, but the pod has %v", name, chosen, marks)
		}
	}
	if service.Spec.Ports[0].Target != "http" || budget.Spec.Minimum < 1 || budget.Spec.Minimum >= d.Spec.Replicas {
		t.Errorf("the service sends to %q, and %d of %d replicas must stay",
			service.Spec.Ports[0].Target, budget.Spec.Minimum, d.Spec.Replicas)
	}
	if !slices.Equal(policy.Spec.PolicyTypes, []string{"Ingress", "Egress"}) || len(policy.Spec.Ingress) != len(ports) {
		t.Errorf("the policy says %+v", policy.Spec)
	}
	for _, rule := range policy.Spec.Ingress {
		if !slices.Contains(slices.Collect(maps.Values(ports)), rule.Ports[0].Port) {
			t.Errorf("the policy admits to port %s", rule.Ports[0].Port)
		}
	}
}

func TestEveryFileThatThePodReadsIsInItsSecret(t *testing.T) {
	var d deployment
	var config, secret settings
	manifest(t, "deployment.yaml", &d)
	manifest(t, "configmap.yaml", &config)
	manifest(t, "secret.yaml.example", &secret)
	c := d.Spec.Template.Spec.Containers[0]
	if len(c.EnvFrom) != 1 || c.EnvFrom[0].ConfigMap.Name != "agentkey" {
		t.Errorf("the pod's settings come from %+v", c.EnvFrom)
	}
	mounted := map[string]string{}
	for _, mount := range c.VolumeMounts {
		mounted[mount.Name] = mount.MountPath
	}
	for _, volume := range d.Spec.Template.Spec.Volumes {
		at := mounted[volume.Name]
		if volume.EmptyDir != nil && at != config.Data["AGENTKEY_DATA_DIR"] {
			t.Errorf("the data folder is %s, and %s can be written to", config.Data["AGENTKEY_DATA_DIR"], at)
		}
		if volume.EmptyDir != nil {
			continue
		}
		files := 0
		for variable, file := range config.Data {
			if strings.HasSuffix(variable, "_FILE") {
				files++
				if path.Dir(file) != at || secret.StringData[path.Base(file)] == "" {
					t.Errorf("%s names %s, which doesn't exist", variable, file)
				}
			}
		}
		if files < 5 || volume.Secret.SecretName != "agentkey" {
			t.Errorf("%d files from the secret %s", files, volume.Secret.SecretName)
		}
		for name, value := range secret.StringData {
			for _, word := range strings.FieldsFunc(value, func(r rune) bool { return r == '&' || r == '?' }) {
				_, file, is := strings.Cut(word, "=")
				mounted := path.Dir(file) == at && secret.StringData[path.Base(file)] != ""
				if is && strings.HasPrefix(file, "/") && !mounted {
					t.Errorf("%s names %s, which doesn't exist", name, file)
				}
			}
			if !strings.Contains(value, "REPLACE") {
				t.Errorf("%s looks like a real secret", name)
			}
		}
	}
}
