package redisdial

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

func TestParse(t *testing.T) {
	tests := []struct {
		url  string
		want target
	}{
		// One server.
		{"redis://localhost", target{network: "tcp", addrs: []string{"localhost:6379"}}},
		{"redis://localhost/", target{network: "tcp", addrs: []string{"localhost:6379"}}},
		{"redis://10.0.0.1:7000/3", target{network: "tcp", addrs: []string{"10.0.0.1:7000"}, db: 3}},
		{"redis://[::1]", target{network: "tcp", addrs: []string{"[::1]:6379"}}},
		{"redis://[::1]:7000/1", target{network: "tcp", addrs: []string{"[::1]:7000"}, db: 1}},
		{"rediss://cache.example.com", target{network: "tcp", addrs: []string{"cache.example.com:6379"}, tls: true}},
		// Sentinels.
		{"redis+sentinel://main@h1,h2:7000,[::1]/2", target{network: "tcp", addrs: []string{"h1:26379", "h2:7000", "[::1]:26379"}, master: "main", db: 2}},
		{"rediss+sentinel://main@h1", target{network: "tcp", addrs: []string{"h1:26379"}, master: "main", tls: true}},
		// A cluster.
		{"redis+cluster://h1,h2:7000,[::1]", target{network: "tcp", addrs: []string{"h1:6379", "h2:7000", "[::1]:6379"}, cluster: true}},
		{"rediss+cluster://h1/0", target{network: "tcp", addrs: []string{"h1:6379"}, cluster: true, tls: true}},
		// A socket.
		{"unix:///run/valkey.sock", target{network: "unix", addrs: []string{"/run/valkey.sock"}}},
	}
	for _, tt := range tests {
		got, err := parse(tt.url)
		if err != nil || !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%s: %+v, %v; want %+v", tt.url, got, err, tt.want)
		}
		if o, err := Parse(tt.url); err != nil || o.URL != tt.url {
			t.Errorf("Parse(%s) = %+v, %v", tt.url, o, err)
		}
	}
}

// Who needs one server is given none of a cluster's.
func TestParseOneRefusesClusters(t *testing.T) {
	for url, ok := range map[string]bool{"redis://h": true, "redis+sentinel://main@h1,h2": true, "redis+cluster://h1": false, "rediss+cluster://s3cr3t": false, "redis://u:s3cr3t@h": false} {
		if _, err := ParseOne(url); (err == nil) != ok || err != nil && strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v", url, err)
		}
	}
}

// Whatever is refused is refused without being repeated: it may hold a secret.
func TestParseRefuses(t *testing.T) {
	const secret = "s3cr3t"
	for url, says := range map[string]string{
		// Passwords, wherever they hide.
		"redis://:s3cr3t@localhost":            "no user or password",
		"redis://user:s3cr3t@localhost/0":      "no user or password",
		"redis://s3cr3t@localhost":             "no user or password",
		"rediss://user:s3cr3t@localhost":       "no user or password",
		"redis://user:s3cr3t/x@localhost":      "no user or password",
		"redis+sentinel://main:s3cr3t@h1,h2/0": "no password",
		"redis+sentinel://u:s3cr3t@main@h1":    "no password",
		"unix://user:s3cr3t@/run/valkey.sock":  "no user or password",
		"redis://localhost?password=s3cr3t":    "parameters",
		"redis://localhost#s3cr3t":             "parameters",
		"redis://user:s3cr3t%40@localhost":     "escapes",
		"s3cr3t":                               "want redis://",
		"s3cr3t://localhost":                   "unknown scheme",
		"redis://localhost:s3cr3t":             "port",
		"redis://localhost/s3cr3t":             "database",
		"redis://localhost/0\ns3cr3t":          "control characters",
		"redis+cluster://user:s3cr3t@h1,h2":    "no user or password",
		"rediss+cluster://h1,s3cr3t@h2":        "no user or password",
		"redis+cluster://h1/s3cr3t":            "database 0",
		// Not an address.
		"":                            "want redis://",
		"redis://":                    "want a host",
		"redis://:6379":               "want a host",
		"redis://h1,h2":               "one host only",
		"redis://h:0":                 "port",
		"redis://h:65536":             "port",
		"redis://::1":                 "brackets",
		"redis://[]":                  "want a host",
		"redis://h/-1":                "database",
		"redis://h/99999":             "database",
		"redis://h/0/1":               "database",
		"redis+sentinel://h1,h2":      "master's name",
		"redis+sentinel://@h1":        "master's name",
		"redis+sentinel://main@":      "want a host",
		"redis+sentinel://main@h1,,h": "want a host",
		"redis+sentinel://a/b@h1":     "master's name",
		"redis+cluster://":            "want a host",
		"redis+cluster://h1,,h2":      "want a host",
		"redis+cluster://h1,h2/1":     "database 0",
		"unix://run/valkey.sock":      "absolute path",
		"unix://":                     "absolute path",
		"unix:///run/":                "absolute path",
		"REDIS://localhost":           "unknown scheme",
		"http://localhost":            "unknown scheme",
	} {
		o, err := Parse(url)
		if err == nil {
			t.Errorf("%s: accepted as %+v", url, o)
			continue
		}
		if !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want it to say %q", url, err, says)
		}
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%s: the error repeats what may be a secret: %v", url, err)
		}
		if _, err := New(Options{URL: url}); err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: New gives %v", url, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"redis://h", "redis+sentinel://m@a,b:1/2", "unix:///x", "redis://[::1]:1/1", "redis://u:p@h"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, url string) {
		target, err := parse(url)
		if err != nil {
			return
		}
		if len(target.addrs) == 0 || target.db < 0 || (target.master == "" && strings.Contains(url, "@")) {
			t.Errorf("%q was read as %+v", url, target)
		}
	})
}

// Every client that is built obeys deadlines and sends nothing twice.
func TestClientsKeepThePromises(t *testing.T) {
	for _, url := range []string{"redis://127.0.0.1:1", "rediss://127.0.0.1:1", "redis+sentinel://main@127.0.0.1:1", "unix:///nowhere"} {
		c, err := New(Options{URL: url})
		if err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		defer c.Close()
		o := c.(*redis.Client).Options()
		// go-redis turns "no retries", -1, into 0.
		if !o.ContextTimeoutEnabled || o.MaxRetries != 0 || !o.DisableIdentity || o.Protocol != 2 {
			t.Errorf("%s: deadlines %v, retries %d, identity off %v, protocol %d", url, o.ContextTimeoutEnabled, o.MaxRetries, o.DisableIdentity, o.Protocol)
		}
		if o.PoolSize != DefaultPoolSize || o.DialTimeout != DefaultDialTimeout || o.ReadTimeout != DefaultTimeout || o.DialerRetries != 1 {
			t.Errorf("%s: pool %d, dial %v × %d, read %v", url, o.PoolSize, o.DialTimeout, o.DialerRetries, o.ReadTimeout)
		}
		if wantTLS := strings.HasPrefix(url, "rediss"); (o.TLSConfig != nil) != wantTLS || (wantTLS && o.TLSConfig.MinVersion < tls.VersionTLS12) {
			t.Errorf("%s: TLS %+v", url, o.TLSConfig)
		}
	}
}

// A cluster's client keeps them too; nothing sent twice is there the word of each command, see redisstore.
func TestClusterClientsKeepThePromises(t *testing.T) {
	c, err := New(Options{URL: "rediss+cluster://127.0.0.1:1,127.0.0.1:2"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	o := c.(*redis.ClusterClient).Options()
	if !o.ContextTimeoutEnabled || o.MaxRetries > 0 || o.MaxRedirects != maxRedirects || !o.DisableIdentity || o.Protocol != 2 || !o.DisableRoutingPolicies {
		t.Errorf("deadlines %v, retries %d, redirects %d, identity off %v, protocol %d", o.ContextTimeoutEnabled, o.MaxRetries, o.MaxRedirects, o.DisableIdentity, o.Protocol)
	}
	if o.PoolSize != DefaultPoolSize || o.DialTimeout != DefaultDialTimeout || o.ReadTimeout != DefaultTimeout || o.DialerRetries != 1 || o.ReadOnly {
		t.Errorf("pool %d, dial %v × %d, read %v, reads from replicas %v", o.PoolSize, o.DialTimeout, o.DialerRetries, o.ReadTimeout, o.ReadOnly)
	}
	if o.TLSConfig == nil || o.TLSConfig.MinVersion < tls.VersionTLS12 {
		t.Errorf("TLS %+v", o.TLSConfig)
	}
}

func TestNewRefusesFilesThatCannotWork(t *testing.T) {
	dir := t.TempDir()
	empty, big, text := filepath.Join(dir, "empty"), filepath.Join(dir, "big"), filepath.Join(dir, "text")
	write(t, empty, "\n")
	write(t, big, strings.Repeat("x", 5000))
	write(t, text, "not a certificate")
	for name, o := range map[string]Options{
		"no password file":          {URL: "redis://h", PasswordFile: filepath.Join(dir, "none")},
		"empty password file":       {URL: "redis://h", PasswordFile: empty},
		"huge password file":        {URL: "redis://h", PasswordFile: big},
		"name without a password":   {URL: "redis://h", Username: "gate"},
		"no CA file":                {URL: "rediss://h", CAFile: filepath.Join(dir, "none")},
		"CA file of something":      {URL: "rediss://h", CAFile: text},
		"CA file without TLS":       {URL: "redis://h", CAFile: text},
		"CA file beside a socket":   {URL: "unix:///s", CAFile: text},
		"options without any URL":   {},
		"password file a directory": {URL: "redis://h", PasswordFile: dir},
		"two passwords":             {URL: "redis://h", PasswordFile: text, Password: "x"},
		"half a client certificate": {URL: "rediss://h", CertFile: text},
		"a certificate of no kind":  {URL: "rediss://h", CertFile: text, KeyFile: text},
		"a certificate without TLS": {URL: "redis://h", CertFile: text, KeyFile: text},
	} {
		if _, err := New(o); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// A password is read for every new connection: one that was rotated is used without a restart.
func TestPasswordIsReadAgain(t *testing.T) {
	v := storetest.RunValkey(t, "--requirepass", "first")
	file := filepath.Join(t.TempDir(), "password")
	write(t, file, "first\n")
	o := Options{URL: "redis://" + v.Addr, PasswordFile: file}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Ping(t.Context()).Err(); err != nil {
		t.Fatalf("with the password of the file: %v", err)
	}
	if err := c.ConfigSet(t.Context(), "requirepass", "second").Err(); err != nil {
		t.Fatal(err)
	}
	write(t, file, "second")
	// A connection that was let in stays; end them all, so that the client needs new ones.
	if err := c.Do(t.Context(), "client", "kill", "type", "normal", "skipme", "no").Err(); err != nil {
		t.Fatal(err)
	}
	var last error
	for range DefaultPoolSize {
		if last = c.Ping(t.Context()).Err(); last == nil {
			break
		}
	}
	if last != nil {
		t.Errorf("after the rotation: %v", last)
	}

	write(t, file, "s3cr3t")
	stranger, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Ping(t.Context()).Err(); err == nil || strings.Contains(err.Error(), "s3cr3t") {
		t.Errorf("with a wrong password: %v", err)
	}
}

// A named user gets in with its own password.
func TestUsername(t *testing.T) {
	v := storetest.RunValkey(t, "--user", "gate", "on", ">word", "~*", "+@all", "--user", "default", "off")
	file := filepath.Join(t.TempDir(), "password")
	write(t, file, "word\r\n")
	c, err := New(Options{URL: "redis://" + v.Addr + "/3", Username: "gate", PasswordFile: file})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if who, err := c.Do(t.Context(), "acl", "whoami").Text(); err != nil || who != "gate" {
		t.Errorf("let in as %q, %v", who, err)
	}
}

// Over TLS the server must show a certificate that the CA file vouches for, in its own name.
func TestTLS(t *testing.T) {
	v := storetest.RunValkey(t)
	dir := t.TempDir()
	ours, addr := tlsInFrontOf(t, v.Addr, dir, "127.0.0.1")
	_, another := tlsInFrontOf(t, v.Addr, t.TempDir(), "192.0.2.1")
	theirs, _ := tlsInFrontOf(t, v.Addr, t.TempDir(), "127.0.0.1")
	for name, tt := range map[string]struct {
		addr, ca string
		ok       bool
	}{
		"vouched for":           {addr, ours, true},
		"vouched by a stranger": {addr, theirs, false},
		"the machine's CAs":     {addr, "", false},
		"another's name":        {another, ours, false},
	} {
		t.Run(name, func(t *testing.T) {
			c, err := New(Options{URL: "rediss://" + tt.addr, CAFile: tt.ca})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if err := c.Ping(t.Context()).Err(); (err == nil) != tt.ok {
				t.Errorf("ping: %v, want ok %v", err, tt.ok)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tlsInFrontOf relays TLS connections to a plain server, and returns the file of the certificate that it shows.
func tlsInFrontOf(t *testing.T, backend, dir, ip string, bend ...func(*tls.Config)) (caFile, addr string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "store"}, IPAddresses: []net.IP{net.ParseIP(ip)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	caFile = filepath.Join(dir, "ca.pem")
	write(t, caFile, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	config := &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
	for _, b := range bend {
		b(config)
	}
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			front, err := l.Accept()
			if err != nil {
				return
			}
			back, err := net.Dial("tcp", backend)
			if err != nil {
				front.Close()
				continue
			}
			go func() { io.Copy(back, front); back.Close() }()
			go func() { io.Copy(front, back); front.Close() }()
		}
	}()
	return caFile, l.Addr().String()
}
