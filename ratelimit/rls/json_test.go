package rls_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/sallyport-dev/sallyport/ratelimit"
	"github.com/sallyport-dev/sallyport/ratelimit/rls"
)

// failing is a limiter whose store never decides.
type failing struct{}

func (failing) Spend(context.Context, ratelimit.Request) (ratelimit.Response, error) {
	return ratelimit.Response{}, &ratelimit.StoreError{Class: ratelimit.StoreRefused, Err: io.ErrUnexpectedEOF}
}

// The row "8080 /json" of the reference: what comes with which status.
func TestJSON(t *testing.T) {
	const who = `{"domain":"mesh","descriptors":[{"entries":[{"key":"plain","value":"x"}]}]}`
	handler := rls.New(limiter(t, ratelimit.Options{}), rls.Options{}).JSON()
	for _, tt := range []struct {
		name, method, body string
		handler            http.Handler
		want               int
		code               rlsv3.RateLimitResponse_Code
	}{
		{"within", "POST", who, handler, 200, rlsv3.RateLimitResponse_OK},
		{"any method, snake case", "PUT", strings.Replace(who, `{"domain"`, `{"hits_addend":1,"domain"`, 1), handler, 200, rlsv3.RateLimitResponse_OK},
		{"over", "POST", who, handler, 429, rlsv3.RateLimitResponse_OVER_LIMIT},
		{"no JSON", "POST", "{", handler, 400, 0},
		{"an unknown field", "POST", `{"domian":"mesh"}`, handler, 400, 0},
		{"nothing", "GET", "", handler, 400, 0},
		{"no domain", "POST", "{}", handler, 400, 0},
		{"a store that is away", "POST", who, rls.New(failing{}, rls.Options{}).JSON(), 400, 0},
		{"out of all bounds", "POST", `{"domain":"` + strings.Repeat("x", 5<<20) + `"}`, handler, 400, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			tt.handler.ServeHTTP(w, httptest.NewRequest(tt.method, "/json", strings.NewReader(tt.body)))
			if w.Code != tt.want {
				t.Fatalf("status %d, want %d: %s", w.Code, tt.want, w.Body)
			}
			if tt.want == 400 {
				if w.Body.String() != "Bad Request\n" {
					t.Errorf("body %q", w.Body)
				}
				return
			}
			var out rlsv3.RateLimitResponse
			if err := protojson.Unmarshal(w.Body.Bytes(), &out); err != nil || out.GetOverallCode() != tt.code || len(out.GetStatuses()) != 1 {
				t.Errorf("%v, body %s", err, w.Body)
			}
			if got := w.Header().Get("Content-Type"); got != "application/json" {
				t.Errorf("content type %s", got)
			}
		})
	}
}
