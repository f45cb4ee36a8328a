package daemon

import (
	"encoding/csv"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// envPrefix begins the environment variable of every flag: --tls-cert is SALLYPORT_TLS_CERT.
const envPrefix = "SALLYPORT_"

// serviceLink matches what Kubernetes puts into every container beside a Service whose name begins with "sallyport"; it is nobody's
// typing error.
var serviceLink = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT$|_PORT_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?$`)

// BindEnv gives flags their values from the environment, after the command line was parsed: so a flag beats SALLYPORT_FLAG_NAME,
// which beats the default. The variable of a flag that was given is not read at all, and may hold anything. Environ is os.Environ()
// or a test's own list. A variable that is set to nothing is set. A value that
// does not fit its flag is an ExitUnable error that does not quote it. Unknown are the SALLYPORT_ variables of no flag, sorted,
// for one warning at the start: a misspelt switch must not be silent.
func BindEnv(flags *pflag.FlagSet, environ []string) (unknown []string, err error) {
	values := map[string]string{}
	for _, entry := range environ {
		if name, value, ok := strings.Cut(entry, "="); ok && strings.HasPrefix(name, envPrefix) {
			values[name] = value
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		name := envPrefix + strings.ToUpper(strings.ReplaceAll(f.Name, "-", "_"))
		value, ok := values[name]
		if !ok || f.Name == "help" {
			return
		}
		delete(values, name)
		if f.Changed {
			return
		}
		if setErr := setFromEnv(f, value); setErr != nil && err == nil {
			err = Unable(fmt.Errorf("daemon: the environment variable %s does not hold a %s for --%s", name, f.Value.Type(), f.Name))
		}
	})
	for name := range values {
		if !serviceLink.MatchString(name) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown, err
}

// setFromEnv sets a value that counts as given. Lists are replaced, for one that is set to nothing is empty, not a list of nothing.
func setFromEnv(f *pflag.Flag, value string) error {
	f.Changed = true
	list, ok := f.Value.(pflag.SliceValue)
	if !ok {
		return f.Value.Set(value)
	}
	if value == "" {
		return list.Replace(nil)
	}
	items, err := csv.NewReader(strings.NewReader(value)).Read()
	if err != nil {
		return err
	}
	return list.Replace(items)
}
