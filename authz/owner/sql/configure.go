package sql

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
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
	// mode is how the connection is encrypted: verify-full, verify-ca or disable.
	mode string
}

func (p *place) encrypted() bool { return p.mode != "disable" }

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
	case strings.IndexByte(p.host+p.user+p.database, 0) >= 0:
		return place{}, errors.New("url: no name in it can hold a NUL")
	}
	if err := p.encryption(q.Get("sslmode")); err != nil {
		return place{}, fmt.Errorf("url: %w", err)
	}
	return p, nil
}

// encryption judges the mode. The modes of libpq that encrypt without asking for whom (require), or go on in the clear where the server
// likes (prefer, allow), are refused: who reads them believes more than they do.
func (p *place) encryption(mode string) error {
	socket := strings.HasPrefix(p.host, "/")
	near := socket || p.host == "localhost" || net.ParseIP(p.host).IsLoopback()
	switch {
	case (mode == "verify-full" || mode == "verify-ca") && socket:
		return fmt.Errorf("sslmode=%s: there is no TLS on a Unix socket", mode)
	case mode == "verify-full", mode == "verify-ca", mode == "disable":
		p.mode = mode
	case mode == "" && near:
		p.mode = "disable"
	case mode == "":
		return errors.New("write sslmode=verify-full, or sslmode=disable where the mesh encrypts")
	default:
		return fmt.Errorf("sslmode=%s proves nobody: write verify-full, verify-ca with a ca_file, or disable where the mesh encrypts", mode)
	}
	return nil
}

// configure makes the pool's settings by the policy alone.
func configure(l *policy.SQLLookup, o Options) (*pgxpool.Config, error) {
	p, err := parse(l.URL)
	switch {
	case err != nil:
		return nil, err
	case l.CAFile != "" && !p.encrypted():
		return nil, errors.New("ca_file: it needs sslmode=verify-full or verify-ca")
	case l.CAFile == "" && p.mode == "verify-ca":
		return nil, errors.New("url: sslmode=verify-ca needs a ca_file: any certificate of a public authority would do else")
	}
	files, err := secrets.NewTLS(secrets.Files{CA: l.CAFile})
	if err != nil {
		return nil, err
	}
	config, err := blank(&p)
	if err != nil {
		return nil, err
	}
	config.ConnConfig.RuntimeParams = map[string]string{
		"application_name": "sallyport",
		// A role's or a database's own encoding would read our texts as others: in LATIN1 the bytes of one object's name are another's.
		"client_encoding":               "UTF8",
		"default_transaction_read_only": "on",
		"statement_timeout":             strconv.FormatInt(max(1, cmp.Or(o.Timeout, defaultTimeout).Milliseconds()), 10),
	}
	config.MaxConns = int32(cmp.Or(max(o.Connections, 0), defaultConnections))
	var password *secrets.Token
	if l.PasswordFile != "" {
		password = secrets.NewPassword(l.PasswordFile)
	}
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) (err error) {
		if password != nil {
			if c.Password, err = password.Read(); err != nil {
				return err
			}
		}
		if p.encrypted() {
			c.TLSConfig, err = p.trust(files)
		}
		return err
	}
	return config, nil
}

// untouched are libpq's parameters as they are where nobody says anything. The library takes what is missing in a connection's text from
// the environment (PGSSLROOTCERT, PGREQUIREAUTH) and the home folder (.pgpass), so nothing is missing in it.
const untouched = " sslmode=disable sslcert='' sslkey='' sslpassword='' sslrootcert='' sslsni=1 sslcertmode=allow sslnegotiation=postgres" +
	" passfile='' target_session_attrs=any channel_binding=prefer require_auth='' min_protocol_version=3.0 max_protocol_version=3.0"

// blank are settings in which nothing but the place is anybody's choice. A service file of libpq's, which PGSERVICE names, cannot be kept
// from being read; what it can say beyond the text is set again.
func blank(p *place) (*pgxpool.Config, error) {
	config, err := pgxpool.ParseConfig("host=" + quoted(p.host) + " port=" + p.port + " user=" + quoted(p.user) + " dbname=" + quoted(p.database) + " password=''" +
		" connect_timeout=" + strconv.Itoa(int(connectTimeout.Seconds())) + untouched)
	if err != nil {
		return nil, errors.New("the settings cannot be read: unset PGSERVICE, which is not heeded") // nothing else can be wrong with this text
	}
	c := config.ConnConfig
	c.Fallbacks, c.ValidateConnect, c.AfterConnect = nil, nil, nil
	c.KerberosSrvName, c.KerberosSpn = "", ""
	c.MaxProtocolMessageBodyLen = maxMessage
	c.DefaultQueryExecMode = pgx.QueryExecModeCacheStatement // prepared once on each connection
	c.StatementCacheCapacity, c.DescriptionCacheCapacity = 8, 8
	config.MinConns, config.MinIdleConns = 0, 0
	config.MaxConnLifetime, config.MaxConnLifetimeJitter, config.MaxConnIdleTime = time.Hour, 6*time.Minute, 30*time.Minute
	config.HealthCheckPeriod, config.PingTimeout = time.Minute, connectTimeout
	return config, nil
}

// trust is TLS by the roots as they are on disk now. verify-ca asks for any certificate of theirs, whatever name is in it.
func (p *place) trust(files *secrets.TLS) (*tls.Config, error) {
	config, err := files.Config()
	if err != nil {
		return nil, err
	}
	config.ServerName = p.host
	if p.mode == "verify-ca" {
		roots := config.RootCAs
		config.InsecureSkipVerify = true // of the name alone: the next line asks for the rest
		config.VerifyConnection = func(s tls.ConnectionState) error { return issuedBy(roots, s.PeerCertificates) }
	}
	return config, nil
}

// issuedBy reports whether a server's certificate is of these roots, as the standard library does but for the name.
func issuedBy(roots *x509.CertPool, chain []*x509.Certificate) error {
	if roots == nil || len(chain) == 0 {
		return errors.New("the server shows no certificate that could be of the ca_file")
	}
	between := x509.NewCertPool()
	for _, certificate := range chain[1:] {
		between.AddCert(certificate)
	}
	_, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: between})
	return err
}

// quoted is a value in libpq's keyword form.
func quoted(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'"
}
