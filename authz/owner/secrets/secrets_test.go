package secrets

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// write replaces a file, as those do who replace files under a running gate.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".next", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".next", path); err != nil {
		t.Fatal(err)
	}
}

// The token is the file's, as it is now; a file that is none leaves the last good one.
func TestToken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	token := NewToken(path)
	expect := func(value, wrong string) {
		t.Helper()
		got, err := token.Read()
		if got != value || (err != nil) != (wrong != "") || err != nil && !strings.Contains(err.Error(), wrong) {
			t.Errorf("Read: %q, %v, want %q and an error with %q", got, err, value, wrong)
		}
	}
	expect("", "no such file")
	for _, bad := range []string{"", " \n", "a b", "a\nb", "a\x00", "é", strings.Repeat("a", maxBytes+1)} {
		write(t, path, bad)
		expect("", path)
	}
	write(t, path, "one\n")
	expect("one", "")
	write(t, path, " two ")
	expect("two", "")
	write(t, path, "tw2") // of the same length
	expect("tw2", "")
	for _, bad := range []string{"", "a b"} {
		write(t, path, bad)
		expect("tw2", "")
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	expect("tw2", "")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	expect("tw2", "")
	if _, err := NewToken(path).Read(); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a folder: %v", err)
	}
}

// A token that did not change is not read again.
func TestTokenIsRemembered(t *testing.T) {
	path := filepath.Join(t.TempDir(), "token")
	write(t, path, "one")
	token := NewToken(path)
	if _, err := token.Read(); err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { _, _ = token.Read() }); n > 6 { // os.Stat alone; reading allocates twice as often
		t.Errorf("%v allocations", n)
	}
}

func pair(t *testing.T) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// A pair of which one half was replaced is no pair: the last whole one stays until the other half comes.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	files := Files{CA: filepath.Join(dir, "ca"), Cert: filepath.Join(dir, "cert"), Key: filepath.Join(dir, "key")}
	if _, err := NewTLS(Files{Cert: "c"}); err == nil {
		t.Error("a certificate without its key is taken")
	}
	if _, err := NewTLS(Files{Key: "k"}); err == nil {
		t.Error("a key without its certificate is taken")
	}
	config, err := NewTLS(files)
	if err != nil {
		t.Fatal(err)
	}
	// leaf is the certificate that a handshake now would show.
	leaf := func() string {
		t.Helper()
		now, err := config.Config()
		if err != nil {
			return err.Error()
		}
		if now.RootCAs == nil {
			t.Error("the roots are the system's")
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: now.Certificates[0].Certificate[0]}))
	}
	first, firstKey := pair(t)
	second, secondKey := pair(t)
	for _, step := range []struct{ path, text, want string }{
		{files.CA, first, "no such file"},
		{files.Cert, first, "no such file"},
		{files.Key, secondKey, "are not a pair"},
		{files.Key, firstKey, first},
		{files.Cert, second, first},
		{files.Key, secondKey, second},
		{files.CA, "no PEM", second},
		{files.CA, second, second},
	} {
		write(t, step.path, step.text)
		if got := leaf(); got != step.want && (strings.HasPrefix(step.want, "-----") || !strings.Contains(got, step.want)) {
			t.Errorf("%s replaced: %q, want %q", filepath.Base(step.path), got, step.want)
		}
	}
	now, err := config.Config()
	if err != nil {
		t.Fatal(err)
	}
	now.RootCAs = nil
	leaf() // what is handed out is the caller's own
	for _, step := range []Files{{CA: files.Key}, {CA: filepath.Join(dir, "gone")}} {
		config, err := NewTLS(step)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := config.Config(); err == nil || got != nil {
			t.Errorf("%+v: %v", step, got)
		}
	}
	system, err := NewTLS(Files{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := system.Config(); err != nil || got.RootCAs != nil || len(got.Certificates) != 0 {
		t.Errorf("no files: %v, %v", got, err)
	}
}
