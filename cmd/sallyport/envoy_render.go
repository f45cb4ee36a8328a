package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/envoy"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

type renderFlags struct {
	policy, limits string
	wanted         envoy.Wanted
	upstreams      []string
	upstreamIDs    []string
	// holes are the flags for what no policy knows, by the names of the reference files' holes.
	holes map[string]*string
}

// saidElsewhere are holes of the reference files that the policy, --service or --upstream fill.
var saidElsewhere = []string{"CORS_ORIGIN", "SERVICE", "SERVICE_HOST", "SERVICE_ID"}

func newEnvoyRender(s streams) *cobra.Command {
	f := renderFlags{holes: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "render --policy FILE|DIR [--limits FILE|DIR] --for edge|sidecar",
		Short: "Write the Envoy configuration that a policy needs",
		Long: `Render writes the configuration of an Envoy 1.40 in front of services (an edge) or beside one (a sidecar): the filters
in their order, a route that shows the gate the body for each rule that reads one, each service's CORS, the pin that
says which service a request is for, and all that the reference files envoy/edge.yaml and envoy/sidecar.yaml harden. The
same input gives the same bytes. It changes when the policy does: write it anew then, and try it with "envoy --mode
validate".

With --limits, every descriptor that the configuration sends must find a limit, or a written "unlimited". With
--fragments, only the parts for a listener of your own are written, and what was not said is marked FILL_IN_. What the
policy says itself need not be said here: the trust domain, a sidecar's probes, who answers for a service that names one
workload. --admin-port is 9901 and --access-log /dev/stdout unless told.

Exit codes: 0 written, 1 an invalid file, or a descriptor without a limit, 2 could not run: a value is missing (all are
named) or is none.`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error { return f.run(s) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.policy, "policy", "", "the policy: a file, or a folder of *.yaml (required)")
	flags.StringVar(&f.limits, "limits", "", "the limits: a file, or a folder of *.yaml")
	flags.StringVar(&f.wanted.For, "for", "edge", "edge, or sidecar")
	flags.StringVar(&f.wanted.Service, "service", "", "sidecar: the service that it stands beside")
	flags.StringArrayVar(&f.upstreams, "upstream", nil, "edge: where a service is, NAME=HOST:PORT; once for each")
	flags.StringArrayVar(&f.upstreamIDs, "upstream-id", nil, "edge: the SPIFFE ID that answers there, NAME=spiffe://...; by default the service's one workload")
	flags.IntVar(&f.wanted.MaxRequestBytes, "max-request-bytes", 64<<10, "how long a body may be that a rule reads and sets no bound to; less than 1 MiB, at an edge less than 512 KiB")
	flags.BoolVar(&f.wanted.Fragments, "fragments", false, "write only the parts for a listener of your own")
	for _, hole := range f.knowHoles() {
		flags.StringVar(f.holes[hole.Name], flagOf(hole.Name), "", hole.Doc)
	}
	fromEnvironment(cmd, s)
	return cmd
}

// flagOf is the flag that fills a hole.
func flagOf(hole string) string { return strings.ToLower(strings.ReplaceAll(hole, "_", "-")) }

// knowHoles finds what the reference files want to be told, in their order; which file wants it stands in the help.
func (f *renderFlags) knowHoles() []envoy.Placeholder {
	var holes []envoy.Placeholder
	for _, kind := range []string{"edge", "sidecar"} {
		declared, err := envoy.Placeholders(kind + ".yaml")
		if err != nil {
			// The files are part of the binary, and their tests read them.
			panic("sallyport: internal error: " + err.Error())
		}
		for _, hole := range declared {
			i := slices.IndexFunc(holes, func(h envoy.Placeholder) bool { return h.Name == hole.Name })
			switch {
			case slices.Contains(saidElsewhere, hole.Name), kind == "edge" && hole.Name == "SERVICE_PORT":
			case i >= 0:
				holes[i].Doc = strings.TrimPrefix(holes[i].Doc, "edge: ")
			default:
				hole.Doc = kind + ": " + hole.Doc
				holes = append(holes, hole)
				f.holes[hole.Name] = new(string)
			}
		}
	}
	return holes
}

func (f *renderFlags) run(s streams) error {
	if f.policy == "" {
		return daemon.Unable(errors.New("--policy is missing: the policy that the gate runs with"))
	}
	if f.wanted.For == "sidecar" && f.wanted.Service == "" {
		return daemon.Unable(errors.New("--service is missing: the service that the sidecar stands beside"))
	}
	if err := f.gather(); err != nil {
		return daemon.Unable(err)
	}
	p, err := f.readPolicy(s)
	if err != nil {
		return err
	}
	table, err := f.readLimits(s)
	if err != nil {
		return err
	}
	compiled, err := envoy.Compile(p, table, f.wanted)
	if err != nil {
		return explainCompile(err)
	}
	_, err = s.out.Write(compiled)
	return err
}

// gather makes of the flags what the compiler wants to know.
func (f *renderFlags) gather() error {
	f.wanted.Values = map[string]string{}
	for name, value := range f.holes {
		if *value != "" {
			f.wanted.Values[name] = *value
		}
	}
	f.wanted.Upstreams = map[string]envoy.Upstream{}
	var errs []error
	for _, text := range f.upstreams {
		name, at, ok := strings.Cut(text, "=")
		upstream, err := envoy.ParseUpstream(at)
		if _, twice := f.wanted.Upstreams[name]; !ok || err != nil || twice {
			errs = append(errs, fmt.Errorf("--upstream %q: write NAME=HOST:PORT, once for each service", text))
			continue
		}
		f.wanted.Upstreams[name] = upstream
	}
	for _, text := range f.upstreamIDs {
		name, id, ok := strings.Cut(text, "=")
		if !ok || id == "" {
			errs = append(errs, fmt.Errorf("--upstream-id %q: write NAME=spiffe://domain/path", text))
			continue
		}
		upstream := f.wanted.Upstreams[name]
		upstream.ID = id
		f.wanted.Upstreams[name] = upstream
	}
	return errors.Join(errs...)
}

// readPolicy reads the policy. What is wrong with it goes to stderr: stdout is for the configuration.
func (f *renderFlags) readPolicy(s streams) (*policy.Policy, error) {
	files, err := readAll(f.policy)
	if err != nil {
		return nil, err
	}
	p, errs := policy.ParseAt(policyFiles(files), time.Now())
	if len(errs) > 0 {
		return nil, showErrors(s.err, errs)
	}
	return p, nil
}

// readLimits reads the limits that descriptors are held to; nil where none are given.
func (f *renderFlags) readLimits(s streams) (*limits.Table, error) {
	if f.limits == "" {
		return nil, nil
	}
	found, err := daemon.ReadFiles(f.limits)
	if err != nil {
		return nil, daemon.Unable(err)
	}
	loaded := limits.Load(nil, limitsSources(found))
	if errs := loaded.Errors(); len(errs) > 0 {
		return nil, showErrors(s.err, errs)
	}
	return loaded.Table, nil
}

// explainCompile says in flags what the compiler says in holes, and what kind of no it is.
func explainCompile(err error) error {
	var missing *envoy.MissingError
	var unlimited *envoy.UnlimitedError
	switch {
	case errors.As(err, &missing):
		var lines []string
		for _, hole := range missing.Holes {
			lines = append(lines, "--"+flagOf(hole.Name)+": "+hole.Doc)
		}
		for _, name := range missing.Upstreams {
			lines = append(lines, "--upstream "+name+"=HOST:PORT: where "+name+" is")
		}
		for _, name := range missing.Identities {
			lines = append(lines, "--upstream-id "+name+"=spiffe://...: who answers there")
		}
		return daemon.Unable(errors.New("these are missing (or write --fragments):\n  " + strings.Join(lines, "\n  ")))
	case errors.As(err, &unlimited):
		return daemon.Invalid(errors.New("no limit, and no written `unlimited`, waits for these descriptors:\n  " + strings.Join(unlimited.Descriptors, "\n  ")))
	}
	return daemon.Unable(err)
}
