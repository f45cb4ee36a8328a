package daemon

import (
	"context"
	"fmt"
	"io/fs"
	"net"
)

// ListenSocket binds a Unix socket that is written as "unix:/path" (or "unix:///path"), with the given mode, in a folder that belongs
// to this process's user and that nobody else can write to. A socket that a dead process left behind is replaced. Any other address
// is refused. Flag names the option in messages.
func ListenSocket(ctx context.Context, flag, address string, mode fs.FileMode) (net.Listener, error) {
	path, err := SocketPath(flag, address)
	if err != nil {
		return nil, err
	}
	return listenUnix(ctx, flag, path, mode, false)
}

// SocketPath reads "unix:/path" (or "unix:///path") and returns the path, which is whole, clean and short enough to bind.
func SocketPath(flag, address string) (string, error) {
	e, err := parseEndpoint(flag, address)
	if err == nil && e.path == "" {
		return "", fmt.Errorf("daemon: %s %q: write unix:/run/sallyport/admin.sock, a Unix socket", flag, address)
	}
	return e.path, err
}
