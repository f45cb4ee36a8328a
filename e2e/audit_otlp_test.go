package e2e

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/grpc"
)

// logsCollector is a collector of OpenTelemetry logs that takes what it is sent, or does not answer.
type logsCollector struct {
	collogspb.UnimplementedLogsServiceServer

	mu    sync.Mutex
	hangs bool
	lines []map[string]any // the keys of the audit log, of what was taken
}

// Export implements the service.
func (c *logsCollector) Export(ctx context.Context, in *collogspb.ExportLogsServiceRequest) (*collogspb.ExportLogsServiceResponse, error) {
	c.mu.Lock()
	hangs := c.hangs
	c.mu.Unlock()
	if hangs {
		<-ctx.Done() // which ends with the caller's patience
		return nil, ctx.Err()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, resource := range in.GetResourceLogs() {
		for _, scope := range resource.GetScopeLogs() {
			for _, record := range scope.GetLogRecords() {
				line := map[string]any{"name": record.GetEventName()}
				for _, a := range record.GetAttributes() {
					line[strings.TrimPrefix(a.GetKey(), "sallyport.")] = plain(a.GetValue())
				}
				c.lines = append(c.lines, line)
			}
		}
	}
	return &collogspb.ExportLogsServiceResponse{}, nil
}

// plain is a value as JSON would have it.
func plain(v *commonpb.AnyValue) any {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_IntValue:
		return float64(v.IntValue)
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	}
	return v
}

// hang has the collector not answer, or answer again.
func (c *logsCollector) hang(hangs bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.hangs = hangs
}

// taken are the lines so far.
func (c *logsCollector) taken() []map[string]any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lines)
}

// holds says that a line with this value was taken.
func (c *logsCollector) holds(key string, value any) bool {
	return slices.ContainsFunc(c.taken(), func(line map[string]any) bool { return line[key] == value })
}

// explained is how many numbers are on a record or told by a gap, and the greatest.
func (c *logsCollector) explained() (count, greatest float64) {
	for _, line := range c.taken() {
		if sequence, ok := line["sequence"].(float64); ok {
			count++
			greatest = max(greatest, sequence)
		}
		if lost, ok := line["lost"].(float64); ok {
			count += lost
		}
	}
	return count, greatest
}

// listenOn serves a collector on a port until the test ends or stop is called.
func (c *logsCollector) listenOn(t *testing.T, port int) (stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", local(port))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collogspb.RegisterLogsServiceServer(server, c)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return server.Stop
}

// otlpGate is a gate whose log goes to a collector on a port, which is waited for a moment only.
func otlpGate(t *testing.T, port int) *gate {
	t.Helper()
	policy := filepath.Join(t.TempDir(), "policy.yaml")
	write(t, policy, shopPolicy("https://127.0.0.1:1"))
	g := &gate{listen: freePort(t), admin: freePort(t)}
	g.process = start(t, "authz", "/usr/bin/env", "OTEL_EXPORTER_OTLP_ENDPOINT=http://"+local(port), "OTEL_EXPORTER_OTLP_TIMEOUT=300", sallyport(t), "authz",
		"--listen", local(g.listen), "--admin", local(g.admin), "--drain-delay", "0s", "--policy", policy, "--audit", "otlp", "--audit-fold", "0")
	g.ready()
	return g
}

// A real collector is sent every record. One that does not answer, and one that is gone, costs no request its answer: what it does not take
// is counted, shows on /readyz, and is told by a gap as soon as it takes records again, so that the numbers explain every loss.
func TestAuditToACollector(t *testing.T) {
	port := freePort(t)
	c := &logsCollector{}
	stop := c.listenOn(t, port)
	g := otlpGate(t, port)
	asked := 0.0
	ask := func() {
		g.decide()
		asked++
	}
	well := func() bool {
		_, body := get(local(g.admin), "/readyz")
		return !strings.Contains(body, `"audit"`)
	}
	gaps := func() int {
		n := 0
		for _, line := range c.taken() {
			if line["event"] == "gap" {
				n++
			}
		}
		return n
	}
	ask()
	eventually(t, "the decision arrives", func() bool { return c.holds("name", "sallyport.decision") })
	if first := c.taken()[0]; first["event"] != "start" || first["sequence"] != 1.0 {
		t.Errorf("the first record is %v", first)
	}

	for _, trouble := range []struct {
		name       string
		begin, end func()
	}{
		{"does not answer", func() { c.hang(true) }, func() { c.hang(false) }},
		{"is gone", func() { stop() }, func() { c.listenOn(t, port) }},
	} {
		told, dropped := gaps(), g.metric("sallyport_audit_dropped_total")
		trouble.begin()
		for range 20 {
			ask()
		}
		eventually(t, "a collector that "+trouble.name+" shows", func() bool {
			return !well() && g.metric("sallyport_audit_dropped_total") > dropped
		})
		trouble.end()
		eventually(t, "what was lost is told", func() bool { ask(); return gaps() > told })
		eventually(t, "all is well again", well)
		eventually(t, "each number is on a record or told", func() bool {
			explained, _ := c.explained()
			return explained == g.metric("sallyport_audit_records_total")
		})
	}
	g.signal(terminate)
	if code := g.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	lines := c.taken()
	if explained, greatest := c.explained(); explained != greatest || greatest < asked {
		t.Errorf("%v numbers of %v are explained, of %v decisions", explained, greatest, asked)
	}
	if last := fmt.Sprint(lines[len(lines)-1]["event"]); last != "stop" {
		t.Errorf("the last record is %s", last)
	}
}
