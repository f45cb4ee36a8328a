package sql_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner/ownertest"
	"github.com/sallyport-dev/sallyport/authz/owner/sql"
	"github.com/sallyport-dev/sallyport/authz/owner/sql/postgrestest"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

const byTenant = "SELECT id, owner FROM owners WHERE id = ANY(@ids) AND tenant = @tenant AND relation = @relation"

func open(t testing.TB, s *postgrestest.Server, query string) *sql.Backend {
	t.Helper()
	b, err := sql.New(&policy.SQLLookup{URL: s.URL, PasswordFile: s.PasswordFile, Query: query}, sql.Options{Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// What PostgreSQL knows is what the rules mean.
func TestSQLConforms(t *testing.T) {
	s := postgrestest.Start(t)
	s.Exec(t, "CREATE TABLE owners (tenant text, relation text, id text, owner text)")
	ownertest.Run(t, ownertest.Traits{Refuses: func(text string) bool { return !utf8.ValidString(text) || strings.IndexByte(text, 0) >= 0 }}, func(t *testing.T, facts []ownertest.Fact) ownertest.World {
		s.Exec(t, "TRUNCATE owners")
		var rows [][]any
		for _, f := range facts {
			for _, owner := range f.Owners {
				rows = append(rows, []any{f.Tenant, f.Relation, f.Object, owner})
			}
		}
		s.Insert(t, "owners", rows, "tenant", "relation", "id", "owner")
		return ownertest.World{Lookup: open(t, s, byTenant)}
	})
}

func ask(b *sql.Backend, subject string, objects ...string) ([]authz.Standing, error) {
	answers := make([]authz.Standing, len(objects))
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := b.Ask(ctx, &authz.Question{Subject: subject, Objects: objects}, answers)
	return answers, err
}

// Queries as people write them, and what each mistake is.
func TestQueries(t *testing.T) {
	s := postgrestest.Start(t)
	const a, b = "00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"
	s.Exec(t, "CREATE TABLE orders (id uuid PRIMARY KEY, number bigint, owner text, code char(5))",
		"INSERT INTO orders VALUES ('"+a+"', 7, 'alice', 'a'), ('"+b+"', 8, NULL, 'b')",
		"CREATE FUNCTION strict(text) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no %', $1; END $$",
		"CREATE SEQUENCE counter", "CREATE TABLE log (id text)",
		"CREATE ROLE reader LOGIN PASSWORD '"+postgrestest.Password+"'")
	for _, test := range []struct {
		name, query, id string
		want            authz.Standing
		err             error
		probe           string // "" is well
	}{
		{"by uuid", "SELECT id::text, owner FROM orders WHERE id = ANY(@ids::uuid[])", a, authz.Theirs, nil, ""},
		{"by uuid, as it is", "SELECT id, owner FROM orders WHERE id = ANY(@ids::uuid[])", a, authz.Theirs, nil, ""},
		{"nobody's", "SELECT id, owner FROM orders WHERE id = ANY(@ids::uuid[])", b, authz.NotThere, nil, ""},
		{"no uuid", "SELECT id, owner FROM orders WHERE id = ANY(@ids::uuid[])", "7", 0, authz.ErrLookupAnswer, ""},
		{"by number", "SELECT number::text, owner FROM orders WHERE number = ANY(@ids::bigint[])", "7", authz.Theirs, nil, ""},
		{"no number", "SELECT number::text, owner FROM orders WHERE number = ANY(@ids::bigint[])", "x", 0, authz.ErrLookupAnswer, ""},
		{"a number that is written in another way is another id", "SELECT number::text, owner FROM orders WHERE number = ANY(@ids::bigint[])", "007", 0, authz.ErrLookupAnswer, ""},
		{"with a comment", "SELECT id, owner -- whose? it's @ids\nFROM orders /* a; /* b */ */ WHERE id = ANY(@ids::uuid[]) AND 'a;''@x' <> \"owner\"", a, authz.Theirs, nil, ""},
		{"a comment that a carriage return ends", "SELECT id, owner FROM orders -- whose?\rWHERE id = ANY(@ids::uuid[])", a, authz.Theirs, nil, ""},
		{"the subject within", "SELECT id, owner FROM orders WHERE id = ANY(@ids::uuid[]) AND owner = @subject", a, authz.Theirs, nil, ""},
		{"the type of the id", "SELECT id, owner FROM orders WHERE id = ANY(@ids)", a, 0, authz.ErrLookupUnavailable, "operator does not exist: uuid = text"},
		{"no such table", "SELECT id, owner FROM order_s WHERE id = ANY(@ids)", a, 0, authz.ErrLookupUnavailable, `relation "order_s" does not exist`},
		{"no SQL", "whose are @ids", a, 0, authz.ErrLookupUnavailable, "syntax error"},
		{"one column", "SELECT id FROM orders WHERE id = ANY(@ids::uuid[])", a, 0, authz.ErrLookupAnswer, "returns 1 columns"},
		{"a number for an id", "SELECT number, owner FROM orders WHERE id = ANY(@ids::uuid[])", a, 0, authz.ErrLookupAnswer, "the id is no text: write ::text behind it"},
		{"an id that is filled up", "SELECT code, owner FROM orders WHERE code = ANY(@ids)", "a", 0, authz.ErrLookupAnswer, "the id is no text"},
		{"another's row", "SELECT '" + b + "'::text, owner FROM orders WHERE id = ANY(@ids::uuid[])", a, 0, authz.ErrLookupAnswer, ""},
		{"a row without an id", "SELECT NULL::text, owner FROM orders WHERE id = ANY(@ids::uuid[])", a, 0, authz.ErrLookupAnswer, ""},
		{"too many rows", "SELECT unnest(@ids), 'bob' FROM generate_series(1, 20000)", a, 0, authz.ErrLookupAnswer, ""},
		{"too long a row", "SELECT unnest(@ids), repeat('x', 2 << 20)", a, 0, authz.ErrLookupAnswer, ""},
		{"too many bytes", "SELECT unnest(@ids), repeat('x', 1 << 19) FROM generate_series(1, 10)", a, 0, authz.ErrLookupAnswer, ""},
		{"one column, and no row", "SELECT id FROM orders WHERE id = ANY(@ids::uuid[]) AND false", a, 0, authz.ErrLookupAnswer, "returns 1 columns"},
		{"two rows where one may be", "SELECT unnest(@ids), (SELECT 'alice' FROM orders)", a, 0, authz.ErrLookupAnswer, ""},
		{"a function that refuses the id", "SELECT id, strict(id) FROM unnest(@ids) AS id", a, 0, authz.ErrLookupAnswer, ""},
		{"it writes", "INSERT INTO log SELECT unnest(@ids) RETURNING id, id", a, 0, authz.ErrLookupUnavailable, ""},
		{"it writes in a clause", "WITH w AS (INSERT INTO log SELECT unnest(@ids) RETURNING id) SELECT id, id FROM w", a, 0, authz.ErrLookupUnavailable, ""},
		{"it counts", "SELECT unnest(@ids), nextval('counter')::text", a, 0, authz.ErrLookupUnavailable, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			backend := open(t, s, test.query)
			probed := backend.Probe(t.Context())
			if (probed == nil) != (test.probe == "") || probed != nil && !strings.Contains(probed.Error(), test.probe) {
				t.Errorf("probe: %v, want %q", probed, test.probe)
			}
			answers, err := ask(backend, "alice", test.id)
			if !errors.Is(err, test.err) || err == nil && answers[0] != test.want {
				t.Errorf("%s, %v; want %s, %v", answers[0], err, test.want, test.err)
			}
			if err != nil && strings.Contains(err.Error(), test.id) && len(test.id) > 3 {
				t.Errorf("the error holds the id: %v", err)
			}
		})
	}
	// Whoever may not read is told, and no answer is made of it.
	limited := open(t, &postgrestest.Server{URL: strings.Replace(s.URL, "postgres@", "reader@", 1), PasswordFile: s.PasswordFile}, "SELECT id, owner FROM orders WHERE id = ANY(@ids::uuid[])")
	if _, err := ask(limited, "alice", a); !errors.Is(err, authz.ErrLookupUnavailable) || !strings.Contains(err.Error(), "permission denied") {
		t.Errorf("without the right to read: %v", err)
	}
}

// A text means itself whatever encoding the role or the database likes: in LATIN1 the bytes of alice's object are the name of mallory's.
func TestTextsAreUTF8(t *testing.T) {
	s := postgrestest.Start(t)
	s.Exec(t, "CREATE TABLE owners (id text, owner text)", "INSERT INTO owners VALUES ('é', 'alice'), ('Ã©', 'mallory')",
		"CREATE DATABASE legacy ENCODING 'LATIN1' TEMPLATE template0", "ALTER ROLE postgres SET client_encoding = 'LATIN1'")
	utf8 := open(t, s, "SELECT id, owner FROM owners WHERE id = ANY(@ids)")
	for subject, want := range map[string]authz.Standing{"alice": authz.Theirs, "mallory": authz.NotTheirs} {
		if answers, err := ask(utf8, subject, "é"); err != nil || answers[0] != want {
			t.Errorf("%s: %v, %v, want %s", subject, answers, err, want)
		}
	}
	legacy := open(t, &postgrestest.Server{URL: strings.Replace(s.URL, "/postgres?", "/legacy?", 1), PasswordFile: s.PasswordFile},
		"SELECT id, owner FROM (VALUES (chr(233), 'alice'), (chr(195) || chr(169), 'mallory')) AS owners (id, owner) WHERE id = ANY(@ids)")
	for subject, want := range map[string]authz.Standing{"alice": authz.Theirs, "mallory": authz.NotTheirs} {
		if answers, err := ask(legacy, subject, "é"); err != nil || answers[0] != want {
			t.Errorf("a database in LATIN1, %s: %v, %v, want %s", subject, answers, err, want)
		}
	}
	// What it has no letters for, it says so of, and is not away.
	if answers, err := ask(legacy, "alice", "用户"); !errors.Is(err, authz.ErrLookupAnswer) || errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("what LATIN1 cannot write: %v, %v", answers, err)
	}
}

// A hundred ids are one trip, as one is: the driver waits for the server once.
func TestBatchIsOneTrip(t *testing.T) {
	s := postgrestest.Start(t)
	s.Exec(t, "CREATE TABLE owners (id text, owner text)")
	var ids []string
	var rows [][]any
	for i := range 100 {
		ids = append(ids, fmt.Sprintf("o-%d", i))
		rows = append(rows, []any{ids[i], []string{"alice", "bob"}[i%2]})
	}
	s.Insert(t, "owners", rows, "id", "owner")
	f := newFront(t, s, nil)
	b := openAt(t, f.url("disable"), s.PasswordFile, "")
	if _, err := ask(b, "alice", "o-0"); err != nil { // connects and prepares
		t.Fatal(err)
	}
	for _, asked := range [][]string{ids[:1], ids} {
		before := f.trips.Load()
		answers, err := ask(b, "alice", asked...)
		if err != nil {
			t.Fatal(err)
		}
		for i, standing := range answers {
			if want := []authz.Standing{authz.Theirs, authz.NotTheirs}[i%2]; standing != want {
				t.Fatalf("%s: %s", asked[i], standing)
			}
		}
		if trips := f.trips.Load() - before; trips != 1 {
			t.Errorf("%d ids are %d trips", len(asked), trips)
		}
	}
}

// The password's file is read for every connection, so a password is replaced without a restart.
func TestPasswordIsReplaced(t *testing.T) {
	s := postgrestest.Start(t)
	s.Exec(t, "CREATE TABLE owners (id text, owner text)", "INSERT INTO owners VALUES ('o', 'alice')",
		"CREATE ROLE reader LOGIN PASSWORD 'first'", "GRANT SELECT ON owners TO reader")
	file := filepath.Join(t.TempDir(), "password")
	write := func(password string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("first")
	b := openAt(t, strings.Replace(s.URL, "postgres@", "reader@", 1), file, "")
	if answers, err := ask(b, "alice", "o"); err != nil || answers[0] != authz.Theirs {
		t.Fatalf("%v, %v", answers, err)
	}
	s.Exec(t, "ALTER ROLE reader PASSWORD 'second-one'", "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE usename = 'reader'")
	err := errors.New("not asked")
	for range 20 { // a connection that was cut may be found out first
		if _, err = ask(b, "alice", "o"); err != nil && strings.Contains(err.Error(), "password_file") {
			break
		}
	}
	if !errors.Is(err, authz.ErrLookupUnavailable) || !strings.Contains(err.Error(), "look at the user and password_file") {
		t.Errorf("with the old password: %v", err)
	}
	write("second-one")
	if answers, err := ask(b, "alice", "o"); err != nil || answers[0] != authz.Theirs {
		t.Errorf("with the new password: %v, %v", answers, err)
	}
}

// The environment of the process says nothing about where and how to connect.
func TestEnvironmentSaysNothing(t *testing.T) {
	s := postgrestest.Start(t)
	s.Exec(t, "CREATE TABLE owners (id text, owner text)", "INSERT INTO owners VALUES ('o', 'alice')")
	home := t.TempDir()
	pass := filepath.Join(home, "pgpass")
	if err := os.WriteFile(pass, []byte("*:*:*:*:"+postgrestest.Password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"PGHOST": "192.0.2.1", "PGPORT": "1", "PGUSER": "mallory", "PGDATABASE": "other", "PGPASSWORD": "wrong", "PGSSLMODE": "require", "PGOPTIONS": "-c default_transaction_read_only=off",
		"PGTARGETSESSIONATTRS": "standby", "PGAPPNAME": "other", "PGPASSFILE": pass,
	} {
		t.Setenv(name, value)
	}
	b := open(t, s, "SELECT id, owner FROM owners WHERE id = ANY(@ids) AND current_user = 'postgres' AND current_setting('default_transaction_read_only') = 'on' AND current_setting('application_name') = 'sallyport'")
	if answers, err := ask(b, "alice", "o"); err != nil || answers[0] != authz.Theirs {
		t.Errorf("%v, %v", answers, err)
	}
	// Without a password in the policy there is none, wherever else one lies.
	t.Setenv("PGPASSWORD", postgrestest.Password)
	none, err := sql.New(&policy.SQLLookup{URL: s.URL, Query: "SELECT id, owner FROM owners WHERE id = ANY(@ids)"}, sql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	if _, err := ask(none, "alice", "o"); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("a password of the environment is used: %v", err)
	}
}

// A server that is away, or too slow, is unavailable; one that comes back is asked again. The password is read for every connection.
func TestOutages(t *testing.T) {
	s := postgrestest.Start(t)
	s.Exec(t, "CREATE TABLE owners (id text, owner text)", "INSERT INTO owners VALUES ('o', 'alice')")
	slow, err := sql.New(&policy.SQLLookup{URL: s.URL, PasswordFile: s.PasswordFile, Query: "SELECT id, owner FROM owners, pg_sleep(60) WHERE id = ANY(@ids)"}, sql.Options{Timeout: 50 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	if _, err := ask(slow, "alice", "o"); !errors.Is(err, authz.ErrLookupUnavailable) || !strings.Contains(err.Error(), "57014") {
		t.Errorf("the server lets it run: %v", err)
	}
	b := open(t, s, "SELECT id, owner FROM owners WHERE id = ANY(@ids)")
	if answers, err := ask(b, "alice", "o"); err != nil || answers[0] != authz.Theirs {
		t.Fatalf("%v, %v", answers, err)
	}
	s.Exec(t, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'sallyport'")
	deadline := time.Now().Add(30 * time.Second)
	for answers, err := ask(b, "alice", "o"); err != nil || answers[0] != authz.Theirs; answers, err = ask(b, "alice", "o") {
		if !errors.Is(err, authz.ErrLookupUnavailable) || time.Now().After(deadline) {
			t.Fatalf("after its connections were cut: %v, %v", answers, err)
		}
	}
	s.Kill()
	if _, err := ask(b, "alice", "o"); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("while it is away: %v", err)
	}
	if err := b.Probe(t.Context()); err == nil {
		t.Error("a server that is away is there")
	}
	_ = b.Close()
	if _, err := ask(b, "alice", "o"); !errors.Is(err, authz.ErrLookupUnavailable) {
		t.Errorf("a closed lookup: %v", err)
	}
	// What PostgreSQL cannot hold, it is not asked about.
	unasked, err := sql.New(&policy.SQLLookup{URL: "postgres://u@127.0.0.1:1/d", Query: "SELECT id, owner FROM owners WHERE id = ANY(@ids)"}, sql.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"a\x00", "\xff"} {
		if answers, err := ask(unasked, "alice", id); err != nil || answers[0] != authz.NotThere {
			t.Errorf("%q: %v, %v", id, answers, err)
		}
	}
}

func TestSettings(t *testing.T) {
	const query = "SELECT id, owner FROM owners WHERE id = ANY(@ids)"
	for _, test := range []struct{ url, query, ca, want string }{
		{"postgres://u@db:5432/d?sslmode=verify-full", query, "", ""},
		{"postgresql://u@db/d?sslmode=disable", query, "", ""},
		{"postgres://u@localhost/d", query, "", ""},
		{"postgres://u@[::1]:5432/d", query, "", ""},
		{"postgres://u@/d?host=/run/postgresql", query, "", ""},
		{"postgres://u@db/d", query, "", "write sslmode=verify-full"},
		{"postgres://u@db/d?sslmode=prefer", query, "", "sslmode=prefer proves nobody"},
		{"postgres://u@db/d?sslmode=require", query, "", "sslmode=require proves nobody"},
		{"postgres://u:pw@db/d?sslmode=verify-full", query, "", "a password in a URL is refused"},
		{"postgres://u@db/d?sslmode=verify-full&password=pw", query, "", "the parameter password is not taken"},
		{"postgres://u@db/d?sslmode=verify-full&sslmode=disable", query, "", "the parameter sslmode is not taken"},
		{"postgres://u@db/d?sslmode=disable&options=-c%20x", query, "", "the parameter options is not taken"},
		{"postgres://u@a,b/d?sslmode=verify-full", query, "", "name one host"},
		{"postgres://db/d?sslmode=verify-full", query, "", "name the user and the database"},
		{"postgres://u@db?sslmode=verify-full", query, "", "name the user and the database"},
		{"postgres://u@db:0/d?sslmode=verify-full", query, "", "the port is none"},
		{"mysql://u@db/d", query, "", "write postgres://"},
		{"postgres://u@/d?host=run", query, "", "the folder of a Unix socket"},
		{"postgres://u@db/d?sslmode=verify-ca", query, "/etc/ca.pem", ""},
		{"postgres://u@db/d?sslmode=verify-ca", query, "", "verify-ca needs a ca_file"},
		{"postgres://u@/d?host=/run/postgresql&sslmode=verify-full", query, "", "no TLS on a Unix socket"},
		{"postgres://u@db/d?sslmode=verify-full&service=x", query, "", "the parameter service is not taken"},
		{"postgres://u%00@db/d?sslmode=disable", query, "", "NUL"},
		{"postgres://u@localhost/d", query, "/etc/ca.pem", "it needs sslmode=verify-full"},
		{"postgres://u@localhost/d", "SELECT 1", "", "it does not read @ids"},
		{"postgres://u@localhost/d", query + "; DROP TABLE owners", "", "one statement only"},
		{"postgres://u@localhost/d", query + " AND x = $1", "", "neither $ nor"},
		{"postgres://u@localhost/d", query + ` AND x = E'\''`, "", "neither $ nor"},
		{"postgres://u@localhost/d", query + " AND x = @whom", "", "there is no parameter @whom"},
		{"postgres://u@localhost/d", query + " AND x = 'a", "", "has no end"},
		{"postgres://u@localhost/d", query + " /* a /* b */", "", "has no end"},
		{"postgres://u@localhost/d", "SELECT '@ids'", "", "it does not read @ids"},
		{"postgres://u@localhost/d", "SELECT id, owner FROM owners -- @ids\n WHERE true", "", "it does not read @ids"},
		{"postgres://u@localhost/d", "SELECT id, owner FROM owners -- it ends\r WHERE id = ANY(@ids)", "", ""},
		{"postgres://u@localhost/d", query + " AND tenant=@tenant", "", ""},
		{"postgres://u@localhost/d", query + " AND owners <@ids", "", "<@ is an operator"},
		{"postgres://u@localhost/d", query + " AND id ^@tenant", "", "^@ is an operator"},
		{"postgres://u@localhost/d", query + " AND owners @> ARRAY['x']", "", "there is no parameter @:"},
	} {
		b, err := sql.New(&policy.SQLLookup{URL: test.url, Query: test.query, CAFile: test.ca}, sql.Options{})
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s, %s: %v, want %q", test.url, test.query, err, test.want)
		}
		if err == nil {
			_ = b.Close()
		} else if strings.Contains(err.Error(), "pw@") {
			t.Errorf("the password is shown: %v", err)
		}
	}
}

func BenchmarkSQL(b *testing.B) {
	s := postgrestest.Start(b)
	s.Exec(b, "CREATE TABLE owners (id text PRIMARY KEY, owner text)", "INSERT INTO owners SELECT 'o-' || n, 'alice' FROM generate_series(1, 10000) n", "ANALYZE owners")
	backend := open(b, s, "SELECT id, owner FROM owners WHERE id = ANY(@ids)")
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			var ids []string
			for i := range n {
				ids = append(ids, fmt.Sprintf("o-%d", i+1))
			}
			answers := make([]authz.Standing, n)
			b.ReportAllocs()
			for b.Loop() {
				if err := backend.Ask(b.Context(), &authz.Question{Subject: "alice", Objects: ids}, answers); err != nil || answers[n-1] != authz.Theirs {
					b.Fatal(answers, err)
				}
			}
		})
	}
}
