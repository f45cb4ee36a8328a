package kubernetes

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// gate is one container that runs our binary, and what its command line says.
type gate struct {
	command   string            // authz or ratelimit
	flags     map[string]string // without the dashes
	container corev1.Container
}

func gates(t *testing.T, folder string) []gate {
	t.Helper()
	var found []gate
	for _, deployment := range render(t, folder).deployments {
		pod := deployment.Spec.Template.Spec
		for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
			if !strings.HasPrefix(container.Image, "ghcr.io/sallyport-dev/sallyport:") {
				continue
			}
			g := gate{command: container.Args[0], flags: map[string]string{}, container: container}
			for _, arg := range container.Args[1:] {
				name, value, hasValue := strings.Cut(strings.TrimPrefix(arg, "--"), "=")
				if !hasValue || !strings.HasPrefix(arg, "--") {
					t.Errorf("%s: container %s: the argument %q is not --name=value", folder, container.Name, arg)
				}
				g.flags[name] = value
			}
			found = append(found, g)
		}
	}
	if len(found) == 0 {
		t.Fatalf("%s runs no gate", folder)
	}
	return found
}

// binary is the sallyport that was built from this tree. A missing one fails the test.
func binary(t *testing.T) string {
	t.Helper()
	path := os.Getenv("SALLYPORT_BIN")
	if path == "" {
		path = filepath.Join(root, "build", "bin", "sallyport")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no binary at %s: run make build", path)
	}
	return path
}

// Every flag of the manifests is a flag of the command.
func TestFlagsExist(t *testing.T) {
	flag := regexp.MustCompile(`(?m)^\s+(?:-\w, )?--([a-z0-9-]+)`)
	for _, folder := range folders {
		for _, gate := range gates(t, folder) {
			help, err := exec.Command(binary(t), gate.command, "--help").CombinedOutput()
			if err != nil {
				t.Fatalf("sallyport %s --help: %v\n%s", gate.command, err, help)
			}
			var known []string
			for _, match := range flag.FindAllStringSubmatch(string(help), -1) {
				known = append(known, match[1])
			}
			for name := range gate.flags {
				if !slices.Contains(known, name) {
					t.Errorf("%s: sallyport %s has no --%s, it has %v", folder, gate.command, name, known)
				}
			}
		}
	}
}

// A gate off loopback asks for a client certificate and knows whom it serves; beside its app it stands on loopback
// and serves that app only. Neither says that somebody else encrypts.
func TestGatesAreNotOracles(t *testing.T) {
	for _, folder := range folders {
		for _, gate := range gates(t, folder) {
			if _, plain := gate.flags["plaintext"]; plain {
				t.Errorf("%s: %s listens in plaintext", folder, gate.command)
			}
			if strings.HasPrefix(gate.flags["listen"], "127.0.0.1:") {
				if gate.flags["service"] == "" {
					t.Errorf("%s: %s beside an app serves every service", folder, gate.command)
				}
				continue
			}
			for _, name := range []string{"tls-cert", "tls-key", "tls-client-ca", "tls-client-ids"} {
				if gate.flags[name] == "" {
					t.Errorf("%s: %s off loopback without --%s", folder, gate.command, name)
				}
			}
		}
	}
}

// The limiter's store is named, its password is a file and not in the URL, and --replicas is the number of replicas.
func TestStore(t *testing.T) {
	base := render(t, "k8s/base")
	for _, gate := range gates(t, "k8s/base") {
		if gate.command != "ratelimit" {
			continue
		}
		if !strings.HasPrefix(gate.flags["store"], "rediss://") || strings.Contains(gate.flags["store"], "@") {
			t.Errorf("--store=%s", gate.flags["store"])
		}
		if gate.flags["store-password-file"] == "" {
			t.Error("no --store-password-file")
		}
		if replicas := *base.deployments["sallyport-ratelimit"].Spec.Replicas; gate.flags["replicas"] != string('0'+replicas) {
			t.Errorf("--replicas=%s of %d", gate.flags["replicas"], replicas)
		}
		return
	}
	t.Error("the base runs no limiter")
}

// Every file that a flag names lies under a mount.
func TestFlagsNameMountedFiles(t *testing.T) {
	for _, folder := range folders {
		for _, gate := range gates(t, folder) {
			for name, value := range gate.flags {
				if !strings.HasPrefix(value, "/") {
					continue
				}
				if !slices.ContainsFunc(gate.container.VolumeMounts, func(m corev1.VolumeMount) bool {
					return value == m.MountPath || strings.HasPrefix(value, m.MountPath+"/")
				}) {
					t.Errorf("%s: %s: --%s=%s is not mounted", folder, gate.command, name, value)
				}
			}
		}
	}
}

// The ConfigMaps hold files that the binary itself finds valid.
func TestConfigMapsAreValid(t *testing.T) {
	for _, folder := range folders {
		for name, configMap := range render(t, folder).configMaps {
			dir := t.TempDir()
			for file, text := range configMap.Data {
				if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			kind := "policy"
			if strings.HasSuffix(name, "-limits") {
				kind = "limits"
			}
			if output, err := exec.Command(binary(t), kind, "check", dir).CombinedOutput(); err != nil {
				t.Errorf("%s: ConfigMap %s: sallyport %s check: %v\n%s", folder, name, kind, err, output)
			}
		}
	}
}

// kustomize reads no file outside its folder, so the shipped limits stand there as copies.
func TestLimitsAreTheShippedOnes(t *testing.T) {
	limits := render(t, "k8s/base").configMaps["sallyport-limits"].Data
	shipped, err := filepath.Glob(filepath.Join(root, "envoy", "limits", "*.yaml"))
	if err != nil || len(shipped) != len(limits) {
		t.Fatalf("%d shipped, %d here: %v", len(shipped), len(limits), err)
	}
	for _, path := range shipped {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if limits[filepath.Base(path)] != string(want) {
			t.Errorf("%s differs from its copy in k8s/base: copy it again", path)
		}
	}
}
