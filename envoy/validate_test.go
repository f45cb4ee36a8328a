package envoy

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// envoyBinary finds the real Envoy. A missing one fails the test: a configuration that no Envoy has read proves nothing.
func envoyBinary(t testing.TB) string {
	t.Helper()
	path := os.Getenv("SALLYPORT_ENVOY")
	if path == "" {
		path = filepath.Join(moduleRoot(t), "build", "tools", "bin", "envoy")
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no Envoy at %s: run make tools, or set SALLYPORT_ENVOY", path)
	}
	return path
}

func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			t.Fatal("no go.mod above this folder")
		}
		dir = parent
	}
}

// validate asks the real Envoy whether it would start with this configuration.
func validate(t testing.TB, rendered []byte) ([]byte, error) {
	t.Helper()
	config := filepath.Join(t.TempDir(), "envoy.yaml")
	if err := os.WriteFile(config, rendered, 0o600); err != nil {
		t.Fatal(err)
	}
	return exec.Command(envoyBinary(t), "--mode", "validate", "--log-level", "error", "-c", config).CombinedOutput()
}

// Each file, filled in, is accepted by the pinned Envoy, with IPv6 addresses and DNS names for the gates as well.
func TestEnvoyAcceptsEveryFile(t *testing.T) {
	mesh := newMesh(t)
	for _, file := range Files() {
		for _, host := range []string{"127.0.0.1", "::1", "localhost"} {
			values := mesh.values(t, file)
			for _, name := range []string{"AUTHZ_HOST", "RATELIMIT_HOST", "SERVICE_HOST"} {
				if _, wanted := values[name]; wanted {
					values[name] = host
				}
			}
			rendered, err := Render(file, values)
			if err != nil {
				t.Fatal(err)
			}
			if output, err := validate(t, rendered); err != nil {
				t.Errorf("%s with the gates at %s: %v\n%s", file, host, err, output)
			}
		}
	}
	if _, err := validate(t, []byte("node: {id: a, no_such_field: 1}")); err == nil {
		t.Error("Envoy accepts an unknown field: it validates nothing")
	}
}
