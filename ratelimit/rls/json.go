package rls

import (
	"io"
	"net/http"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

// maxJSON is the largest body of a question over HTTP, in bytes: far more than anybody writes by hand.
const maxJSON = 4 << 20

// JSON answers the same questions over HTTP, for clients without gRPC, as envoyproxy/ratelimit does: a RateLimitRequest in the JSON
// form of protobuf, by any method. The status is 200 for OK, 429 for OVER_LIMIT, both with the answer in the same form, and 400 for
// what is no such request or could not be decided.
func (s *Server) JSON() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxJSON))
		var in rlsv3.RateLimitRequest
		if err != nil || protojson.Unmarshal(body, &in) != nil {
			http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
			return
		}
		out, err := s.ShouldRateLimit(r.Context(), &in)
		if err != nil {
			http.Error(w, http.StatusText(http.StatusBadRequest), http.StatusBadRequest)
			return
		}
		writeJSON(w, out)
	})
}

func writeJSON(w http.ResponseWriter, out *rlsv3.RateLimitResponse) {
	body, err := protojson.Marshal(out)
	if err != nil {
		http.Error(w, http.StatusText(http.StatusInternalServerError), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	switch out.GetOverallCode() {
	case rlsv3.RateLimitResponse_OK:
	case rlsv3.RateLimitResponse_OVER_LIMIT:
		w.WriteHeader(http.StatusTooManyRequests)
	default:
		w.WriteHeader(http.StatusInternalServerError)
	}
	_, _ = w.Write(body)
}
