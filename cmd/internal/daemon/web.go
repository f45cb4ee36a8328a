package daemon

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// webServer is one HTTP server of the daemon beside its admin port.
type webServer struct {
	name     string
	server   *http.Server
	listener net.Listener
}

// ServeHTTP binds an address for a handler of the command's own, and serves it from Run until the calls in flight have finished
// after the drain: so a health check there can say no before anything ends. Flag names the option in messages. The address is one
// that --admin would take; the error is an ExitUnable one.
func (d *Daemon) ServeHTTP(ctx context.Context, flag, address string, handler http.Handler) error {
	at, err := parseEndpoint(flag, address)
	if err != nil {
		return Unable(err)
	}
	listener, err := at.listen(ctx, flag, orDefault(d.config.SocketMode, 0o660))
	if err != nil {
		return Unable(err)
	}
	d.web = append(d.web, webServer{name: flag, server: newWebServer(handler, d.Log), listener: listener})
	d.Log.Info("serving HTTP", "option", flag, "listen", listener.Addr().String())
	return nil
}

// WebAddr is where the server of a flag stands, or nil; with port 0 it holds the port that was found.
func (d *Daemon) WebAddr(flag string) net.Addr {
	for _, w := range d.web {
		if w.name == flag {
			return w.listener.Addr()
		}
	}
	return nil
}

// Scrape shows the daemon's metrics to a Prometheus server.
func (d *Daemon) Scrape() http.Handler { return scrape(d.Registry, d.Log) }

// newWebServer bounds what a client may cost: its time, its headers, an idle connection.
func newWebServer(handler http.Handler, log *slog.Logger) *http.Server {
	return &http.Server{
		Handler:                      handler,
		DisableGeneralOptionsHandler: true,
		ReadHeaderTimeout:            5 * time.Second,
		ReadTimeout:                  10 * time.Second,
		WriteTimeout:                 30 * time.Second,
		IdleTimeout:                  60 * time.Second,
		MaxHeaderBytes:               16 << 10,
		ErrorLog:                     slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
}

// stopWeb lets the requests in flight finish, within closeTimeout.
func stopWeb(ctx context.Context, server *http.Server) {
	ctx, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		_ = server.Close()
	}
}
