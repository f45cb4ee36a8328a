package daemon

import (
	"context"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Addresses: an IP and a port, or the whole path of a socket. Names are refused, since their meaning is somebody else's.
func TestParseEndpoint(t *testing.T) {
	for _, c := range []struct {
		address string
		local   bool
		refused string // part of the message
	}{
		{address: "127.0.0.1:9191", local: true},
		{address: "localhost:9191", local: true},
		{address: "[::1]:9191", local: true},
		{address: "[::ffff:127.0.0.1]:9191", local: true},
		{address: "127.0.0.1:0", local: true},
		{address: "unix:/run/sallyport/authz.sock", local: true},
		{address: "unix:///run/sallyport/authz.sock", local: true}, // as gRPC writes it
		{address: "0.0.0.0:9191"},
		{address: "[::]:9191"},
		{address: "10.0.0.1:9191"},

		{address: "", refused: "write 127.0.0.1:9191"},
		{address: "9191", refused: "write 127.0.0.1:9191"},
		{address: ":9191", refused: "write an IP address"},
		{address: "gate.example.com:9191", refused: "write an IP address"},
		{address: "[fe80::1%eth0]:9191", refused: "write an IP address"},
		{address: "127.0.0.1:", refused: "write a port"},
		{address: "127.0.0.1:65536", refused: "write a port"},
		{address: "127.0.0.1:http", refused: "write a port"},
		{address: "unix:authz.sock", refused: "write a whole path"},
		{address: "unix:@abstract", refused: "write a whole path"},
		{address: "unix:/run/../run/a.sock", refused: "write a whole path"},
		{address: "unix:/", refused: "write a whole path"},
		{address: "unix://", refused: "write a whole path"},
		{address: "unix://run/a.sock", refused: "write a whole path"},
		{address: "unix:/" + strings.Repeat("x", 107), refused: "108 bytes"},
	} {
		e, err := parseEndpoint("--listen", c.address)
		switch {
		case c.refused == "" && err != nil:
			t.Errorf("%q: %v", c.address, err)
		case c.refused == "" && e.local() != c.local:
			t.Errorf("%q: local is %v, want %v", c.address, e.local(), c.local)
		case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
			t.Errorf("%q: error %v, want one with %q", c.address, err, c.refused)
		}
	}
}

// Off loopback: TLS with a list of clients, or the operator's word that the mesh encrypts. Half a TLS configuration is never plain text.
func TestWhatWouldLeaveTheGateOpenIsRefused(t *testing.T) {
	pair := TLSFiles{Cert: "c", Key: "k"}
	mutual := TLSFiles{Cert: "c", Key: "k", ClientCA: "ca", ClientIDs: []string{"dns:envoy"}}
	for _, c := range []struct {
		name    string
		options Options
		refused string
	}{
		{"loopback", Options{Listen: "127.0.0.1:1"}, ""},
		{"socket", Options{Listen: "unix:/run/a/b.sock"}, ""},
		{"loopback, a server certificate alone", Options{Listen: "127.0.0.1:1", TLS: pair}, ""},
		{"open, said so", Options{Listen: "0.0.0.0:1", Plaintext: true}, ""},
		{"open, mutual TLS", Options{Listen: "0.0.0.0:1", TLS: mutual}, ""},
		{"the admin port may be open", Options{Listen: "127.0.0.1:1", Admin: "0.0.0.0:2"}, ""},

		{"open, nothing said", Options{Listen: "0.0.0.0:1"}, "off loopback without TLS: give --tls-cert"},
		{"open, IPv6", Options{Listen: "[::]:1"}, "off loopback without TLS"},
		{"open, no list", Options{Listen: "0.0.0.0:1", TLS: pair}, "--tls-client-ids spiffe://"},
		{"open, authorities without a list", Options{Listen: "0.0.0.0:1", TLS: TLSFiles{Cert: "c", Key: "k", ClientCA: "ca"}}, "--tls-client-ids"},
		{"both", Options{Listen: "0.0.0.0:1", TLS: mutual, Plaintext: true}, "contradict"},
		{"a certificate without a key", Options{Listen: "127.0.0.1:1", TLS: TLSFiles{Cert: "c"}}, "belong together"},
		{"a list alone", Options{Listen: "127.0.0.1:1", TLS: TLSFiles{ClientIDs: []string{"dns:envoy"}}}, "belong together"},
		{"a list without authorities", Options{Listen: "127.0.0.1:1", TLS: TLSFiles{Cert: "c", Key: "k", ClientIDs: []string{"dns:envoy"}}}, "needs --tls-client-ca"},
		{"an old version", Options{Listen: "127.0.0.1:1", TLS: TLSFiles{Cert: "c", Key: "k", Min: 0x0301}}, "1.2 or 1.3"},
		{"a bad admin address", Options{Listen: "127.0.0.1:1", Admin: "admin"}, "--admin"},

		// gRPC panics at the first connection of a negative age, and below a second nothing but new connections would be left.
		{"connections of no age", Options{Listen: "127.0.0.1:1", MaxConnectionAge: 0}, ""},
		{"connections of a second", Options{Listen: "127.0.0.1:1", MaxConnectionAge: time.Second}, ""},
		{"connections of less", Options{Listen: "127.0.0.1:1", MaxConnectionAge: time.Second - 1}, "--max-connection-age"},
		{"connections of a nanosecond", Options{Listen: "127.0.0.1:1", MaxConnectionAge: 1}, "--max-connection-age"},
		{"connections before their time", Options{Listen: "127.0.0.1:1", MaxConnectionAge: -time.Second}, "--max-connection-age"},
		{"a delay before its time", Options{Listen: "127.0.0.1:1", DrainDelay: -1}, "--drain-delay"},
		{"a timeout before its time", Options{Listen: "127.0.0.1:1", DrainTimeout: -1}, "--drain-timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, _, err := c.options.endpoints()
			if c.refused == "" && err != nil {
				t.Fatal(err)
			}
			if c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)) {
				t.Fatalf("error %v, want one with %q", err, c.refused)
			}
		})
	}
}

// A port or a socket that another process holds is named, with exit code 2, and what was bound before it is given back.
func TestTakenAddressEndsTheStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	for _, o := range []Options{
		{Listen: taken.Addr().String()},
		{Listen: "unix:" + filepath.Join(privateDir(t), "g.sock"), Admin: taken.Addr().String()},
	} {
		_, err := Open(t.Context(), Config{Options: o})
		if err == nil || !strings.Contains(err.Error(), taken.Addr().String()+" is taken") || ExitCode(err) != ExitUnable {
			t.Fatalf("%+v: error %v (exit %d), want a taken address and exit %d", o, err, ExitCode(err), ExitUnable)
		}
		if path, ok := strings.CutPrefix(o.Listen, "unix:"); ok {
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("%s was left behind", path)
			}
		}
	}
}

func privateDir(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// A socket is as safe as its folder.
func TestSocketFolder(t *testing.T) {
	for _, c := range []struct {
		mode    fs.FileMode
		refused bool
	}{
		{0o700, false}, {0o750, false}, {0o755, false}, {0o770, true}, {0o775, true}, {0o702, true}, {0o777, true}, {0o777 | fs.ModeSticky, true},
	} {
		dir := t.TempDir()
		if err := os.Chmod(dir, c.mode); err != nil {
			t.Fatal(err)
		}
		d, err := Open(t.Context(), Config{Options: Options{Listen: "unix:" + filepath.Join(dir, "g.sock")}})
		if c.refused {
			if err == nil || !strings.Contains(err.Error(), "chmod go-w") || ExitCode(err) != ExitUnable {
				t.Errorf("folder %04o: error %v, want exit 2 and what to do", c.mode, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("folder %04o: %v", c.mode, err)
			continue
		}
		_ = d.Close()
	}
}

func TestSocketFolderOfAnotherUser(t *testing.T) {
	dir := "/" // belongs to root
	if os.Geteuid() == 0 {
		dir = privateDir(t)
		if err := os.Chown(dir, 12345, -1); err != nil {
			t.Skip("cannot give a folder away here:", err)
		}
	}
	err := ownFolder("--listen", dir)
	if err == nil || !strings.Contains(err.Error(), "must belong to the user") {
		t.Fatalf("error %v, want a refusal", err)
	}
}

func TestSocketMode(t *testing.T) {
	for _, c := range []struct{ asked, want fs.FileMode }{{0, 0o660}, {0o600, 0o600}, {0o666, 0o666}} {
		path := filepath.Join(privateDir(t), "g.sock")
		d, err := Open(t.Context(), Config{Options: Options{Listen: "unix:" + path, SocketMode: c.asked}})
		if err != nil {
			t.Fatal(err)
		}
		info, err := os.Lstat(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Type() != fs.ModeSocket || info.Mode().Perm() != c.want {
			t.Errorf("asked %04o: mode %v, want a socket with %04o", c.asked, info.Mode(), c.want)
		}
		if err := d.Close(); err != nil {
			t.Error(err)
		}
		if _, err := os.Lstat(path); err == nil {
			t.Error("the socket was left behind")
		}
	}
}

// What stands in the socket's place stays, unless it is a socket that nobody answers.
func TestWhatStandsInTheSocketsPlace(t *testing.T) {
	path := filepath.Join(privateDir(t), "g.sock")
	e := endpoint{path: path}

	write(t, path, []byte("precious"))
	if _, err := e.listen(t.Context(), "--listen", 0o600); err == nil || !strings.Contains(err.Error(), "not a socket") {
		t.Errorf("a plain file: %v, want a refusal", err)
	}
	if data, err := os.ReadFile(path); err != nil || string(data) != "precious" {
		t.Fatalf("the file is %q, %v: it was not ours", data, err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}

	first, err := e.listen(t.Context(), "--listen", 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.listen(t.Context(), "--listen", 0o600); err == nil || !strings.Contains(err.Error(), "is taken") {
		t.Errorf("a live socket: %v, want taken", err)
	}
	first.(*net.UnixListener).SetUnlinkOnClose(false) // as a killed process leaves it
	_ = first.Close()
	second, err := e.listen(t.Context(), "--listen", 0o600)
	if err != nil {
		t.Fatalf("a socket left behind: %v", err)
	}
	_ = second.Close()
}

func TestCallsOverASocket(t *testing.T) {
	g := startGate(t, Config{Options: Options{Listen: "unix:" + filepath.Join(privateDir(t), "g.sock")}}, nil)
	if got, err := ask(context.Background(), g.dial(nil), "hello"); err != nil || got != "hello" {
		t.Fatalf("%q, %v", got, err)
	}
}
