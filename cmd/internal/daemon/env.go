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

// BindEnv gives flags their values from the environment, before the command line is parsed: so a flag beats SALLYPORT_FLAG_NAME,
// which beats the default. Environ is os.Environ() or a test's own list. A variable that is set to nothing is set. A value that
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

// setFromEnv sets the value as a default that counts as given. Lists are replaced, not set: a list that was set grows by the next
// value, and the command line must beat the environment, not add to it.
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
