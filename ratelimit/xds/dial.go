package xds

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

const (
	// maxFile is the largest certificate, key or token that is read.
	maxFile = 1 << 20
	// connectWithin bounds one attempt at a connection, TLS included.
	connectWithin = 10 * time.Second
	// pingAfter is how long a silent connection is believed. gRPC servers that were not told otherwise end connections whose
	// client pings more often than every five minutes.
	pingAfter  = 5*time.Minute + 30*time.Second
	pongWithin = 20 * time.Second
)

// dial makes a connection with the files as they are now. It does not connect: the first stream does.
func (c *Client) dial() (*grpc.ClientConn, error) {
	protection := insecure.NewCredentials()
	if c.options.TLS != nil {
		config, err := c.options.TLS.config()
		if err != nil {
			return nil, err
		}
		protection = credentials.NewTLS(config)
	}
	to, err := target(c.options.Server)
	if err != nil {
		return nil, err
	}
	return grpc.NewClient(to,
		grpc.WithTransportCredentials(protection),
		grpc.WithNoProxy(), // the environment is cmd's to read
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(c.options.MaxMessageBytes)),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectWithin}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: pingAfter, Timeout: pongWithin}))
}

// config reads the files. Its errors name them and never quote them: one is a private key.
func (t *TLS) config() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS13, ServerName: t.ServerName}
	if t.Min == tls.VersionTLS12 {
		config.MinVersion = tls.VersionTLS12
	}
	if t.CA != "" {
		pem, err := readFile(t.CA)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("xds: %s holds no PEM certificate", t.CA)
		}
	}
	if t.Cert == "" {
		return config, nil
	}
	cert, err := readFile(t.Cert)
	if err != nil {
		return nil, err
	}
	key, err := readFile(t.Key)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(cert, key)
	if err != nil {
		return nil, fmt.Errorf("xds: %s and %s are not a pair: %w", t.Cert, t.Key, err)
	}
	config.Certificates = []tls.Certificate{pair}
	return config, nil
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("xds: %w", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("xds: %w", err)
	case len(data) > maxFile:
		return nil, fmt.Errorf("xds: %s is larger than 1 MiB", name)
	}
	return data, nil
}

// withHeaders adds the additional headers to a stream's context, those of files as they are now.
func (c *Client) withHeaders(ctx context.Context) (context.Context, error) {
	all := metadata.New(c.options.Headers)
	for name, file := range c.options.HeaderFiles {
		value, err := readFile(file)
		if err != nil {
			return nil, err
		}
		text := strings.TrimRight(string(value), "\r\n")
		if !visible(text) {
			return nil, fmt.Errorf("xds: %s does not hold a header's value: one line of visible characters", file)
		}
		all.Set(name, text)
	}
	return metadata.NewOutgoingContext(ctx, all), nil
}

func checkHeaders(headers, files map[string]string) error {
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		if !visible(headers[name]) {
			return fmt.Errorf("xds: the value of header %q holds more than visible characters and spaces", name)
		}
	}
	names := slices.Concat(slices.Collect(maps.Keys(headers)), slices.Collect(maps.Keys(files)))
	slices.Sort(names)
	for _, name := range names {
		lower := strings.ToLower(name)
		if lower == "" || strings.Trim(lower, "abcdefghijklmnopqrstuvwxyz0123456789-_.") != "" || strings.HasPrefix(lower, "grpc-") || strings.HasSuffix(lower, "-bin") {
			return fmt.Errorf("xds: %q cannot be the name of an additional header", name)
		}
	}
	return nil
}

func visible(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' })
}
