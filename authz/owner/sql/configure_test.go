package sql

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sallyport-dev/sallyport/authz/policy"
)

// foreign is what the library reads of the environment, each with a value that would change something, or stop the start.
var foreign = map[string]string{
	"PGHOST": "192.0.2.1", "PGPORT": "1", "PGDATABASE": "other", "PGUSER": "mallory", "PGPASSWORD": "wrong", "PGAPPNAME": "other",
	"PGCONNECT_TIMEOUT": "never", "PGSSLMODE": "prefer", "PGSSLKEY": "/nowhere", "PGSSLCERT": "/nowhere", "PGSSLCERTMODE": "disable", "PGSSLSNI": "0",
	"PGSSLROOTCERT": "/nowhere", "PGSSLPASSWORD": "x", "PGSSLNEGOTIATION": "direct", "PGTARGETSESSIONATTRS": "anybody", "PGTZ": "Mars",
	"PGOPTIONS": "-c default_transaction_read_only=off", "PGMINPROTOCOLVERSION": "3.2", "PGMAXPROTOCOLVERSION": "latest",
	"PGCHANNELBINDING": "require", "PGREQUIREAUTH": "none", "PGSERVICEFILE": "/nowhere",
}

// Two settings differ where any member does; of functions only whether there is one can be told.
func differences(a, b *pgxpool.Config) string {
	function := cmp.FilterValues(func(x, y any) bool { return isFunction(x) && isFunction(y) },
		cmp.Comparer(func(x, y any) bool { return reflect.ValueOf(x).IsNil() == reflect.ValueOf(y).IsNil() }))
	open := cmp.Exporter(func(reflect.Type) bool { return true })
	return cmp.Diff(a, b, open, function)
}

func isFunction(x any) bool { return x != nil && reflect.TypeOf(x).Kind() == reflect.Func }

// Nothing of libpq's environment, password file or service file reaches the settings: they are the policy's alone.
func TestSettingsAreThePolicysAlone(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Setenv("HOME", dir)
	for _, name := range []string{"PGSERVICE", "PGPASSFILE"} {
		t.Setenv(name, "")
	}
	for name := range foreign {
		t.Setenv(name, "")
	}
	lookup := &policy.SQLLookup{URL: "postgres://reader@db:5433/orders?sslmode=verify-full"}
	clean, err := configure(lookup, Options{})
	if err != nil {
		t.Fatal(err)
	}
	hold := func(t *testing.T) {
		t.Helper()
		got, err := configure(lookup, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if d := differences(clean, got); d != "" {
			t.Errorf("the settings changed:\n%s", d)
		}
	}
	for name, value := range foreign {
		t.Run(name, func(t *testing.T) {
			t.Setenv(name, value)
			hold(t)
		})
	}
	for name, passes := range map[string]string{"PGPASSFILE": file("elsewhere", "*:*:*:*:leaked\n"), "HOME": ""} {
		t.Run("the password file by "+name, func(t *testing.T) {
			file(".pgpass", "*:*:*:*:leaked\n")
			if passes != "" {
				t.Setenv(name, passes)
			}
			hold(t)
		})
	}
	t.Run("a service", func(t *testing.T) {
		t.Setenv("PGSERVICE", "other")
		t.Setenv("PGSERVICEFILE", file("services", "[other]\nhost=192.0.2.1\nuser=mallory\npassword=leaked\nsslmode=prefer\nkrbsrvname=x\nkrbspn=y\npool_max_conns=1\npool_min_conns=1\n"+
			"pool_min_idle_conns=1\npool_max_conn_lifetime=1s\npool_max_conn_lifetime_jitter=1s\npool_max_conn_idle_time=1s\npool_health_check_period=1s\npool_ping_timeout=1s\n"+
			"statement_cache_capacity=0\ndescription_cache_capacity=0\ndefault_query_exec_mode=simple_protocol\nsearch_path=evil\n"))
		hold(t)
	})
	t.Run("a service that is nowhere", func(t *testing.T) {
		t.Setenv("PGSERVICE", "other")
		if _, err := configure(lookup, Options{}); err == nil || err.Error() != "the settings cannot be read: unset PGSERVICE, which is not heeded" {
			t.Errorf("%v", err)
		}
	})
}
