package daemon

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// TLSFiles names what a listener shows and whom it lets in. The zero value is no TLS. Every file is read again when it changes.
type TLSFiles struct {
	// Cert and Key are PEM files: the chain, leaf first, and its private key. Both or neither.
	Cert, Key string
	// ClientCA is a PEM bundle of the authorities that sign clients. Empty: clients show no certificate.
	ClientCA string
	// ClientIDs is who may connect: "spiffe://trust.domain/ns/*/sa/name", where * is one whole path segment, or "dns:name".
	// Empty: any client that ClientCA signed, which is refused off loopback.
	ClientIDs []string
	// ClientName is the host name that a client's certificate must be valid for, as x509 matches them, beside what ClientIDs ask.
	// It needs ClientCA. Empty: none.
	ClientName string
	// AnyClient says that others than this machine may connect without being named, and without a certificate where there is no
	// ClientCA: the rule of envoyproxy/ratelimit, for a process that stands in its place.
	AnyClient bool
	// Min is the lowest version offered: tls.VersionTLS13 (also the meaning of zero) or tls.VersionTLS12.
	Min uint16
}

// Enabled says that any part of TLS was asked for, so that half a configuration is an error and never plain text.
func (f TLSFiles) Enabled() bool {
	return f.Cert != "" || f.Key != "" || f.ClientCA != "" || len(f.ClientIDs) > 0 || f.ClientName != ""
}

// check refuses what would be weaker than it looks. Open says that others than this machine can connect.
func (f TLSFiles) check(open bool) error {
	switch {
	case f.Cert == "" || f.Key == "":
		return errors.New("daemon: --tls-cert and --tls-key belong together: give both")
	case (len(f.ClientIDs) > 0 || f.ClientName != "") && f.ClientCA == "":
		return errors.New("daemon: --tls-client-ids needs --tls-client-ca: a name is worth what its signer is worth")
	case open && len(f.ClientIDs) == 0 && f.ClientName == "" && !f.AnyClient:
		return errors.New("daemon: a gate off loopback needs to know its clients: give --tls-client-ca and --tls-client-ids spiffe://trust.domain/ns/*/sa/name or dns:name")
	case f.Min != 0 && f.Min != tls.VersionTLS12 && f.Min != tls.VersionTLS13:
		return errors.New("daemon: --tls-min is 1.2 or 1.3")
	}
	return nil
}

// certificates is the one current generation of a listener's TLS. A handshake takes the whole generation by one atomic load, so it
// never sees a new certificate with an old list of authorities. refresh is for one goroutine at a time, the rest for any.
type certificates struct {
	files   TLSFiles
	ids     []clientID
	log     *slog.Logger
	now     func() time.Time
	report  func(error) // told when the files' state changes: nil is good, an error means that the last good pair stays
	lines   throttle
	refused *prometheus.CounterVec

	current atomic.Pointer[generation]
	old     sync.Map // net.Conn -> struct{}: handshakes in flight whose client offered too old a version
	broken  string   // the error reported last; empty while the files are good
}

type generation struct {
	config *tls.Config
	leaf   *x509.Certificate
	sum    [sha256.Size]byte
}

// valid says whether clients would accept the certificate's dates now.
func (g *generation) valid(now time.Time) bool {
	return !now.Before(g.leaf.NotBefore) && !now.After(g.leaf.NotAfter)
}

// load reads the files for the first time. A certificate that is out of date is served all the same, with a warning: the files may
// be replaced under a running gate, and not under one that exited.
func (c *certificates) load() error {
	ids, err := parseClientIDs(c.files.ClientIDs)
	if err != nil {
		return err
	}
	c.ids = ids
	next, err := c.read()
	if err != nil {
		return err
	}
	c.current.Store(next)
	if !next.valid(c.now()) {
		c.log.Warn("the TLS certificate is out of date: clients will refuse it until its files are replaced",
			"file", c.files.Cert, "not_before", next.leaf.NotBefore, "not_after", next.leaf.NotAfter)
	}
	return nil
}

// refresh reads the files again and swaps the generation if they changed and are good.
func (c *certificates) refresh() {
	next, err := c.read()
	last := c.current.Load()
	if err == nil && next.sum != last.sum && !next.valid(c.now()) && last.valid(c.now()) {
		err = fmt.Errorf("daemon: %s is out of date (%s to %s), the one in use is not", c.files.Cert,
			next.leaf.NotBefore.Format(time.RFC3339), next.leaf.NotAfter.Format(time.RFC3339))
	}
	if err != nil {
		if c.broken != err.Error() {
			c.broken = err.Error()
			c.report(err)
		}
		return
	}
	changed := next.sum != last.sum
	if changed {
		c.current.Store(next)
		c.log.Info("TLS files replaced", "file", c.files.Cert, "not_after", next.leaf.NotAfter)
	}
	if changed || c.broken != "" {
		c.broken = ""
		c.report(nil)
	}
}

// read makes a generation of the files as they are now. Its errors name files and never quote them: one of them is a private key.
func (c *certificates) read() (*generation, error) {
	cert, err := readCapped(c.files.Cert)
	if err != nil {
		return nil, fmt.Errorf("daemon: --tls-cert: %w", err)
	}
	key, err := readCapped(c.files.Key)
	if err != nil {
		return nil, fmt.Errorf("daemon: --tls-key: %w", err)
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("daemon: %s and %s are not a pair: %w", c.files.Cert, c.files.Key, err)
	}
	next := &generation{leaf: pair.Leaf}
	var authorities []byte
	var pool *x509.CertPool
	if c.files.ClientCA != "" {
		if authorities, err = readCapped(c.files.ClientCA); err != nil {
			return nil, fmt.Errorf("daemon: --tls-client-ca: %w", err)
		}
		if pool, err = parsePool(authorities); err != nil {
			return nil, fmt.Errorf("daemon: --tls-client-ca %s: %w", c.files.ClientCA, err)
		}
	}
	next.sum = sumOf(cert, key, authorities)
	next.config = c.config(pair, pool)
	return next, nil
}

// config is the configuration of one generation's handshakes. Tickets are off, for a resumed session would keep a client in that the
// new files or the new list keep out.
func (c *certificates) config(pair tls.Certificate, pool *x509.CertPool) *tls.Config {
	config := &tls.Config{
		Certificates:           []tls.Certificate{pair},
		MinVersion:             c.min(),
		NextProtos:             []string{"h2"},
		SessionTicketsDisabled: true,
	}
	if pool == nil {
		return config
	}
	config.ClientCAs = pool
	config.ClientAuth = tls.RequireAndVerifyClientCert
	if len(c.ids) > 0 || c.files.ClientName != "" {
		config.VerifyConnection = func(state tls.ConnectionState) error {
			if len(state.VerifiedChains) == 0 {
				return errClientID
			}
			return c.admits(state.VerifiedChains[0][0])
		}
	}
	return config
}

// admits judges a verified leaf by everything that the files ask of a client.
func (c *certificates) admits(leaf *x509.Certificate) error {
	if c.files.ClientName != "" {
		if err := leaf.VerifyHostname(c.files.ClientName); err != nil {
			return fmt.Errorf("%w: %w", errClientID, err)
		}
	}
	if len(c.ids) == 0 {
		return nil
	}
	return admit(c.ids, leaf)
}

func (c *certificates) min() uint16 {
	if c.files.Min == tls.VersionTLS12 {
		return tls.VersionTLS12
	}
	return tls.VersionTLS13
}

// listener is the configuration to serve with: every handshake asks for the current generation.
func (c *certificates) listener() *tls.Config {
	return &tls.Config{
		MinVersion:             c.min(),
		SessionTicketsDisabled: true,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if !slices.ContainsFunc(hello.SupportedVersions, func(v uint16) bool { return v >= c.min() && v <= tls.VersionTLS13 }) {
				c.old.Store(hello.Conn, struct{}{})
			}
			return c.current.Load().config, nil
		},
	}
}

// watch keeps the generation fresh until ctx ends.
func (c *certificates) watch(ctx context.Context, w watch) error {
	files := []string{c.files.Cert, c.files.Key}
	if c.files.ClientCA != "" {
		files = append(files, c.files.ClientCA)
	}
	w.relevant = func(string) bool { return true }
	for _, f := range files {
		w.folders = append(w.folders, filepath.Dir(f))
	}
	return w.run(ctx, c.refresh)
}

// parsePool reads a bundle of certificates. Anything else in it is an error: a bundle that half loads lets in half the clients.
func parsePool(data []byte) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	n := 0
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			return nil, errors.New("holds something other than certificates: leave only CERTIFICATE blocks")
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("certificate %d: %w", n+1, err)
		}
		pool.AddCert(certificate)
		n++
	}
	if n == 0 {
		return nil, errors.New("holds no PEM certificate")
	}
	return pool, nil
}

func sumOf(parts ...[]byte) [sha256.Size]byte {
	var all bytes.Buffer
	for _, p := range parts {
		one := sha256.Sum256(p)
		all.Write(one[:])
	}
	return sha256.Sum256(all.Bytes())
}
