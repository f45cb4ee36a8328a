package demo

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The wire holds exactly what the line says: no path is cleaned, no name folded, no field joined.
func TestEncode(t *testing.T) {
	for _, test := range []struct {
		name string
		r    request
		want string
	}{
		{"plain", request{target: "/a"}, "GET /a HTTP/1.1\r\nhost: h:1\r\nconnection: close\r\n\r\n"},
		{"dots and slashes", request{target: "//a/../%2e%2E//b;x=1"}, "GET //a/../%2e%2E//b;x=1 HTTP/1.1\r\nhost: h:1\r\nconnection: close\r\n\r\n"},
		{"token, address and fields in order", request{target: "/", token: "t", from: "203.0.113.1", fields: []field{{"x_User-id", "a"}, {"x-user-id", "b"}}},
			"GET / HTTP/1.1\r\nhost: h:1\r\nconnection: close\r\nauthorization: Bearer t\r\nx-forwarded-for: 203.0.113.1\r\nx_User-id: a\r\nx-user-id: b\r\n\r\n"},
		{"post without a body", request{method: "POST", target: "/p"}, "POST /p HTTP/1.1\r\nhost: h:1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"},
	} {
		got, err := test.r.encode("h:1")
		if err != nil {
			t.Errorf("%s: %v", test.name, err)
		}
		if diff := cmp.Diff(test.want, string(got)); diff != "" {
			t.Errorf("%s: %s", test.name, diff)
		}
	}
}

// One line of the story is one request: what would be two, or none, is a mistake of the story.
func TestEncodeRefuses(t *testing.T) {
	for name, r := range map[string]request{
		"no target":         {},
		"space in target":   {target: "/a b"},
		"line end in path":  {target: "/a\r\nx: y"},
		"line end in value": {target: "/", fields: []field{{"a", "b\r\nc: d"}}},
		"line end in name":  {target: "/", fields: []field{{"a\n", "b"}}},
		"colon in name":     {target: "/", fields: []field{{"a:b", "c"}}},
		"empty name":        {target: "/", fields: []field{{"", "c"}}},
		"line end in token": {target: "/", token: "a\nb"},
		"NUL":               {target: "/\x00"},
		"space in method":   {method: "GET /x", target: "/"},
	} {
		if wire, err := r.encode("h"); err == nil {
			t.Errorf("%s: written as %q", name, wire)
		}
	}
}

// Over a real socket: the request line arrives as it was written, and the answer is read whole.
func TestSend(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	first := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		line, _ := bufio.NewReader(conn).ReadString('\n')
		first <- line
		_, _ = io.WriteString(conn, "HTTP/1.1 403 Forbidden\r\ncontent-type: application/problem+json\r\ncontent-length: 38\r\n\r\n{\"reason\":\"owner\",\"decision_id\":\"ABC\"}\n")
	}()
	got, err := socket{address: listener.Addr().String()}.send(t.Context(), request{target: "/users/./alice//orders;x"})
	if err != nil {
		t.Fatal(err)
	}
	if line := <-first; line != "GET /users/./alice//orders;x HTTP/1.1\r\n" {
		t.Errorf("the request line arrived as %q", line)
	}
	if got.status != 403 || got.problem != (problem{Reason: "owner", DecisionID: "ABC"}) {
		t.Errorf("read %+v", got)
	}
}

// A certificate that the server does not accept is no entry; a server that is not there is another matter.
func TestSendWithCertificates(t *testing.T) {
	ours, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	id := spiffeID("shop", "indexer")
	serverCert, err := ours.issue(spiffeID("shop", "orders"))
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(ours.cert)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"says":"`+r.TLS.PeerCertificates[0].URIs[0].String()+`"}`)
	}))
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{serverCert}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool}
	server.Config.ErrorLog = nil
	server.StartTLS()
	defer server.Close()
	address := server.Listener.Addr().String()

	for _, test := range []struct {
		name   string
		signer *authority
		says   string
	}{{"ours", ours, id}, {"a forger's", theirs, ""}} {
		own, err := test.signer.issue(id)
		if err != nil {
			t.Fatal(err)
		}
		got, err := socket{address: address, tls: ours.client(own)}.send(t.Context(), request{target: "/"})
		if refused := errors.Is(err, errNoEntry); refused != (test.says == "") || got.echo.Says != test.says {
			t.Errorf("%s: %q, error %v", test.name, got.echo.Says, err)
		}
	}

	gone, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	if _, err := (socket{address: gone.Addr().String(), tls: ours.client(tls.Certificate{})}).send(t.Context(), request{target: "/"}); err == nil || errors.Is(err, errNoEntry) {
		t.Errorf("a server that is not there: %v, which must not look like a refused certificate", err)
	}
}

// Only the two kinds of body that the story knows are read.
func TestReplyOf(t *testing.T) {
	for _, test := range []struct {
		kind, body, says, reason string
	}{
		{"application/json", `{"says":"a"}`, "a", ""},
		{"application/problem+json; charset=utf-8", `{"reason":"owner"}`, "", "owner"},
		{"text/plain", `{"says":"a","reason":"b"}`, "", ""},
		{"application/json", `{"says":`, "", ""},
	} {
		got := replyOf(200, header("Content-Type", test.kind), []byte(test.body))
		if got.echo.Says != test.says || got.problem.Reason != test.reason {
			t.Errorf("%s %s: %+v", test.kind, test.body, got)
		}
	}
	if strings.Contains(fieldNames(request{target: "/"}), "authorization") {
		t.Error("a request without a token has an authorization field")
	}
}

func fieldNames(r request) string {
	var names []string
	for _, f := range r.header() {
		names = append(names, f.name)
	}
	return strings.Join(names, " ")
}
