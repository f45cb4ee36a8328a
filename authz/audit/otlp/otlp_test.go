package otlp_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	logspb "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sallyport-dev/sallyport/authz/audit/otlp"
)

// collector is an OpenTelemetry collector that keeps what it is sent, or refuses it.
type collector struct {
	collogspb.UnimplementedLogsServiceServer

	mu      sync.Mutex
	refuses error
	partly  *collogspb.ExportLogsPartialSuccess
	got     []*logspb.LogRecord
	service string
}

func (c *collector) Export(_ context.Context, in *collogspb.ExportLogsServiceRequest) (*collogspb.ExportLogsServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refuses != nil {
		return nil, c.refuses
	}
	for _, resource := range in.GetResourceLogs() {
		for _, a := range resource.GetResource().GetAttributes() {
			if a.GetKey() == "service.name" {
				c.service = a.GetValue().GetStringValue()
			}
		}
		for _, scope := range resource.GetScopeLogs() {
			c.got = append(c.got, scope.GetLogRecords()...)
		}
	}
	return &collogspb.ExportLogsServiceResponse{PartialSuccess: c.partly}, nil
}

// listen runs a collector until the test ends, and points the standard variables at it.
func listen(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c, server := &collector{}, grpc.NewServer()
	collogspb.RegisterLogsServiceServer(server, c)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "5000")
	return c
}

func open(t *testing.T) *otlp.Sink {
	t.Helper()
	s, err := otlp.New(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close(context.Background()) })
	return s
}

const lines = `{"v":1,"time":"2026-03-01T11:00:00.5Z","sequence":1,"event":"start","mode":"bounded"}
{"v":1,"time":"2026-03-01T11:00:01Z","sequence":2,"verdict":"deny","reason":"owner","forwarded":true}
{"v":1,"time":"2026-03-01T11:00:02Z","sequence":3,"verdict":"allow","sample_rate":0.01}
{"v":1,"time":"2026-03-01T11:00:03Z","sequence":4,"event":"key_rotation","outcome":"failed","added":["a","b"]}
`

// Each line is a log record with the line's time, a severity, and the line's keys as attributes of their types.
func TestLines(t *testing.T) {
	c := listen(t)
	if n, err := open(t).Write([]byte(lines)); n != len(lines) || err != nil {
		t.Fatalf("Write: %d, %v", n, err)
	}
	var names, severities []string
	for _, r := range c.got {
		names, severities = append(names, r.GetEventName()), append(severities, r.GetSeverityText())
	}
	if diff := cmp.Diff([]string{"sallyport.start", "sallyport.decision", "sallyport.decision", "sallyport.key_rotation"}, names); diff != "" {
		t.Fatal(diff)
	}
	if diff := cmp.Diff([]string{"INFO", "WARN", "INFO", "WARN"}, severities); diff != "" {
		t.Error(diff)
	}
	if at := time.Unix(0, int64(c.got[0].GetTimeUnixNano())).UTC(); !at.Equal(time.Date(2026, 3, 1, 11, 0, 0, 5e8, time.UTC)) {
		t.Errorf("the time is %s", at)
	}
	find := func(i int, key string) *commonpb.AnyValue {
		for _, a := range c.got[i].GetAttributes() {
			if a.GetKey() == key {
				return a.GetValue()
			}
		}
		return nil
	}
	if find(1, "sallyport.sequence").GetIntValue() != 2 || !find(1, "sallyport.forwarded").GetBoolValue() || find(1, "sallyport.reason").GetStringValue() != "owner" ||
		find(2, "sallyport.sample_rate").GetDoubleValue() != 0.01 || len(find(3, "sallyport.added").GetArrayValue().GetValues()) != 2 {
		t.Errorf("attributes are %v", c.got)
	}
	if c.service != "sallyport" {
		t.Errorf("the service is %q", c.service)
	}
}

// What the collector refuses is an error, and no line of it counts as written; the next write is a new attempt.
func TestRefused(t *testing.T) {
	c := listen(t)
	s := open(t)
	c.refuses = status.Error(codes.PermissionDenied, "not you")
	if n, err := s.Write([]byte(lines)); n != 0 || err == nil || !strings.Contains(err.Error(), "not you") {
		t.Errorf("Write: %d, %v", n, err)
	}
	c.refuses = nil
	if n, err := s.Write([]byte(lines)); n != len(lines) || err != nil || len(c.got) != 4 {
		t.Errorf("Write: %d, %v; %d records", n, err, len(c.got))
	}
}

// A warning is no loss; a record that was rejected is one, and then no line counts as written.
func TestPartialSuccess(t *testing.T) {
	c := listen(t)
	s := open(t)
	c.partly = &collogspb.ExportLogsPartialSuccess{ErrorMessage: "slow down"}
	if n, err := s.Write([]byte(lines)); n != len(lines) || err != nil {
		t.Errorf("a warning: %d, %v", n, err)
	}
	c.partly = &collogspb.ExportLogsPartialSuccess{RejectedLogRecords: 1, ErrorMessage: "too old"}
	if n, err := s.Write([]byte(lines)); n != 0 || err == nil || !strings.Contains(err.Error(), "too old") {
		t.Errorf("a rejection: %d, %v", n, err)
	}
}

// A collector that is away is not waited for once nobody has the time.
func TestAbandon(t *testing.T) {
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
	t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600000")
	s := open(t)
	done := make(chan error)
	go func() {
		n, err := s.Write([]byte(lines))
		if n != 0 {
			t.Errorf("%d bytes were taken", n)
		}
		done <- err
	}()
	s.Abandon()
	if err := <-done; err == nil {
		t.Error("no error")
	}
}

// The operator's own name wins.
func TestServiceName(t *testing.T) {
	c := listen(t)
	t.Setenv("OTEL_SERVICE_NAME", "edge")
	if _, err := open(t).Write([]byte(lines)); err != nil || c.service != "edge" {
		t.Errorf("%v, the service is %q", err, c.service)
	}
}
