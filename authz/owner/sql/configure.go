package sql

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/sallyport-dev/sallyport/authz/owner/secrets"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

const (
	defaultTimeout     = 50 * time.Millisecond
	defaultConnections = 16
	// connectTimeout bounds one attempt to connect. Whoever waits for it may leave earlier.
	connectTimeout = 2 * time.Second
)

// place is what a URL says.
type place struct {
	host, port, user, database string
	tls                        bool
}

// parse reads postgres://user@host:port/database?sslmode=..., or postgres://user@/database?host=/folder of a Unix socket. It reads no more
// of libpq's parameters: each could weaken what the policy says, and several read files.
func parse(text string) (place, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return place{}, errors.New("url: write postgres://user@host:5432/database?sslmode=verify-full")
	}
	q := u.Query()
	for name := range q {
		if name != "sslmode" && name != "host" || len(q[name]) != 1 {
			return place{}, fmt.Errorf("url: the parameter %s is not taken: only sslmode, and host for a Unix socket's folder", name)
		}
	}
	p := place{host: u.Hostname(), port: cmp.Or(u.Port(), "5432"), user: u.User.Username(), database: strings.TrimPrefix(u.Path, "/")}
	if socket := q.Get("host"); socket != "" {
		if p.host != "" || !strings.HasPrefix(socket, "/") {
			return place{}, errors.New("url: host= is the folder of a Unix socket, and then no other host stands in the URL")
		}
		p.host = socket
	}
	if _, has := u.User.Password(); has {
		return place{}, errors.New("url: a password in a URL is refused: write password_file")
	}
	switch port, err := strconv.Atoi(p.port); {
	case p.host == "" || strings.Contains(p.host, ","):
		return place{}, errors.New("url: name one host")
	case p.user == "" || p.database == "" || strings.Contains(p.database, "/"):
		return place{}, errors.New("url: name the user and the database: postgres://user@host:5432/database")
	case err != nil || port < 1 || port > 65535:
		return place{}, errors.New("url: the port is none")
	}
	near := strings.HasPrefix(p.host, "/") || p.host == "localhost" || net.ParseIP(p.host).IsLoopback()
	switch mode := q.Get("sslmode"); {
	case mode == "verify-full" && !strings.HasPrefix(p.host, "/"):
		p.tls = true
	case mode == "disable", mode == "" && near:
	case mode == "":
		return place{}, errors.New("url: write sslmode=verify-full, or sslmode=disable where the mesh encrypts")
	default:
		return place{}, fmt.Errorf("url: sslmode=%s proves nobody: write verify-full, or disable where the mesh encrypts", mode)
	}
	return p, nil
}

// configure makes the pool's settings by the policy alone: the library also reads libpq's environment (PGPASSWORD, PGSSLMODE, a password
// file in the home folder), and everything that it can have taken from there is set again.
func configure(l *policy.SQLLookup, o Options) (*pgxpool.Config, error) {
	p, err := parse(l.URL)
	if err != nil {
		return nil, err
	}
	if l.CAFile != "" && !p.tls {
		return nil, errors.New("ca_file: it needs sslmode=verify-full")
	}
	files, err := secrets.NewTLS(secrets.Files{CA: l.CAFile})
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig("sslmode=disable host=" + quoted(p.host) + " port=" + p.port + " user=" + quoted(p.user) + " dbname=" + quoted(p.database))
	if err != nil {
		return nil, errors.New("the settings cannot be read: is there a PG* variable in the environment?")
	}
	c := config.ConnConfig
	c.Password, c.TLSConfig, c.Fallbacks, c.ValidateConnect, c.AfterConnect = "", nil, nil, nil, nil
	c.ConnectTimeout = connectTimeout
	c.RuntimeParams = map[string]string{
		"application_name":              "sallyport",
		"default_transaction_read_only": "on",
		"statement_timeout":             strconv.FormatInt(max(1, cmp.Or(o.Timeout, defaultTimeout).Milliseconds()), 10),
	}
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement // prepared once on each connection
	config.MaxConns = int32(cmp.Or(max(o.Connections, 0), defaultConnections))
	config.MinConns, config.MinIdleConns = 0, 0
	var password *secrets.Token
	if l.PasswordFile != "" {
		password = secrets.NewPassword(l.PasswordFile)
	}
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		var err error
		if password != nil {
			if c.Password, err = password.Read(); err != nil {
				return err
			}
		}
		if p.tls {
			var trust *tls.Config
			if trust, err = files.Config(); err != nil {
				return err
			}
			trust.ServerName = p.host
			c.TLSConfig = trust
		}
		return nil
	}
	return config, nil
}

// quoted is a value in libpq's keyword form.
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
