package main

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/cmd/internal/offline"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

type casesFlags struct {
	policy, junit string
	coverage      bool
	least         float64
}

func newPolicyTest(s streams) *cobra.Command {
	var f casesFlags
	cmd := &cobra.Command{
		Use:   "test [--policy FILE|DIR] FILE...",
		Short: "Run cases against a policy: who asks for what, and what must come of it",
		Long: `Test reads files of cases, each a request with what must come of it, and asks the gate's own code what it decides. No token is signed,
no lookup is asked: a case says whose the token is, and what the lookups know. A file names its policy, relative to itself, unless
--policy does. A case whose lookup is asked about an object that the case does not mention fails.

Of a service in shadow, the cases are about its rules.

Exit codes: 0 every case came out as expected, 1 one did not or the coverage is too low, 2 could not run.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return f.run(cmd.Context(), s, args) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.policy, "policy", "", "the policy, file or folder, in place of the one that each file of cases names")
	flags.BoolVar(&f.coverage, "coverage", false, "say which rules, demands and reasons no case touched")
	flags.Float64Var(&f.least, "min-coverage", 0, "fail if fewer rules than this, in percent, were matched")
	flags.StringVar(&f.junit, "junit", "", "write the results to this file, as JUnit XML")
	fromEnvironment(cmd, s)
	return cmd
}

// tested is one policy with what its cases covered. Files of cases for one policy count together.
type tested struct {
	name     string
	room     *offline.Room
	coverage *offline.Coverage
}

func (f *casesFlags) run(ctx context.Context, s streams, files []string) error {
	if f.least < 0 || f.least > 100 {
		return daemon.Unable(errors.New("--min-coverage is a percentage, 0 to 100"))
	}
	if err := distinct(files); err != nil {
		return daemon.Unable(err)
	}
	var policies []*tested
	var suites []junitSuite
	cases, failed := 0, 0
	for _, file := range files {
		suite, under, err := f.open(file, &policies)
		if err != nil {
			return err
		}
		if err := under.fits(suite); err != nil {
			return daemon.Unable(err)
		}
		told := junitSuite{Name: file}
		for _, c := range suite.Cases {
			failure, err := under.try(ctx, c)
			if err != nil {
				return daemon.Unable(err)
			}
			cases++
			if failure != "" {
				failed++
				fmt.Fprintf(s.out, "FAIL  %s  %s\n%s\n", c.At(), c.Name, indent(failure))
			}
			told.add(c, failure)
		}
		suites = append(suites, told)
	}
	if f.junit != "" {
		if err := writeJUnit(f.junit, suites); err != nil {
			return daemon.Unable(err)
		}
	}
	return f.sum(s.out, policies, cases, failed)
}

// distinct refuses a file that is named twice, by whatever path: its cases would count twice.
func distinct(files []string) error {
	infos := make([]os.FileInfo, len(files))
	for i, file := range files {
		var err error
		if infos[i], err = os.Stat(file); err != nil {
			return err
		}
		for j := range i {
			if os.SameFile(infos[i], infos[j]) {
				return fmt.Errorf("%s and %s are one file, whose cases would count twice: name it once", files[j], file)
			}
		}
	}
	return nil
}

// sum prints the coverage and the last line, and says whether all is well.
func (f *casesFlags) sum(out io.Writer, policies []*tested, cases, failed int) error {
	low := false
	for _, p := range policies {
		if f.coverage {
			fmt.Fprintf(out, "%s: ", p.name)
			p.coverage.Print(out)
		}
		if p.coverage.Percent() < f.least {
			low = true
			fmt.Fprintf(out, "%s: %.0f%% of the rules were matched, and --min-coverage demands %g%%\n", p.name, p.coverage.Percent(), f.least)
		}
	}
	switch {
	case failed > 0:
		fmt.Fprintf(out, "%d of %d cases failed\n", failed, cases)
		return errShown
	case low:
		return errShown
	}
	fmt.Fprintf(out, "ok: %d cases\n", cases)
	return nil
}

// open reads a file of cases and the policy that it is about.
func (f *casesFlags) open(file string, policies *[]*tested) (*offline.Suite, *tested, error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, nil, daemon.Unable(err)
	}
	suite, errs := offline.ReadSuite(file, data)
	if len(errs) > 0 {
		return nil, nil, daemon.Unable(errors.New(errs.Pretty()))
	}
	path := f.policy
	if path == "" {
		if suite.Policy == "" {
			return nil, nil, daemon.Unable(fmt.Errorf("%s names no policy: write `policy: FILE` there, or give --policy", file))
		}
		path = suite.Policy
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(file), path)
		}
	}
	for _, known := range *policies {
		if known.name == path {
			return suite, known, nil
		}
	}
	p, err := readPolicy(path)
	if err != nil {
		return nil, nil, err
	}
	fresh := &tested{name: path, room: offline.NewRoom(p), coverage: offline.NewCoverage(p)}
	*policies = append(*policies, fresh)
	return suite, fresh, nil
}

// fits says what of a file does not fit its policy, before any of its cases is run. A person of many cases is mistaken once.
func (t *tested) fits(suite *offline.Suite) error {
	var all strictyaml.Errors
	for _, c := range suite.Cases {
		for _, misfit := range t.room.Misfits(c) {
			if !slices.ContainsFunc(all, func(e *strictyaml.Error) bool { return *e == *misfit }) {
				all = append(all, misfit)
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	all.Sort()
	return errors.New(all.Pretty())
}

// try runs one case, and tells how it failed; "" if it did not. An error is a case that is no request at all.
func (t *tested) try(ctx context.Context, c *offline.Case) (failure string, err error) {
	result, err := t.room.Decide(ctx, c)
	if err != nil {
		return "", fmt.Errorf("%s: %s: %w", c.At(), c.Name, err)
	}
	if result.Untold != "" && len(result.Unanswered) == 0 {
		return "", fmt.Errorf("%s: %s: %s: a test would be about another request", c.At(), c.Name, result.Untold)
	}
	t.coverage.Add(result)
	misses := result.Misses()
	if len(misses) == 0 {
		return "", nil
	}
	return strings.Join(misses, "\n") + "\n\n" + result.Explain().Text(), nil
}

func indent(text string) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = "      " + line
		}
	}
	return strings.Join(lines, "\n") + "\n"
}

// The form that continuous integration reads; no one document defines it, so only what every reader knows is written.
type junitReport struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr"`
	Line    int           `xml:"line,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Text    string `xml:",chardata"`
}

func (j *junitSuite) add(c *offline.Case, failure string) {
	told := junitCase{Name: c.Name, Class: j.Name, File: c.File, Line: c.Pos.Line}
	j.Tests++
	if failure != "" {
		j.Failures++
		first, _, _ := strings.Cut(failure, "\n")
		told.Failure = &junitFailure{Message: first, Text: failure}
	}
	j.Cases = append(j.Cases, told)
}

func writeJUnit(path string, suites []junitSuite) error {
	report := junitReport{Suites: suites}
	for _, suite := range suites {
		report.Tests += suite.Tests
		report.Failures += suite.Failures
	}
	text, err := xml.MarshalIndent(report, "", "  ")
	if err != nil {
		return fmt.Errorf("write JUnit: %w", err)
	}
	if err := os.WriteFile(path, append([]byte(xml.Header), append(text, '\n')...), 0o644); err != nil { //nolint:gosec // a report is for others to read
		return fmt.Errorf("write JUnit: %w", err)
	}
	return nil
}
