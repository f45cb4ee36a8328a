// Package openfgatest starts a real OpenFGA for tests and writes models and tuples into it, by its HTTP API alone, so that tests of what
// asks OpenFGA do not rest on what they test. Tests only.
package openfgatest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// Variable names the environment variable with the path of the server's binary. `make` sets it.
const Variable = "SALLYPORT_OPENFGA"

// Find is the path of the server's binary: that of the environment, or what `make tools` built. A machine without it fails the test; it
// does not skip.
func Find(t testing.TB) string {
	t.Helper()
	path := os.Getenv(Variable)
	if path == "" {
		path = filepath.Join(moduleRoot(t), "build", "tools", "bin", "openfga")
	}
	if info, err := os.Stat(path); err != nil || info.IsDir() {
		t.Fatalf("find OpenFGA: there is no %s: run `make openfga`, or set %s", path, Variable)
	}
	return path
}

// moduleRoot is the folder of go.mod above the test's.
func moduleRoot(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	for ; err == nil && dir != filepath.Dir(dir); dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
	}
	t.Fatal("find OpenFGA: the test stands in no module")
	return ""
}

// Server is a running OpenFGA that keeps everything in memory, with one store to begin with.
type Server struct {
	// URL is that of its HTTP API, http on the loopback.
	URL string
	// Store is the id of the store that the methods write into, and Model that of the model last written into it, "" before.
	Store, Model string

	token string
	kill  func()
}

// Start starts a server that ends with the test. Arguments are further ones of `openfga run`, such as "--max-checks-per-batch-check=1000".
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	binary := Find(t)
	const attempts = 5 // somebody else may take a port between our looking for it and the server's
	var err error
	for range attempts {
		var s *Server
		if s, err = start(binary, t.TempDir(), args); err == nil {
			t.Cleanup(s.Kill)
			return s.NewStore(t)
		}
	}
	t.Fatalf("start OpenFGA: %v", err)
	return nil
}

// start starts a server and returns when it serves.
func start(binary, dir string, extra []string) (*Server, error) {
	web, err := freePort()
	if err != nil {
		return nil, err
	}
	rpc, err := freePort()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, append([]string{
		"run", "--http-addr=" + web, "--grpc-addr=" + rpc, "--playground-enabled=false", "--metrics-enabled=false", "--log-format=json",
	}, extra...)...)
	cmd.Dir, cmd.Env = dir, []string{"HOME=" + dir, "PATH=" + os.Getenv("PATH")} // no settings but these
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	var drained sync.WaitGroup
	s := &Server{URL: "http://" + web, token: presharedKey(extra), kill: sync.OnceFunc(func() {
		_ = cmd.Process.Kill() // an error means that it has ended already
		drained.Wait()
		_ = cmd.Wait() // reports the kill
	})}
	lines := bufio.NewScanner(out)
	var said []string
	for lines.Scan() {
		said = append(said, lines.Text())
		if !strings.Contains(lines.Text(), "starting gRPC server") { // its last line before it serves
			continue
		}
		drained.Go(func() { _, _ = io.Copy(io.Discard, out) })
		if err := s.healthy(); err != nil {
			s.Kill()
			return nil, err
		}
		return s, nil
	}
	s.Kill()
	return nil, fmt.Errorf("%s ended before it served:\n%s", binary, strings.Join(said, "\n"))
}

// presharedKey is what the server was told to demand of those who ask.
func presharedKey(args []string) string {
	for _, arg := range args {
		if key, ok := strings.CutPrefix(arg, "--authn-preshared-keys="); ok {
			return key
		}
	}
	return ""
}

// healthy waits until both of its ports answer.
func (s *Server) healthy() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, s.URL+"/healthz", nil)
		if err != nil {
			return err
		}
		response, err := client.Do(request)
		if err == nil {
			response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return fmt.Errorf("%s does not serve: %w", s.URL, err)
		}
	}
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer l.Close()
	return l.Addr().String(), nil
}

// Kill ends the server at once, as a lost machine does.
func (s *Server) Kill() { s.kill() }

// NewStore is the same server with an empty store of its own.
func (s *Server) NewStore(t testing.TB) *Server {
	t.Helper()
	another := *s
	another.Model = ""
	var made struct {
		ID string `json:"id"`
	}
	s.post(t, "/stores", map[string]string{"name": "test"}, &made)
	another.Store = made.ID
	return &another
}

// Documents is a model of users and documents, where a document has owners, editors and viewers who are users or the members of groups.
// Anybody ("user:*") may be made a viewer.
const Documents = `{"schema_version": "1.1", "type_definitions": [
  {"type": "user"},
  {"type": "group", "relations": {"member": {"this": {}}},
   "metadata": {"relations": {"member": {"directly_related_user_types": [{"type": "user"}]}}}},
  {"type": "document", "relations": {"owner": {"this": {}}, "editor": {"this": {}}, "viewer": {"this": {}}},
   "metadata": {"relations": {
     "owner": {"directly_related_user_types": [{"type": "user"}]},
     "editor": {"directly_related_user_types": [{"type": "user"}, {"type": "group", "relation": "member"}]},
     "viewer": {"directly_related_user_types": [{"type": "user"}, {"type": "user", "wildcard": {}}, {"type": "group", "relation": "member"}]}}}}]}`

// WriteModel makes a model, in OpenFGA's JSON, the store's latest, and remembers its id.
func (s *Server) WriteModel(t testing.TB, model string) {
	t.Helper()
	var made struct {
		ID string `json:"authorization_model_id"`
	}
	s.post(t, "/stores/"+s.Store+"/authorization-models", json.RawMessage(model), &made)
	s.Model = made.ID
}

// Tuple says that a user has a relation to an object, in OpenFGA's own names: user:alice, owner, document:1.
type Tuple struct {
	User     string `json:"user"`
	Relation string `json:"relation"`
	Object   string `json:"object"`
}

// WriteTuples adds tuples, none of which may be there already.
func (s *Server) WriteTuples(t testing.TB, tuples ...Tuple) {
	t.Helper()
	const most = 100 // of one write
	for len(tuples) > 0 {
		n := min(most, len(tuples))
		s.post(t, "/stores/"+s.Store+"/write", map[string]any{"authorization_model_id": s.Model, "writes": map[string]any{"tuple_keys": tuples[:n]}}, nil)
		tuples = tuples[n:]
	}
}

var client = &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

func (s *Server) post(t testing.TB, path string, in, out any) {
	t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+path, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		request.Header.Set("Authorization", "Bearer "+s.token)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("POST %s: %d %s", path, response.StatusCode, text)
	}
	if err == nil && out != nil {
		err = json.Unmarshal(text, out)
	}
	if err != nil {
		t.Fatal(err)
	}
}
