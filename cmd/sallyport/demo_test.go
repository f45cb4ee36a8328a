package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// A demo that cannot be what was asked for does not begin: exit code 2, nothing on stdout, and what to do on stderr.
func TestDemoWithoutItsServers(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		says string
	}{
		{"no Envoy", []string{"--require-envoy", "--envoy", "none"}, "--envoy PATH"},
		{"no Valkey", []string{"--require-valkey", "--valkey", "none"}, "--valkey PATH"},
		{"an Envoy that is not there", []string{"--envoy", filepath.Join(t.TempDir(), "envoy")}, "cannot be run as envoy"},
		{"a Valkey that is no program", []string{"--envoy", "none", "--valkey", t.TempDir()}, "cannot be run as valkey-server"},
		{"an argument", []string{"twice"}, "demo --help"},
	} {
		var out, err bytes.Buffer
		code := run(t.Context(), streams{out: &out, err: &err}, append([]string{"demo", "--once"}, test.args...))
		if code != daemon.ExitUnable || out.Len() > 0 || !strings.Contains(err.String(), test.says) {
			t.Errorf("%s: exit %d, stdout %q, stderr %q; want exit 2 and %q", test.name, code, out.String(), err.String(), test.says)
		}
	}
}

// Colour only for a terminal whose user did not refuse it.
func TestColoured(t *testing.T) {
	// The null device stands for a terminal: it is a character device too.
	device, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer device.Close()
	file, err := os.CreateTemp(t.TempDir(), "out")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	for _, test := range []struct {
		name    string
		got     bool
		colours bool
	}{
		{"terminal", coloured(device, []string{"TERM=xterm"}), true},
		{"NO_COLOR set to nothing is not set (no-color.org)", coloured(device, []string{"NO_COLOR="}), true},
		{"NO_COLOR", coloured(device, []string{"NO_COLOR=1"}), false},
		{"dumb terminal", coloured(device, []string{"TERM=dumb"}), false},
		{"file", coloured(file, nil), false},
		{"buffer", coloured(&bytes.Buffer{}, nil), false},
	} {
		if test.got != test.colours {
			t.Errorf("%s: %t, want %t", test.name, test.got, test.colours)
		}
	}
}
