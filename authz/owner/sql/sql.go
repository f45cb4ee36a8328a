// Package sql knows whose objects are from PostgreSQL: one prepared query, read only, for all objects of a question at once. It is a room
// of its own because what a query may hold, which columns are an answer and which error is an outage is knowledge of that server alone.
//
// Read only and the bound on a query's time are told to the server when a connection begins. A PgBouncer passes neither on: it must be told
// to ignore them, and then the role must have them itself (ALTER ROLE ... SET default_transaction_read_only = on, and statement_timeout).
// Prepared statements pass it with max_prepared_statements above 0.
package sql

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/owner"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// An answer is bounded: a thousand objects with ten owners each, and what the texts of so many weigh.
const (
	maxRows  = 10_000
	maxBytes = 4 << 20
	// maxMessage bounds one message of the server, which is one row or less, before memory is taken for it.
	maxMessage = 1 << 20
)

// Options of a Backend. The zero value works.
type Options struct {
	// Timeout is what the server itself allows a query; zero is 50 ms. Whoever asks may leave earlier.
	Timeout time.Duration
	// Connections bounds the pool; zero is 16.
	Connections int
}

// Backend is an owner.Backend on a pool of connections. It is safe for concurrent use.
type Backend struct {
	query string
	names []string // of the parameters, in order
	pool  func() (*pgxpool.Pool, error)

	mu     sync.Mutex
	opened *pgxpool.Pool
	closed bool
}

// New makes a Backend. It dials nobody: the pool is made by the first question.
func New(l *policy.SQLLookup, o Options) (*Backend, error) {
	query, names, err := rewrite(l.Query)
	if err != nil {
		return nil, fmt.Errorf("owner/sql: query: %w", err)
	}
	config, err := configure(l, o)
	if err != nil {
		return nil, fmt.Errorf("owner/sql: %w", err)
	}
	b := &Backend{query: query, names: names}
	b.pool = sync.OnceValues(func() (*pgxpool.Pool, error) { return b.open(config) })
	return b, nil
}

var errClosed = errors.New("the lookup is closed")

func (b *Backend) open(config *pgxpool.Config) (*pgxpool.Pool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return nil, errClosed
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	b.opened = pool
	return pool, err
}

// Close ends the connections, those in use when they come back.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	pool := b.opened
	b.mu.Unlock()
	if pool != nil {
		pool.Close()
	}
	return nil
}

// Ask implements owner.Backend.
func (b *Backend) Ask(ctx context.Context, q *authz.Question, answers []authz.Standing) error {
	ids := make([]string, 0, len(q.Objects))
	owners := make(map[string][]string, len(q.Objects))
	for _, id := range q.Objects {
		if _, twice := owners[id]; !twice && sayable(id) {
			ids = append(ids, id)
		}
		owners[id] = nil
	}
	if len(ids) > 0 && sayable(q.Subject) && sayable(q.Relation) && sayable(q.Tenant) {
		if err := b.rows(ctx, q, ids, owners); err != nil {
			return err
		}
	}
	for i, id := range q.Objects {
		answers[i] = owner.Judge(owners[id], q.Subject)
	}
	return nil
}

// sayable reports whether PostgreSQL has a text like this. What it cannot hold, nobody owns there.
func sayable(text string) bool { return utf8.ValidString(text) && strings.IndexByte(text, 0) < 0 }

// rows asks the query and gathers who owns each of the ids.
func (b *Backend) rows(ctx context.Context, q *authz.Question, ids []string, owners map[string][]string) error {
	pool, err := b.pool()
	if err != nil {
		return unavailable(err)
	}
	rows, err := pool.Query(ctx, b.query, b.arguments(q, ids)...)
	if err != nil {
		return refused(err)
	}
	defer rows.Close()
	// Now, or never: after the last row the connection, and what it says here, may be somebody else's.
	shape := readable(rows.FieldDescriptions())
	for count, size := 0, 0; shape == nil && rows.Next(); count++ {
		for _, value := range rows.RawValues() {
			size += len(value)
		}
		var id, of *string
		if err := rows.Scan(&id, &of); err != nil {
			return fmt.Errorf("owner/sql: %w: a row cannot be read", authz.ErrLookupAnswer)
		}
		switch {
		case count >= maxRows || size > maxBytes:
			return fmt.Errorf("owner/sql: %w: more than %d rows or %d bytes", authz.ErrLookupAnswer, maxRows, maxBytes)
		case id == nil:
			return fmt.Errorf("owner/sql: %w: a row without an id", authz.ErrLookupAnswer)
		}
		known, asked := owners[*id]
		if !asked {
			return fmt.Errorf("owner/sql: %w: a row about an id that was not asked for", authz.ErrLookupAnswer)
		}
		if of != nil {
			owners[*id] = append(known, *of)
		}
	}
	rows.Close() // an error tells more than the shape: where there is one, there is none
	if err := rows.Err(); err != nil {
		return refused(err)
	}
	if shape != nil {
		return fmt.Errorf("owner/sql: %w: %w", authz.ErrLookupAnswer, shape)
	}
	return nil
}

func (b *Backend) arguments(q *authz.Question, ids []string) []any {
	arguments := make([]any, len(b.names))
	for i, name := range b.names {
		switch name {
		case "ids":
			arguments[i] = ids
		case "subject":
			arguments[i] = q.Subject
		case "relation":
			arguments[i] = q.Relation
		case "tenant":
			arguments[i] = q.Tenant
		}
	}
	return arguments
}

// readable holds the answer's columns to two texts.
func readable(columns []pgconn.FieldDescription) error {
	if len(columns) != 2 {
		return fmt.Errorf("the query returns %d columns, and an answer has two: the id and an owner of it", len(columns))
	}
	for i, what := range [...]string{"id", "owner"} {
		switch columns[i].DataTypeOID {
		case pgtype.TextOID, pgtype.VarcharOID, pgtype.NameOID, pgtype.UUIDOID:
		default:
			return fmt.Errorf("the %s is no text: write ::text behind it", what)
		}
	}
	return nil
}

// Probe implements owner.Prober: it prepares the query, and so tells what is wrong with it before anybody asks.
func (b *Backend) Probe(ctx context.Context) error {
	pool, err := b.pool()
	if err != nil {
		return unavailable(err)
	}
	conn, err := pool.Acquire(ctx)
	if err != nil {
		return refused(err)
	}
	defer conn.Release()
	statement, err := conn.Conn().Prepare(ctx, b.query, b.query)
	if err != nil {
		return refused(err)
	}
	if err := readable(statement.Fields); err != nil {
		return fmt.Errorf("owner/sql: %w", err)
	}
	return nil
}

func unavailable(err error) error {
	return fmt.Errorf("owner/sql: %w: %w", authz.ErrLookupUnavailable, err)
}

// refused judges an error. What the server says of a value (class 22, as of an id that is no uuid), of how many there are (21, as of a
// subquery with two rows) or by a function of the operator's (P0, as RAISE), and a row that is too long, are about the object; everything
// else is about the server, the way there, or the query. The server's own words are left out where they quote values.
func refused(err error) error {
	if _, long := errors.AsType[*pgproto3.ExceededMaxBodyLenErr](err); long {
		return fmt.Errorf("owner/sql: %w: a row is longer than %d bytes", authz.ErrLookupAnswer, maxMessage)
	}
	server, ok := errors.AsType[*pgconn.PgError](err)
	if !ok {
		return unavailable(err)
	}
	switch {
	case strings.HasPrefix(server.Code, "22"):
		return fmt.Errorf("owner/sql: %w: the query cannot take an id (SQLSTATE %s)", authz.ErrLookupAnswer, server.Code)
	case strings.HasPrefix(server.Code, "21"), strings.HasPrefix(server.Code, "P0"):
		return fmt.Errorf("owner/sql: %w: the query fails for an object (SQLSTATE %s)", authz.ErrLookupAnswer, server.Code)
	case strings.HasPrefix(server.Code, "42"):
		return fmt.Errorf("owner/sql: %w: the query is wrong: %s (SQLSTATE %s)", authz.ErrLookupUnavailable, server.Message, server.Code)
	case strings.HasPrefix(server.Code, "28"):
		return fmt.Errorf("owner/sql: %w: the server refuses our credentials (SQLSTATE %s): look at the user and password_file", authz.ErrLookupUnavailable, server.Code)
	case server.Code == "25006":
		return fmt.Errorf("owner/sql: %w: the query writes, and may only read", authz.ErrLookupUnavailable)
	}
	return fmt.Errorf("owner/sql: %w: SQLSTATE %s", authz.ErrLookupUnavailable, server.Code)
}

// parameters are the names that a query may read, and their types.
var parameters = map[string]string{"ids": "text[]", "subject": "text", "relation": "text", "tenant": "text"}

// rewrite makes a query with @names one with $1, $2, ..., once, with the type of each, so that the server does not guess. What stands in
// quotes and comments is left alone. It refuses what it cannot read as the server does.
func rewrite(query string) (text string, names []string, err error) {
	if strings.ContainsAny(query, "$\\\x00") {
		return "", nil, errors.New("it may hold neither $ nor \\: parameters are @ids, @subject, @relation and @tenant")
	}
	var b strings.Builder
	for i := 0; i < len(query); {
		size, inert := span(query[i:])
		if size < 0 {
			return "", nil, errors.New("a quote or a comment has no end")
		}
		if inert {
			b.WriteString(query[i : i+size])
			i += size
			continue
		}
		switch c := query[i]; {
		case c == ';':
			return "", nil, errors.New("it may be one statement only, without ;")
		case c == '@':
			name := identifier(query[i+1:])
			if i > 0 && strings.IndexByte("<^?", query[i-1]) >= 0 {
				return "", nil, fmt.Errorf("%s@ is an operator: write a space before a parameter, and no operator that holds an @", query[i-1:i])
			}
			if parameters[name] == "" {
				return "", nil, fmt.Errorf("there is no parameter @%s: there are @ids, @subject, @relation and @tenant", name)
			}
			at := index(names, name)
			if at < 0 {
				names, at = append(names, name), len(names)
			}
			b.WriteString("$" + strconv.Itoa(at+1) + "::" + parameters[name])
			i += 1 + len(name)
		default:
			b.WriteByte(c)
			i++
		}
	}
	if index(names, "ids") < 0 {
		return "", nil, errors.New("it does not read @ids")
	}
	return b.String(), names, nil
}

func index(names []string, name string) int {
	for i := range names {
		if names[i] == name {
			return i
		}
	}
	return -1
}

func identifier(s string) string {
	for i := range len(s) {
		if c := s[i]; (c|0x20 < 'a' || c|0x20 > 'z') && c != '_' && (c < '0' || c > '9') {
			return s[:i]
		}
	}
	return s
}

// span is the length of a quoted text, a quoted name or a comment at the beginning of s; false if there is none, -1 if it has no end.
// Without backslashes a quote ends a quoted text, and two are one, whatever the server's settings.
func span(s string) (size int, inert bool) {
	switch {
	case s[0] == '\'' || s[0] == '"':
		end := strings.IndexByte(s[1:], s[0])
		if end < 0 {
			return -1, true
		}
		return end + 2, true
	case strings.HasPrefix(s, "--"):
		if end := strings.IndexAny(s, "\r\n"); end >= 0 {
			return end + 1, true
		}
		return len(s), true
	case strings.HasPrefix(s, "/*"):
		depth := 1 // comments nest
		for i := 2; i < len(s); i++ {
			switch {
			case strings.HasPrefix(s[i:], "/*"):
				depth++
				i++
			case strings.HasPrefix(s[i:], "*/"):
				depth--
				i++
				if depth == 0 {
					return i + 1, true
				}
			}
		}
		return -1, true
	}
	return 0, false
}
