package extauthz_test

import (
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"

	"github.com/sallyport-dev/sallyport/authz/extauthz"
)

// Whatever message comes, it is answered with a status, and what is private stays so without the good token. The message is read as the
// server reads it: one that cannot be read is empty.
func FuzzCheck(f *testing.F) {
	token := map[string]string{"authorization": "Bearer " + good, ":path": "/users/alice/orders", "content-type": "application/grpc"}
	for _, in := range []*authv3.CheckRequest{
		nil, {}, request("GET", "/users/alice/orders", token), raw(request("GET", "/users/alice/orders", token)), request("GET", "/catalogue/x?access_token=y", nil),
		request("GET", "/healthz", map[string]string{"connection": "x-user-id"}), request("POST", "/internal/reindex", nil), request("GET", "/invoices/bob", token),
		request("GET", "/users/alice/orders", map[string]string{"authorization": "Bearer weak"}), request("CONNECT", "", nil),
	} {
		f.Add(encoded(f, in))
	}
	s := extauthz.New(gate(f), nil)
	f.Fuzz(func(t *testing.T, data []byte) {
		in := &authv3.CheckRequest{}
		if err := proto.Unmarshal(data, in); err != nil {
			proto.Reset(in)
		}
		out, err := s.Check(t.Context(), in)
		if err != nil || out.GetStatus() == nil {
			t.Fatalf("no answer: %v, %v", out, err)
		}
		fields := texts(t, out.GetDynamicMetadata())
		if fields["reason"] == "panic" || fields["reason"] == "undecided" {
			t.Fatalf("a defect: %v", fields)
		}
		if (out.GetStatus().GetCode() == 0) != (fields["decision"] == "allow") || (out.GetStatus().GetCode() == 0) != (out.GetOkResponse() != nil) {
			t.Fatalf("code %d of %s", out.GetStatus().GetCode(), fields["decision"])
		}
		private := fields["rule"] == "read-orders" || fields["rule"] == "invoice"
		if fields["decision"] == "allow" && private && (fields["who"] != "user|shop|alice" || !strings.Contains(string(data), "earer "+good) && !strings.Contains(strings.ToLower(string(data)), "bearer "+good)) {
			t.Fatalf("%s without a token: %v", fields["rule"], fields)
		}
		if _, err := proto.Marshal(out); err != nil {
			t.Fatalf("the answer does not travel: %v", err)
		}
	})
}
