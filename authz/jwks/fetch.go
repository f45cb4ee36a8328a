package jwks

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// maxDocument bounds every document that is read, in bytes. The largest known key sets have a few dozen keys and 30 KiB.
	maxDocument = 1 << 20
	// maxHeaders bounds an answer's header fields, in bytes.
	maxHeaders = 64 << 10
	// maxETag is the longest entity tag that is sent back.
	maxETag = 256
)

// origin is what one attempt tells the next about the source.
type origin struct {
	// etag is that of the set in service, as answered by url.
	etag, url string
	// keysAt is the discovered jwks_uri, learned at the time learned.
	keysAt  string
	learned time.Time
}

// answer is what the source said.
type answer struct {
	body []byte
	// unchanged: the source confirmed the set in service (RFC 9110 15.4.5), and there is no body.
	unchanged bool
	// stay is the answer's max-age (RFC 9111 5.2.2.1); 0 if it does not say, or forbids caching, which says nothing about how long
	// keys live.
	stay time.Duration
	// kind is the Content-Type, for messages only.
	kind string
	etag string
	url  string
}

// fetch asks the source once.
func (s *Set) fetch(ctx context.Context) (answer, error) {
	switch {
	case s.source.File != "":
		body, err := readFile(s.source.File)
		return answer{body: body}, err
	case s.source.URL != "":
		u, err := s.checkURL(s.source.URL, true)
		if err != nil {
			return answer{}, err
		}
		return s.get(ctx, u, isLoopback(u.Hostname()))
	case s.source.Discovery:
		u, loopback, err := s.discovered(ctx)
		if err != nil {
			return answer{}, err
		}
		a, err := s.get(ctx, u, loopback)
		if err != nil {
			s.origin.keysAt = "" // it may have moved: ask again next time
		}
		return a, err
	}
	return answer{}, errors.New("jwks: the issuer names no source of keys")
}

// remember keeps what the next attempt needs of a good answer.
func (s *Set) remember(a answer) {
	if !a.unchanged {
		s.origin.etag, s.origin.url = a.etag, a.url
	}
}

// checkURL holds an address to https, or to http where nobody can stand between. ours says that the address, or the issuer it was
// learned from, was written by the operator as one of this machine.
func (s *Set) checkURL(text string, ours bool) (*url.URL, error) {
	u, err := url.Parse(text)
	switch {
	case err != nil, u.Host == "", u.User != nil:
		return nil, fmt.Errorf("jwks: %q is not a usable URL", clip(text))
	case u.Scheme == "https", u.Scheme == "http" && (s.source.PlainHTTP || ours && isLoopback(u.Hostname())):
		return u, nil
	}
	return nil, fmt.Errorf("jwks: %q: keys are fetched by https, or by http from this machine", clip(text))
}

// get asks for one document. loopback says that this machine is where it may be, and the only place.
func (s *Set) get(ctx context.Context, u *url.URL, loopback bool) (answer, error) {
	client, err := s.client(loopback)
	if err != nil {
		return answer{}, err
	}
	defer client.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return answer{}, fmt.Errorf("jwks: %w", err)
	}
	request.Header.Set("Accept", "application/jwk-set+json, application/json")
	request.Header.Set("User-Agent", "sallyport")
	conditional := s.origin.etag != "" && s.origin.url == u.String()
	if conditional {
		request.Header.Set("If-None-Match", s.origin.etag)
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, explained(err)
	}
	defer response.Body.Close()
	a, err := readAnswer(response, conditional)
	if err != nil {
		return answer{}, fmt.Errorf("jwks: GET %s: %w", u.Redacted(), err)
	}
	a.url = u.String()
	return a, nil
}

// client makes the client of one attempt: attempts are minutes apart, so nothing is kept between them, and the file of roots is read
// anew. A file that cannot be read fails the attempt; it never falls back to other roots.
func (s *Set) client(loopback bool) (*http.Client, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if s.source.CAFile != "" {
		text, err := readFile(s.source.CAFile)
		if err != nil {
			return nil, err
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("jwks: %s holds no certificate in PEM", s.source.CAFile)
		}
	}
	return &http.Client{
		Transport: &http.Transport{
			// Proxy stays nil: a proxy would connect in our stead, past the guard.
			DialContext:            guard{loopback: loopback, networks: s.source.Networks, resolver: s.resolver}.dialer().DialContext,
			TLSClientConfig:        config,
			ForceAttemptHTTP2:      true,
			DisableKeepAlives:      true,
			DisableCompression:     true,
			MaxResponseHeaderBytes: maxHeaders,
		},
		// A redirect is an answer, and a wrong one: following it would let the host choose whose keys are used.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func readAnswer(response *http.Response, conditional bool) (answer, error) {
	a := answer{stay: maxAge(response.Header.Values("Cache-Control")), kind: response.Header.Get("Content-Type")}
	switch code := response.StatusCode; {
	case code == http.StatusNotModified && conditional:
		a.unchanged = true
		return a, nil
	case code >= 300 && code < 400:
		return answer{}, fmt.Errorf("answered %d: redirects are not followed, write the final address", code)
	case code != http.StatusOK:
		return answer{}, fmt.Errorf("answered %d", code)
	case response.Header.Get("Content-Encoding") != "":
		return answer{}, errors.New("answered in an encoding that was not asked for")
	}
	var err error
	if a.body, err = readAll(response.Body); err != nil {
		return answer{}, err
	}
	if tag := response.Header.Get("ETag"); len(tag) <= maxETag {
		a.etag = tag
	}
	return a, nil
}

// maxAge reads how long an answer may be kept.
func maxAge(fields []string) (stay time.Duration) {
	for _, field := range fields {
		for directive := range strings.SplitSeq(field, ",") {
			directive = strings.ToLower(strings.TrimSpace(directive))
			if directive == "no-store" || directive == "no-cache" {
				return 0
			}
			if text, ok := strings.CutPrefix(directive, "max-age="); ok {
				seconds, err := strconv.ParseUint(text, 10, 31)
				if err == nil {
					stay = time.Duration(seconds) * time.Second
				}
			}
		}
	}
	return stay
}

// explained adds what to do to the errors that have a known cure.
func explained(err error) error {
	var unknown x509.UnknownAuthorityError
	if errors.As(err, &unknown) {
		return fmt.Errorf("jwks: %w; where the issuer has roots of its own, name them in `jwks: {url: ..., ca_file: ...}`", err)
	}
	return fmt.Errorf("jwks: %w", err)
}

// readFile reads a regular file. Anything else (a pipe, a device) could block the attempt or never end.
func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("jwks: %s is not a regular file", path)
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("jwks: %w", err)
	}
	defer file.Close()
	body, err := readAll(file)
	if err != nil {
		return nil, fmt.Errorf("jwks: %s: %w", path, err)
	}
	return body, nil
}

func readAll(r io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(r, maxDocument+1))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	if len(body) > maxDocument {
		return nil, fmt.Errorf("more than %d bytes", maxDocument)
	}
	return body, nil
}

// clip bounds a foreign text in a message, which quotes it.
func clip(text string) string { return text[:min(len(text), 128)] }
