package kubernetes

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const root = "../.."

// folders are the kustomizations that are shipped; a test holds the list to the disk.
var folders = []string{"k8s/base", "k8s/overlays/sidecar"}

// cluster is what a kustomization makes, by kind and name.
type cluster struct {
	namespaces  map[string]*corev1.Namespace
	accounts    map[string]*corev1.ServiceAccount
	services    map[string]*corev1.Service
	configMaps  map[string]*corev1.ConfigMap
	deployments map[string]*appsv1.Deployment
	budgets     map[string]*policyv1.PodDisruptionBudget
	policies    map[string]*networkingv1.NetworkPolicy
}

// render makes a kustomization and decodes each object strictly: a field that the API does not have is an error, and
// not, as in a cluster, a line that does nothing.
func render(t *testing.T, folder string) cluster {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(root, folder))
	if err != nil {
		t.Fatalf("%s: %v", folder, err)
	}
	c := cluster{
		map[string]*corev1.Namespace{}, map[string]*corev1.ServiceAccount{}, map[string]*corev1.Service{}, map[string]*corev1.ConfigMap{},
		map[string]*appsv1.Deployment{}, map[string]*policyv1.PodDisruptionBudget{}, map[string]*networkingv1.NetworkPolicy{},
	}
	for _, resource := range resources.Resources() {
		text, err := resource.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := c.add(resource.GetApiVersion()+"/"+resource.GetKind(), text); err != nil {
			t.Errorf("%s: %s %s: %v", folder, resource.GetKind(), resource.GetName(), err)
		}
	}
	return c
}

func (c cluster) add(kind string, text []byte) error {
	switch kind {
	case "v1/Namespace":
		return decode(text, c.namespaces)
	case "v1/ServiceAccount":
		return decode(text, c.accounts)
	case "v1/Service":
		return decode(text, c.services)
	case "v1/ConfigMap":
		return decode(text, c.configMaps)
	case "apps/v1/Deployment":
		return decode(text, c.deployments)
	case "policy/v1/PodDisruptionBudget":
		return decode(text, c.budgets)
	case "networking.k8s.io/v1/NetworkPolicy":
		return decode(text, c.policies)
	}
	return fmt.Errorf("no test knows the kind %s", kind)
}

func decode[T any, P interface {
	*T
	metav1.Object
}](text []byte, into map[string]P) error {
	object := P(new(T))
	if err := yaml.UnmarshalStrict(text, object); err != nil {
		return err
	}
	into[object.GetName()] = object
	return nil
}

func TestEveryKustomizationIsTested(t *testing.T) {
	var onDisk []string
	err := filepath.WalkDir(filepath.Join(root, "k8s"), func(path string, entry os.DirEntry, err error) error {
		if err == nil && entry.Name() == "kustomization.yaml" {
			folder, relErr := filepath.Rel(root, filepath.Dir(path))
			onDisk = append(onDisk, folder)
			return relErr
		}
		return err
	})
	if err != nil || !slices.Equal(onDisk, folders) {
		t.Errorf("kustomizations %v, tested %v: %v", onDisk, folders, err)
	}
}

// A field that does not exist is found, at any depth: otherwise the decoding above proves nothing.
func TestDecodingIsStrict(t *testing.T) {
	for _, text := range []string{
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replica: 2}",
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: a, readinessProb: {}}]}}}",
		"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: 2, replicas: 3}",
	} {
		if decode([]byte(text), map[string]*appsv1.Deployment{}) == nil {
			t.Errorf("accepted:\n%s", text)
		}
	}
}

// What every container of ours may do is the least that works.
func TestContainersAreLockedDown(t *testing.T) {
	for _, folder := range folders {
		seen := 0
		for name, deployment := range render(t, folder).deployments {
			pod := deployment.Spec.Template.Spec
			if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
				t.Errorf("%s: %s gets a token of the API server", folder, name)
			}
			for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
				seen++
				for _, problem := range unlocked(pod.SecurityContext, container) {
					t.Errorf("%s: %s: container %s: %s", folder, name, container.Name, problem)
				}
			}
		}
		if seen == 0 {
			t.Errorf("%s has no container", folder)
		}
	}
}

func unlocked(pod *corev1.PodSecurityContext, container corev1.Container) []string {
	own := container.SecurityContext
	if own == nil {
		return []string{"no security context"}
	}
	if pod == nil {
		pod = &corev1.PodSecurityContext{}
	}
	var problems []string
	note := func(wrong bool, what string) {
		if wrong {
			problems = append(problems, what)
		}
	}
	nonRoot, seccomp := pod.RunAsNonRoot, pod.SeccompProfile
	if own.RunAsNonRoot != nil {
		nonRoot = own.RunAsNonRoot
	}
	if own.SeccompProfile != nil {
		seccomp = own.SeccompProfile
	}
	note(nonRoot == nil || !*nonRoot, "may run as root")
	note(seccomp == nil || seccomp.Type != corev1.SeccompProfileTypeRuntimeDefault, "no seccomp profile")
	note(own.ReadOnlyRootFilesystem == nil || !*own.ReadOnlyRootFilesystem, "may write to its root")
	note(own.AllowPrivilegeEscalation == nil || *own.AllowPrivilegeEscalation, "may gain privileges")
	note(own.Privileged != nil && *own.Privileged, "is privileged")
	note(own.Capabilities == nil || !slices.Equal(own.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(own.Capabilities.Add) > 0, "keeps capabilities")
	note(container.Resources.Requests.Cpu().IsZero() || container.Resources.Requests.Memory().IsZero(), "asks for no resources")
	note(strings.HasSuffix(container.Image, ":latest") || !strings.Contains(container.Image, ":"), "has an image without a version: "+container.Image)
	return problems
}

// Two gates, two replicas of each, spread over nodes and zones, one always up, each replica an address of its own.
func TestBaseSurvivesTheLossOfANode(t *testing.T) {
	base := render(t, "k8s/base")
	for name, port := range map[string]int32{"sallyport-authz": 9191, "sallyport-ratelimit": 8081} {
		deployment, service, budget := base.deployments[name], base.services[name], base.budgets[name]
		if deployment == nil || service == nil || budget == nil || base.accounts[name] == nil || base.policies[name] == nil {
			t.Errorf("%s lacks its deployment, service, account, budget or network policy", name)
			continue
		}
		pod := deployment.Spec.Template
		if *deployment.Spec.Replicas != 2 || deployment.Spec.Strategy.RollingUpdate.MaxUnavailable.IntValue() != 0 {
			t.Errorf("%s: %d replicas, of which an update takes away %v", name, *deployment.Spec.Replicas, deployment.Spec.Strategy.RollingUpdate.MaxUnavailable)
		}
		if *budget.Spec.MinAvailable != intstr.FromInt32(1) {
			t.Errorf("%s: a drain leaves %v", name, budget.Spec.MinAvailable)
		}
		var over []string
		for _, spread := range pod.Spec.TopologySpreadConstraints {
			over = append(over, spread.TopologyKey)
			if !selects(t, spread.LabelSelector, pod.Labels) {
				t.Errorf("%s: the spread over %s does not select the pods", name, spread.TopologyKey)
			}
		}
		if !slices.Equal(over, []string{"kubernetes.io/hostname", "topology.kubernetes.io/zone"}) {
			t.Errorf("%s spreads over %v", name, over)
		}
		for what, selector := range map[string]*metav1.LabelSelector{
			"deployment": deployment.Spec.Selector, "budget": budget.Spec.Selector,
			"network policy": &base.policies[name].Spec.PodSelector, "service": {MatchLabels: service.Spec.Selector},
		} {
			if !selects(t, selector, pod.Labels) {
				t.Errorf("%s: the %s does not select the pods", name, what)
			}
		}
		checkHeadless(t, service, port)
		if pod.Spec.ServiceAccountName != name {
			t.Errorf("%s runs as %q", name, pod.Spec.ServiceAccountName)
		}
	}
}

func selects(t *testing.T, selector *metav1.LabelSelector, pod map[string]string) bool {
	t.Helper()
	parsed, err := metav1.LabelSelectorAsSelector(selector)
	if err != nil {
		t.Fatal(err)
	}
	return !parsed.Empty() && parsed.Matches(labels.Set(pod))
}

// DNS of a headless Service gives the pods' addresses, so Envoy must use the pods' own port.
func checkHeadless(t *testing.T, service *corev1.Service, port int32) {
	t.Helper()
	if service.Spec.ClusterIP != corev1.ClusterIPNone {
		t.Errorf("service %s has an address of its own: one connection, one replica", service.Name)
	}
	if len(service.Spec.Ports) != 1 || service.Spec.Ports[0].Port != port || *service.Spec.Ports[0].AppProtocol != "grpc" {
		t.Errorf("service %s: ports %v", service.Name, service.Spec.Ports)
	}
}

// Probes are HTTP on the admin port, which therefore listens on the pod's address.
func TestProbes(t *testing.T) {
	for _, folder := range folders {
		for _, gate := range gates(t, folder) {
			c := gate.container
			for name, probe := range map[string]struct {
				probe *corev1.Probe
				path  string
			}{"startup": {c.StartupProbe, "/readyz"}, "readiness": {c.ReadinessProbe, "/readyz"}, "liveness": {c.LivenessProbe, "/healthz"}} {
				if probe.probe == nil || probe.probe.HTTPGet == nil || probe.probe.HTTPGet.Path != probe.path {
					t.Errorf("%s: container %s: %s probe %v", folder, c.Name, name, probe.probe)
					continue
				}
				if got, want := portOf(c, probe.probe.HTTPGet.Port), gate.flags["admin"]; want != fmt.Sprintf("0.0.0.0:%d", got) {
					t.Errorf("%s: container %s: %s probe asks port %d, the admin port listens on %s", folder, c.Name, name, got, want)
				}
			}
		}
	}
}

func portOf(container corev1.Container, port intstr.IntOrString) int32 {
	for _, declared := range container.Ports {
		if port.Type == intstr.String && declared.Name == port.StrVal {
			return declared.ContainerPort
		}
	}
	return port.IntVal
}

// Each volume is there and each mount has one; each ConfigMap that is mounted is made here; nothing is a subPath,
// which would never see a change; no secret is readable by others.
func TestVolumes(t *testing.T) {
	for _, folder := range folders {
		c := render(t, folder)
		for name, deployment := range c.deployments {
			pod := deployment.Spec.Template.Spec
			volumes := map[string]corev1.Volume{}
			for _, volume := range pod.Volumes {
				volumes[volume.Name] = volume
				if volume.ConfigMap != nil && c.configMaps[volume.ConfigMap.Name] == nil {
					t.Errorf("%s: %s mounts the ConfigMap %s, which nothing makes", folder, name, volume.ConfigMap.Name)
				}
				if volume.Secret != nil && (volume.Secret.DefaultMode == nil || *volume.Secret.DefaultMode != 0o440) {
					t.Errorf("%s: %s: the secret %s has mode %v", folder, name, volume.Secret.SecretName, volume.Secret.DefaultMode)
				}
			}
			mounted := map[string]bool{}
			for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
				for _, mount := range container.VolumeMounts {
					mounted[mount.Name] = true
					if _, there := volumes[mount.Name]; !there || !mount.ReadOnly || mount.SubPath != "" {
						t.Errorf("%s: %s: container %s: mount %+v", folder, name, container.Name, mount)
					}
				}
			}
			if len(mounted) != len(volumes) {
				t.Errorf("%s: %s: volumes %v, mounted %v", folder, name, volumes, mounted)
			}
		}
	}
}

// Only Envoys reach the gates and only Prometheus the admin port; what goes out is named.
func TestNetworkPolicies(t *testing.T) {
	for name, policy := range render(t, "k8s/base").policies {
		if !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeIngress) || !slices.Contains(policy.Spec.PolicyTypes, networkingv1.PolicyTypeEgress) {
			t.Errorf("%s leaves a direction open", name)
		}
		for _, rule := range policy.Spec.Ingress {
			if len(rule.From) == 0 || len(rule.Ports) == 0 {
				t.Errorf("%s lets everybody in: %v", name, rule)
			}
		}
		for _, rule := range policy.Spec.Egress {
			if len(rule.Ports) == 0 {
				t.Errorf("%s lets everything out: %v", name, rule)
			}
		}
	}
}
