package secrets

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
)

// Files name what one side of a TLS connection needs. All may be "": then the system's roots are trusted and no certificate is shown.
type Files struct {
	// CA is a bundle of roots in PEM, trusted instead of the system's.
	CA string
	// Cert and Key are the client's certificate chain and key in PEM; both or none.
	Cert, Key string
}

// TLS is a client's side of TLS, by files that are read again when they changed. It is safe for concurrent use.
type TLS struct {
	files Files

	mu     sync.Mutex
	stamps [3]stamp
	last   *tls.Config
}

// NewTLS is the configuration by the files, none of which is opened yet. Whom the server's certificate must be of is left to who dials.
// One of Cert and Key alone is an error.
func NewTLS(files Files) (*TLS, error) {
	if (files.Cert == "") != (files.Key == "") {
		return nil, errors.New("secrets: a client certificate and its key belong together")
	}
	return &TLS{files: files}, nil
}

// Config is the configuration for a handshake now; it is the caller's own. While the files cannot be read, or are no pair because one of
// them was replaced before the other, it is the last good one. An error means that there was never one: no other roots and no
// connection without the certificate are tried instead.
func (t *TLS) Config() (*tls.Config, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	stamps, err := t.look()
	if err == nil && (t.last == nil || !same(stamps, t.stamps)) {
		var next *tls.Config
		if next, err = t.load(); err == nil {
			t.last, t.stamps = next, stamps
		}
	}
	if t.last == nil {
		return nil, err
	}
	return t.last.Clone(), nil
}

func (t *TLS) look() (stamps [3]stamp, err error) {
	for i, path := range [3]string{t.files.CA, t.files.Cert, t.files.Key} {
		if path == "" {
			continue
		}
		if stamps[i], err = stampOf(path); err != nil {
			return stamps, err
		}
	}
	return stamps, nil
}

func same(a, b [3]stamp) bool {
	for i := range a {
		if (a[i].file != nil || b[i].file != nil) && !a[i].same(b[i]) {
			return false
		}
	}
	return true
}

// load reads the files. Its errors name files and never quote them: one of them is a private key.
func (t *TLS) load() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if t.files.CA != "" {
		text, err := read(t.files.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("secrets: %s holds no certificate in PEM", t.files.CA)
		}
	}
	if t.files.Cert == "" {
		return config, nil
	}
	cert, err := read(t.files.Cert)
	if err != nil {
		return nil, err
	}
	key, err := read(t.files.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("secrets: %s and %s are not a pair: %w", t.files.Cert, t.files.Key, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}
