package main

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/sallyport-dev/sallyport/cmd/internal/daemon"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

func newLimitsExplain(s streams) *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "explain --limits FILE|DIR 'domain=D KEY=VALUE KEY=VALUE'...",
		Short: "Say which limit a descriptor finds, at which level, and why none",
		Long: `Explain takes descriptors as Envoy sends them, each one argument: its domain, then its entries in their order. A value with spaces stands
in double quotes: 'domain=mesh user-agent="a b"'. The domain may be left out where the files have only one.

It exits 0 if each descriptor finds a limit or an unlimited one, 1 if one of them finds none, and 2 if the limits cannot be read.`,
		Example: `  sallyport limits explain --limits limits.yaml 'domain=mesh who=user|shop|alice'
  sallyport limits explain --limits limits.yaml 'domain=mesh who=user|shop|alice service=orders rule=list'`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return explainLimits(s, path, args) },
	}
	cmd.Flags().StringVar(&path, "limits", "", "limits file, or a folder of *.yaml files (required)")
	fromEnvironment(cmd, s)
	return cmd
}

func explainLimits(s streams, path string, asked []string) error {
	if path == "" {
		return daemon.Unable(errors.New("limits explain needs --limits FILE or DIR"))
	}
	found, err := daemon.ReadFiles(path)
	if err != nil {
		return daemon.Unable(err)
	}
	loaded := limits.Load(nil, limitsSources(found))
	if errs := loaded.Errors(); len(errs) > 0 {
		return showErrors(s.out, errs)
	}
	without := 0
	for i, text := range asked {
		domain, entries, err := readDescriptor(text)
		if err != nil {
			return daemon.Unable(fmt.Errorf("%q: %w", text, err))
		}
		if domain == "" {
			if domain, err = onlyDomain(loaded.Table); err != nil {
				return daemon.Unable(fmt.Errorf("%q: %w", text, err))
			}
		}
		x := loaded.Table.Explain(domain, entries)
		if i > 0 {
			fmt.Fprintln(s.out)
		}
		fmt.Fprint(s.out, x.Text())
		if x.Rule == nil {
			without++
		}
	}
	if without > 0 {
		return daemon.Invalid(fmt.Errorf("%d of %d descriptors find no limit", without, len(asked)))
	}
	return nil
}

// onlyDomain is the domain that needs no naming.
func onlyDomain(table *limits.Table) (string, error) {
	domains := table.Domains()
	if len(domains) != 1 {
		return "", fmt.Errorf("begin with domain=, one of: %s", strings.Join(domains, ", "))
	}
	return domains[0], nil
}

// writeDescriptor writes what readDescriptor reads.
func writeDescriptor(domain string, entries []limits.Entry) string {
	words := make([]string, 0, 1+len(entries))
	for _, e := range append([]limits.Entry{{Key: "domain", Value: domain}}, entries...) {
		if value := e.Value; strings.ContainsFunc(value, func(r rune) bool { return r == '"' || unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
			words = append(words, e.Key+"="+strconv.QuoteToASCII(value))
		} else {
			words = append(words, e.Key+"="+value)
		}
	}
	return strings.Join(words, " ")
}

// readDescriptor reads "domain=D key=value key=\"a value\"".
func readDescriptor(text string) (domain string, entries []limits.Entry, err error) {
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimSpace(rest) {
		key, after, ok := strings.Cut(rest, "=")
		if !ok || key == "" || strings.ContainsAny(key, " \t") {
			return "", nil, fmt.Errorf("at %q: write KEY=VALUE", rest)
		}
		var value string
		if strings.HasPrefix(after, `"`) {
			quoted, err := strconv.QuotedPrefix(after)
			if err != nil {
				return "", nil, fmt.Errorf("at %q: the quotes do not close", rest)
			}
			rest = after[len(quoted):]
			if value, err = strconv.Unquote(quoted); err != nil {
				return "", nil, fmt.Errorf("at %s: %w", quoted, err)
			}
			if rest != "" && !strings.HasPrefix(rest, " ") {
				return "", nil, fmt.Errorf("at %q: a space is missing behind the quotes", rest)
			}
		} else {
			value, rest, _ = strings.Cut(after, " ")
		}
		if key == "domain" && len(entries) == 0 && domain == "" {
			if domain = value; domain == "" {
				return "", nil, errors.New("domain= is empty")
			}
			continue
		}
		entries = append(entries, limits.Entry{Key: key, Value: value})
	}
	if len(entries) == 0 {
		return "", nil, errors.New("it has no entries: write KEY=VALUE behind the domain")
	}
	return domain, entries, nil
}
