package daemon

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxSocketPath is the longest Unix socket path that Linux binds (sun_path holds 108 bytes with the final NUL).
const maxSocketPath = 107

// endpoint is a parsed address: a Unix socket path, or an IP and port.
type endpoint struct {
	path string
	addr netip.AddrPort
	// shared lets the socket's folder be writable by others.
	shared bool
}

// parseEndpoint reads "unix:/path" (or "unix:///path", as gRPC and URLs write it), "IP:port" or "localhost:port". Host names are refused: what a name resolves to would decide
// whether the gate is open to the network.
func parseEndpoint(flag, address string) (endpoint, error) {
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return parseSocket(flag, strings.TrimPrefix(path, "//"))
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return endpoint{}, fmt.Errorf("daemon: %s %q: write 127.0.0.1:9191, [::1]:9191 or unix:/path", flag, address)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" {
		return endpoint{}, fmt.Errorf("daemon: %s %q: write an IP address before the port (0.0.0.0 for every interface)", flag, address)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return endpoint{}, fmt.Errorf("daemon: %s %q: write a port from 1 to 65535 (0 for any free one)", flag, address)
	}
	return endpoint{addr: netip.AddrPortFrom(ip.Unmap(), uint16(n))}, nil
}

func parseSocket(flag, path string) (endpoint, error) {
	switch {
	case !filepath.IsAbs(path) || filepath.Clean(path) != path || path == "/":
		return endpoint{}, fmt.Errorf("daemon: %s %q: write a whole path: unix:/run/sallyport/gate.sock", flag, "unix:"+path)
	case len(path) > maxSocketPath:
		return endpoint{}, fmt.Errorf("daemon: %s: the socket path has %d bytes, the system binds at most %d", flag, len(path), maxSocketPath)
	}
	return endpoint{path: path}, nil
}

// local says that only this machine can connect: a Unix socket or a loopback address.
func (e endpoint) local() bool { return e.path != "" || e.addr.Addr().IsLoopback() }

// listen binds the endpoint. Flag names the option in messages; mode is the Unix socket's own mode.
func (e endpoint) listen(ctx context.Context, flag string, mode fs.FileMode) (net.Listener, error) {
	if e.path != "" {
		return listenUnix(ctx, flag, e.path, mode, e.shared)
	}
	address := e.addr.String()
	if e.addr.Addr() == netip.IPv6Unspecified() {
		// Every interface of both families, or of the one that the machine has.
		address = ":" + strconv.Itoa(int(e.addr.Port()))
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("daemon: %s %s is taken: another process listens there; stop it or choose another port", flag, e.addr)
	}
	if err != nil {
		return nil, fmt.Errorf("daemon: %s: %w", flag, err)
	}
	return l, nil
}

// listenUnix binds a socket in a folder that nobody else can write to. Whoever can write to the folder can put their own socket
// in the gate's place, whatever the socket's mode; shared says that this is accepted.
func listenUnix(ctx context.Context, flag, path string, mode fs.FileMode, shared bool) (net.Listener, error) {
	folder, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("daemon: %s: the socket's folder: %w", flag, err)
	}
	if err := ownFolder(flag, folder); err != nil && !shared {
		return nil, err
	}
	path = filepath.Join(folder, filepath.Base(path))
	if err := removeStale(ctx, flag, path); err != nil {
		return nil, err
	}
	// The descriptor's mode becomes the socket's mode at bind, so that there is no moment at which it is wider than asked; the
	// chmod afterwards gives back what the umask took away.
	config := net.ListenConfig{Control: func(_, _ string, conn syscall.RawConn) error {
		return conn.Control(func(fd uintptr) { _ = syscall.Fchmod(int(fd), uint32(mode.Perm())) })
	}}
	l, err := config.Listen(ctx, "unix", path)
	if err != nil {
		return nil, fmt.Errorf("daemon: %s: %w", flag, err)
	}
	if err := os.Chmod(path, mode.Perm()); err != nil {
		return nil, errors.Join(fmt.Errorf("daemon: %s: %w", flag, err), l.Close())
	}
	return l, nil
}

func ownFolder(flag, folder string) error {
	info, err := os.Stat(folder)
	if err != nil {
		return fmt.Errorf("daemon: %s: the socket's folder: %w", flag, err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || int64(stat.Uid) != int64(os.Geteuid()):
		return fmt.Errorf("daemon: %s: the folder %s must belong to the user that runs the gate (uid %d): chown it", flag, folder, os.Geteuid())
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("daemon: %s: the folder %s is writable by group or others (mode %04o): chmod go-w it", flag, folder, info.Mode().Perm())
	}
	return nil
}

// removeStale clears the path of a socket that its process left behind: one that refuses connections. Anything else that stands
// there, a plain file or a socket that answers, is somebody's and stays.
func removeStale(ctx context.Context, flag, path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("daemon: %s: %w", flag, err)
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("daemon: %s: %s exists and is not a socket: move it away", flag, path)
	}
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "unix", path)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("daemon: %s: %s is taken: another process answers there; stop it or choose another path", flag, path)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("daemon: %s: the socket %s is there already: %w", flag, path, err)
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("daemon: %s: remove a socket left behind: %w", flag, err)
	}
	return nil
}
