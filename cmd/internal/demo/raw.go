package demo

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// field is one header field, sent as it stands.
type field struct{ name, value string }

// request is one request, byte for byte: no client library stands between, because each of them would clean the very paths and
// headers that are the attack.
type request struct {
	method string // "" is GET
	target string
	token  string  // bearer token; "" sends none
	from   string  // the address that the proxy in front saw; "" says nothing
	fields []field // further header fields, in order
	body   string  // JSON; "" sends none
}

// header lists all fields but host and connection, in the order in which they are sent.
func (r request) header() []field {
	var all []field
	if r.token != "" {
		all = append(all, field{"authorization", "Bearer " + r.token})
	}
	if r.from != "" {
		all = append(all, field{"x-forwarded-for", r.from})
	}
	if r.body != "" {
		all = append(all, field{"content-type", "application/json"})
	}
	return append(all, r.fields...)
}

func (r request) verb() string {
	if r.method == "" {
		return http.MethodGet
	}
	return r.method
}

func (r request) mayHaveBody() bool {
	return r.verb() == http.MethodPost || r.verb() == http.MethodPatch
}

// encode is the request on the wire, for one request on one connection. It refuses only what would not be one request.
func (r request) encode(host string) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nhost: %s\r\nconnection: close\r\n", r.verb(), r.target, host)
	if r.mayHaveBody() {
		fmt.Fprintf(&b, "content-length: %d\r\n", len(r.body))
	}
	broken := r.body != "" && !r.mayHaveBody() || strings.ContainsAny(r.verb()+r.target+host, "\r\n\x00 ") || r.target == ""
	for _, f := range r.header() {
		broken = broken || f.name == "" || strings.ContainsAny(f.name, "\r\n\x00: ") || strings.ContainsAny(f.value, "\r\n\x00")
		fmt.Fprintf(&b, "%s: %s\r\n", f.name, f.value)
	}
	if broken {
		return nil, fmt.Errorf("demo: %s %q with %d fields cannot be written as one request", r.verb(), r.target, len(r.fields))
	}
	b.WriteString("\r\n" + r.body)
	return b.Bytes(), nil
}

// reply is what came back.
type reply struct {
	status  int // 0: nothing came back, the connection was refused
	header  http.Header
	echo    echo    // if the service answered
	problem problem // if a gate answered
}

// problem is what the authz gate answers when it refuses (RFC 9457).
type problem struct {
	Reason     string `json:"reason"`
	Pointer    string `json:"pointer"`
	DecisionID string `json:"decision_id"`
}

// bodyLimit is the most bytes of an answer that are read; all answers here are far smaller.
const bodyLimit = 64 << 10

// replyOf reads the parts of an answer.
func replyOf(status int, header http.Header, body []byte) reply {
	r := reply{status: status, header: header}
	switch kind, _, _ := strings.Cut(header.Get("Content-Type"), ";"); kind {
	case "application/json":
		_ = json.Unmarshal(body, &r.echo) // what cannot be read says nothing, and its expectation fails
	case "application/problem+json":
		_ = json.Unmarshal(body, &r.problem)
	}
	return r
}

// socket sends requests to one address, each on a connection of its own.
type socket struct {
	address string
	tls     *tls.Config // nil is plaintext
}

// patience bounds one exchange, all told.
const patience = 10 * time.Second

// errNoEntry is a connection that the other side refused after it was made, as it does with a certificate that it does not accept.
var errNoEntry = errors.New("demo: the connection was refused")

// send writes the request and reads the answer.
func (s socket) send(ctx context.Context, r request) (reply, error) {
	wire, err := r.encode(s.address)
	if err != nil {
		return reply{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.address)
	if err != nil {
		return reply{}, fmt.Errorf("demo: connect to %s: %w", s.address, err)
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	if s.tls != nil {
		conn = tls.Client(conn, s.tls)
	}
	answer, err := exchange(conn, wire, r.verb())
	if err != nil && s.tls != nil {
		return reply{}, errors.Join(errNoEntry, err)
	}
	return answer, err
}

// exchange writes one request and reads its answer.
func exchange(conn io.ReadWriter, wire []byte, method string) (reply, error) {
	if _, err := conn.Write(wire); err != nil {
		return reply{}, fmt.Errorf("demo: write a request: %w", err)
	}
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		return reply{}, fmt.Errorf("demo: read an answer: %w", err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, bodyLimit))
	if err != nil {
		return reply{}, fmt.Errorf("demo: read an answer: %w", err)
	}
	return replyOf(response.StatusCode, response.Header, body), nil
}
