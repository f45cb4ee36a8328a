package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/envoy/doctor"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// dumpPatience is how long an admin interface may take over its dump.
const dumpPatience = 30 * time.Second

func newEnvoyDoctor(s streams) *cobra.Command {
	var policyPath, limitsPath string
	var asJSON bool
	var ignores []string
	cmd := &cobra.Command{
		Use:   "doctor FILE|URL",
		Short: "Find what in Envoy's configuration would make the policy lie",
		Long: `Doctor examines the configuration of an Envoy: a bootstrap file in YAML or JSON, a file of resources, the config_dump of a running
Envoy from a file or from its admin interface (http://127.0.0.1:9901/config_dump?include_eds), or any of them from stdin (-).
It finds doors that ask nobody, failures that open, settings that Envoy ignores, bodies that a rule reads and never sees, limits
that no descriptor reaches, and the like: the place, the reason, and what to write. docs/envoy.md lists all that it looks for.

With --policy it knows which paths are probes, which rules read bodies, which headers and addresses count; with --limits which
descriptors reach a limit. Without them it says what can be said of Envoy alone. It reads, and changes nothing.

With --ignore findings of one kind are set aside, everywhere or at one path, as both stand in a finding: --ignore resumption, or
--ignore 'admin-exposed@.admin.address.socket_address'. One that meets nothing is told, so that it does not outlive its reason.

Severities: open (something passes unchecked), weak (less to judge by, or more for a client), broken (requests fail), note.
Exit codes: 0 nothing found (notes are no finding), 1 findings, 2 could not run (an unreadable file, no listener in it).`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			p, l, err := readBoth(policyPath, limitsPath)
			if err != nil {
				return daemon.Unable(err)
			}
			ignored, err := parseIgnores(ignores)
			if err != nil {
				return daemon.Unable(err)
			}
			data, err := readConfig(cmd.Context(), cmd.InOrStdin(), args[0])
			if err != nil {
				return daemon.Unable(err)
			}
			config, err := doctor.Read(args[0], data)
			if err != nil {
				return daemon.Unable(err)
			}
			found := doctor.ExamineBut(config, p, l, ignored)
			for _, ignore := range found.Unmatched {
				fmt.Fprintf(s.err, "--ignore %s: no such finding\n", doctor.Visible(ignore.String()))
			}
			return printDiagnosis(s.out, args[0], found, asJSON)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&policyPath, "policy", "", "the policy that the gate behind this Envoy enforces: a file or a folder")
	flags.StringVar(&limitsPath, "limits", "", "the limits of the rate limit service behind it: a file or a folder")
	flags.StringArrayVar(&ignores, "ignore", nil, "set aside a kind of finding, ID or ID@PATH; once for each")
	flags.BoolVar(&asJSON, "json", false, "write the findings as JSON")
	fromEnvironment(cmd, s)
	return cmd
}

// readBoth reads the policy and the limits, each only where it is given.
func readBoth(policyPath, limitsPath string) (p *policy.Policy, t *limits.Table, err error) {
	if policyPath != "" {
		if p, err = readPolicy(policyPath); err != nil {
			return nil, nil, err
		}
	}
	if limitsPath != "" {
		files, err := daemon.ReadFiles(limitsPath)
		if err != nil {
			return nil, nil, err
		}
		loaded := limits.Load(nil, limitsSources(files))
		if errs := loaded.Errors(); len(errs) > 0 {
			return nil, nil, fmt.Errorf("the limits do not load:\n%w", errs)
		}
		t = loaded.Table
	}
	return p, t, nil
}

// readConfig reads a configuration from where it is said to be, no more than the doctor takes.
func readConfig(ctx context.Context, stdin io.Reader, from string) ([]byte, error) {
	switch {
	case from == "-":
		return readUpTo(stdin, from)
	case strings.HasPrefix(from, "http://"), strings.HasPrefix(from, "https://"):
		return fetchConfig(ctx, from)
	}
	file, err := os.Open(from)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return readUpTo(file, from)
}

func readUpTo(in io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(in, doctor.MaxBytes+1))
	if err == nil && len(data) > doctor.MaxBytes {
		err = fmt.Errorf("%s is larger than %d MiB", name, doctor.MaxBytes>>20)
	}
	return data, err
}

// fetchConfig asks an admin interface. It follows no redirect: what is examined is what was named.
func fetchConfig(ctx context.Context, from string) ([]byte, error) {
	at, err := url.Parse(from)
	if err != nil {
		return nil, errors.New("the address of the admin interface is no URL") // the error would repeat it
	}
	if at.User != nil {
		return nil, errors.New("a URL with a user or a password in it is refused: the admin interface asks for none")
	}
	ctx, cancel := context.WithTimeout(ctx, dumpPatience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, http.NoBody)
	if err != nil {
		return nil, err
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", from, resp.Status)
	}
	return readUpTo(resp.Body, from)
}

// parseIgnores reads the findings that are set aside.
func parseIgnores(texts []string) ([]doctor.Ignore, error) {
	all := make([]doctor.Ignore, len(texts))
	for i, text := range texts {
		var err error
		if all[i], err = doctor.ParseIgnore(text); err != nil {
			return nil, fmt.Errorf("--ignore: %w", err)
		}
	}
	return all, nil
}

// printDiagnosis writes the findings, and ends with 1 if one of them is more than a note.
func printDiagnosis(out io.Writer, name string, found doctor.Diagnosis, asJSON bool) error {
	if asJSON {
		if err := writeDiagnosis(out, name, found); err != nil {
			return daemon.Unable(err)
		}
	} else {
		for _, f := range found.Findings {
			fmt.Fprintf(out, "%s\n\n", f.String(doctor.Visible(name)))
		}
		fmt.Fprintln(out, summary(found))
	}
	if doctor.Wrong(found.Findings) {
		return errShown
	}
	return nil
}

// writeDiagnosis writes the findings as JSON. What a terminal would not show is escaped in it.
func writeDiagnosis(out io.Writer, name string, found doctor.Diagnosis) error {
	findings := found.Findings
	if findings == nil {
		findings = []doctor.Finding{}
	}
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(map[string]any{"config": name, "findings": findings, "ignored": found.Ignored}); err != nil {
		return err
	}
	for line := range strings.Lines(text.String()) { // whose ends are no text: in JSON those are escaped already
		if _, err := fmt.Fprintln(out, doctor.Visible(strings.TrimSuffix(line, "\n"))); err != nil {
			return err
		}
	}
	return nil
}

// summary counts the findings by severity.
func summary(found doctor.Diagnosis) string {
	counts := map[doctor.Severity]int{}
	for _, f := range found.Findings {
		counts[f.Severity]++
	}
	var parts []string
	for _, severity := range []doctor.Severity{doctor.Open, doctor.Weak, doctor.Broken, doctor.Note} {
		if counts[severity] > 0 {
			parts = append(parts, fmt.Sprintf("%s %d", severity, counts[severity]))
		}
	}
	if found.Ignored > 0 {
		parts = append(parts, fmt.Sprintf("ignored %d", found.Ignored))
	}
	verdict := "ok: nothing found"
	if doctor.Wrong(found.Findings) {
		verdict = "not ok"
	}
	return strings.Join(append([]string{verdict}, parts...), ", ")
}
