package main

import (
	"bytes"
	"io"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
)

// What is no command is no success: exit code 2, nothing on stdout, and on stderr what there is.
func TestNoSuchCommand(t *testing.T) {
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, "ratelimit"},
		{[]string{"nonsense"}, `"sallyport --help"`},
		{[]string{"autzh"}, "did you mean authz?"},
		{[]string{"policy"}, "check"},
		{[]string{"policy", "chekc", "f"}, "did you mean check?"},
		{[]string{"policy", "f"}, `"sallyport policy --help"`},
		{[]string{"limits"}, "check"},
		{[]string{"limits", "chekc", "f"}, "did you mean check?"},
		{[]string{"envoy"}, "doctor"},
		{[]string{"envoy", "docter", "f"}, "did you mean doctor?"},
	} {
		var out, err bytes.Buffer
		code := run(t.Context(), streams{out: &out, err: &err}, c.args)
		if code != daemon.ExitUnable || out.Len() > 0 || !strings.Contains(err.String(), c.says) {
			t.Errorf("%v: exit %d, stdout %q, stderr %q; want exit 2 and %q", c.args, code, out.String(), err.String(), c.says)
		}
	}
}

// Help that was asked for is a result.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"help"}, {"policy", "--help"}, {"limits", "check", "--help"}, {"authz", "--help"}, {"ratelimit", "--help"}, {"envoy", "render", "--help"}, {"envoy", "doctor", "--help"}} {
		var out, err bytes.Buffer
		if code := run(t.Context(), streams{out: &out, err: &err}, args); code != 0 || err.Len() > 0 || !strings.Contains(out.String(), "Usage:") {
			t.Errorf("%v: exit %d, stdout %q, stderr %q", args, code, out.String(), err.String())
		}
		for line := range strings.Lines(out.String()) {
			if len(strings.TrimSuffix(line, "\n")) > 130 {
				t.Errorf("%v: a line of %d characters: %s", args, len(line), line)
			}
		}
	}
}

// What stands between backquotes in the usage of a flag is shown as the name of its value, which a command that is quoted there is not.
func TestHelpNamesValues(t *testing.T) {
	var visit func(*cobra.Command)
	visit = func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(f *pflag.Flag) {
			if name, _ := pflag.UnquoteUsage(f); strings.Contains(f.Usage, "`") && name != "mode" {
				t.Errorf("%s: --%s %s", cmd.CommandPath(), f.Name, name)
			}
		})
		for _, below := range cmd.Commands() {
			visit(below)
		}
	}
	visit(newRoot(streams{out: io.Discard, err: io.Discard}))
}

// The help of a gate says what its signals do, and shows its flags in the order of the questions: what, where, for whom, how it ends.
func TestHelpOfGates(t *testing.T) {
	for command, order := range map[string][]string{
		"authz":     {"SIGHUP", "--policy", "--audit", "--listen", "--tls-cert", "--tls-min", "--drain-delay", "--log-level"},
		"ratelimit": {"SIGHUP", "--limits", "--store ", "--store-max-keys", "kB each", "--audit", "--listen", "--tls-cert", "--drain-delay"},
	} {
		var out bytes.Buffer
		run(t.Context(), streams{out: &out, err: &out}, []string{command, "--help"})
		rest := out.String()
		for _, text := range order {
			_, after, ok := strings.Cut(rest, text)
			if !ok {
				t.Errorf("%s: %q is not where it belongs:\n%s", command, text, out.String())
				break
			}
			rest = after
		}
	}
}

// The flag wins: the variable of a flag that is given is not even read.
func TestFlagBeatsVariable(t *testing.T) {
	for _, c := range []struct {
		name    string
		environ []string
		args    []string
		code    int
		json    bool
	}{
		{"the variable", []string{"SALLYPORT_JSON=true"}, nil, 0, true},
		{"a bad variable", []string{"SALLYPORT_JSON=abc"}, nil, daemon.ExitUnable, false},
		{"the flag", []string{"SALLYPORT_JSON=true"}, []string{"--json=false"}, 0, false},
		{"the flag, and a bad variable", []string{"SALLYPORT_JSON=abc"}, []string{"--json"}, 0, true},
	} {
		var out, err bytes.Buffer
		code := run(t.Context(), streams{out: &out, err: &err, environ: c.environ}, append([]string{"version"}, c.args...))
		if code != c.code || strings.HasPrefix(out.String(), "{") != c.json {
			t.Errorf("%s: exit %d, %q %q", c.name, code, out.String(), err.String())
		}
	}
}
