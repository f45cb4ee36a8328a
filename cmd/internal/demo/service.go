package demo

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
	"sync/atomic"
)

// service is the orders service behind the gates: honest, because it tells what it saw, and naive as many are. It believes whatever
// x-user-id it is sent, asks nobody whose orders these are, and reads a path as generously as frameworks do: it decodes,
// resolves dots, merges slashes, folds case, cuts path parameters and a final slash.
type service struct{ called atomic.Int64 }

// echo is what the service answers: its words, and what it saw.
type echo struct {
	Says      string   `json:"says"`
	Target    string   `json:"saw_target"`
	UserIDs   []string `json:"saw_user_ids"`
	RequestID string   `json:"request_id"`
}

// calls counts the requests that have reached the service.
func (s *service) calls() int64 { return s.called.Load() }

// ServeHTTP implements http.Handler.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.called.Add(1)
	e := echo{Target: r.RequestURI, UserIDs: userIDs(r.Header), RequestID: r.Header.Get("X-Request-Id")}
	status := http.StatusOK
	switch e.Says = answer(r.Method, generous(r.RequestURI), e.UserIDs); {
	case e.Says == "deleted":
		e.Says += " " + strings.Join(listed(r.Body), ", ")
	case r.Method == http.MethodPatch:
		e.Says += " " + strings.Join(named(r.Body), ", ")
	}
	if e.Says == "" {
		status, e.Says = http.StatusNotFound, "no such page"
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	_ = encoder.Encode(e) // a client that left is no concern of ours
}

// listed are the ids of a body, whosever they are.
func listed(body io.Reader) []string {
	var sent struct {
		IDs []string `json:"ids"`
	}
	_ = json.NewDecoder(io.LimitReader(body, bodyLimit)).Decode(&sent) // what cannot be read names nothing
	return sent.IDs
}

// named are the fields of a body, all of which are written.
func named(body io.Reader) []string {
	var sent map[string]any
	_ = json.NewDecoder(io.LimitReader(body, bodyLimit)).Decode(&sent) // what cannot be read names nothing
	return slices.Sorted(maps.Keys(sent))
}

// userIDs reads the identity header as CGI and its heirs do: "_" is "-", and who comes last is believed.
func userIDs(header http.Header) []string {
	ids := []string{}
	for _, spelling := range []string{"X-User-Id", "X_user_id"} {
		ids = append(ids, header[spelling]...)
	}
	return ids
}

// generous reads a request target as a forgiving framework does.
func generous(target string) string {
	p, _, _ := strings.Cut(target, "?")
	if decoded, err := url.PathUnescape(p); err == nil {
		p = decoded
	}
	segments := strings.Split(path.Clean("/"+strings.ReplaceAll(p, `\`, "/")), "/")
	for i, segment := range segments {
		segments[i], _, _ = strings.Cut(segment, ";")
	}
	return strings.ToLower(path.Clean(strings.Join(segments, "/")))
}

// answer is what the service says; "" where it has no such page.
func answer(method, p string, ids []string) string {
	p = strings.TrimPrefix(p, "/v0") // the old API, never switched off
	segments := strings.Split(strings.TrimPrefix(p, "/"), "/")
	user := "nobody"
	if len(ids) > 0 {
		user = ids[len(ids)-1]
	}
	switch {
	case method == http.MethodPost && p == "/internal/reindex":
		return "reindexed"
	case method == http.MethodPost && p == "/orders:delete":
		return "deleted"
	case method == http.MethodPatch && len(segments) == 2 && segments[0] == "users":
		return "set"
	case method != http.MethodGet:
		return ""
	case p == "/healthz":
		return "well"
	case p == "/debug/vars": // somebody needed it once
		return "all settings"
	case p == "/me":
		return "hello " + user
	case len(segments) == 3 && segments[0] == "users" && segments[2] == "orders":
		return segments[1] + "'s orders"
	case len(segments) == 2 && segments[0] == "users":
		return segments[1] + "'s profile"
	case len(segments) == 2 && segments[0] == "catalogue":
		return segments[1] + " for " + user
	}
	return ""
}
