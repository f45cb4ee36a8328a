package daemon

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"
)

// A flag beats the environment beats the default, for every type of flag, lists too.
func TestFlagBeatsEnvironmentBeatsDefault(t *testing.T) {
	environ := []string{"SALLYPORT_LISTEN=127.0.0.1:2", "SALLYPORT_TLS_CLIENT_IDS=dns:a,dns:b", "SALLYPORT_DRAIN_DELAY=7s", "SALLYPORT_SOCKET_MODE=0600", "LISTEN=x", "SALLYPORT_PLAINTEXT=true"}
	for _, c := range []struct {
		name    string
		environ []string
		args    []string
		listen  string
		ids     []string
		delay   time.Duration
		mode    uint32
		plain   bool
	}{
		{"default", nil, nil, "127.0.0.1:1", nil, 5 * time.Second, 0o660, false},
		{"environment", environ, nil, "127.0.0.1:2", []string{"dns:a", "dns:b"}, 7 * time.Second, 0o600, true},
		{"flag", environ, []string{"--listen=127.0.0.1:3", "--tls-client-ids=dns:c", "--tls-client-ids=dns:d", "--drain-delay=9s", "--socket-mode=0640", "--plaintext=false"},
			"127.0.0.1:3", []string{"dns:c", "dns:d"}, 9 * time.Second, 0o640, false},
		{"flag, and variables that hold nothing of the kind", []string{"SALLYPORT_DRAIN_DELAY=soon", "SALLYPORT_TLS_CLIENT_IDS=\"", "SALLYPORT_PLAINTEXT=?", "SALLYPORT_SOCKET_MODE=rw"},
			[]string{"--tls-client-ids=dns:c", "--drain-delay=9s", "--socket-mode=0640", "--plaintext=false"}, "127.0.0.1:1", []string{"dns:c"}, 9 * time.Second, 0o640, false},
		{"empty", []string{"SALLYPORT_LISTEN=", "SALLYPORT_TLS_CLIENT_IDS="}, nil, "", nil, 5 * time.Second, 0o660, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Options{Listen: "127.0.0.1:1"}
			flags := pflag.NewFlagSet("t", pflag.ContinueOnError)
			o.Bind(flags)
			if err := flags.Parse(c.args); err != nil {
				t.Fatal(err)
			}
			unknown, err := BindEnv(flags, c.environ)
			if err != nil || len(unknown) > 0 {
				t.Fatal(unknown, err)
			}
			got := []any{o.Listen, o.TLS.ClientIDs, o.DrainDelay, uint32(o.SocketMode), o.Plaintext}
			if diff := cmp.Diff([]any{c.listen, c.ids, c.delay, c.mode, c.plain}, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A flag that cobra requires may come from the environment.
func TestEnvironmentCountsAsGiven(t *testing.T) {
	flags := pflag.NewFlagSet("t", pflag.ContinueOnError)
	flags.String("policy", "", "")
	if _, err := BindEnv(flags, []string{"SALLYPORT_POLICY=x"}); err != nil || !flags.Lookup("policy").Changed {
		t.Errorf("%v: not given", err)
	}
}

func TestMisspeltVariablesAreNamed(t *testing.T) {
	flags := pflag.NewFlagSet("t", pflag.ContinueOnError)
	flags.String("listen", "", "")
	flags.Bool("help", false, "")
	unknown, err := BindEnv(flags, []string{
		"SALLYPORT_LISTENS=x", "SALLYPORT_HELP=1", "SALLYPORT_=x", "sallyport_listen=x", "OTHER=x",
		// What Kubernetes adds beside a Service named sallyport-authz.
		"SALLYPORT_AUTHZ_SERVICE_HOST=10.0.0.1", "SALLYPORT_AUTHZ_SERVICE_PORT=9191", "SALLYPORT_AUTHZ_SERVICE_PORT_GRPC=9191",
		"SALLYPORT_AUTHZ_PORT=tcp://10.0.0.1:9191", "SALLYPORT_AUTHZ_PORT_9191_TCP=tcp://10.0.0.1:9191", "SALLYPORT_AUTHZ_PORT_9191_TCP_ADDR=10.0.0.1",
	})
	if diff := cmp.Diff([]string{"SALLYPORT_", "SALLYPORT_HELP", "SALLYPORT_LISTENS"}, unknown); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

// A variable may hold what was meant for another one, such as a password: its value is not shown.
func TestBadVariableIsNamedAndNotShown(t *testing.T) {
	for _, entry := range []string{
		"SALLYPORT_DRAIN_DELAY=hunter2", "SALLYPORT_PLAINTEXT=hunter2", "SALLYPORT_SOCKET_MODE=hunter2", "SALLYPORT_TLS_MIN=hunter2", `SALLYPORT_TLS_CLIENT_IDS="hunter2`,
		"SALLYPORT_PLAINTEXT=",
	} {
		o := Options{}
		flags := pflag.NewFlagSet("t", pflag.ContinueOnError)
		o.Bind(flags)
		_, err := BindEnv(flags, []string{entry})
		name, _, _ := strings.Cut(entry, "=")
		if ExitCode(err) != ExitUnable || !strings.Contains(err.Error(), name) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, want exit 2 and the name alone", entry, err)
		}
	}
}

func TestFlagValues(t *testing.T) {
	for _, c := range []struct {
		arg string
		ok  bool
	}{
		{"--tls-min=1.2", true}, {"--tls-min=1.3", true}, {"--tls-min=1.1", false}, {"--tls-min=", false},
		{"--socket-mode=660", true}, {"--socket-mode=0777", true}, {"--socket-mode=1777", false}, {"--socket-mode=-1", false}, {"--socket-mode=0o660", false}, {"--socket-mode=8", false},
		{"--socket-mode=0", false}, {"--socket-mode=0000", false}, {"--drain-timeout=1ms", true}, {"--drain-timeout=0", false}, {"--drain-timeout=-1s", false},
		{"--drain-delay=0", true}, {"--max-connection-age=0", true},
	} {
		o := Options{}
		flags := pflag.NewFlagSet("t", pflag.ContinueOnError)
		o.Bind(flags)
		if err := flags.Parse([]string{c.arg}); (err == nil) != c.ok {
			t.Errorf("%s: %v, want ok %v", c.arg, err, c.ok)
		}
	}
}
