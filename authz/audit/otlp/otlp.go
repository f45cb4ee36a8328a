// Package otlp sends the lines of an audit log to an OpenTelemetry collector, as log records over gRPC. It is a room of its own because it
// is the only door to OpenTelemetry: the log itself knows an [io.Writer] and nothing of where its lines go.
//
// A batch of lines is one Export, and Write waits for it. The queue before it is that of the audit log, which counts and tells what it
// loses; the SDK's own batch processor would lose in silence.
package otlp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"
	collogspb "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/grpc"
)

// scope is the instrumentation scope of the records.
const scope = "github.com/sallyport-dev/sallyport/authz/audit"

// Sink is a writer of lines. Write is for one goroutine, as the audit log's Run is one; Abandon is for any.
type Sink struct {
	// ending ends with Abandon.
	ending   context.Context //nolint:containedctx // io.Writer has none to hand over
	abandon  context.CancelFunc
	exporter sdklog.Exporter
	provider *sdklog.LoggerProvider
	logger   log.Logger
	pending  collector
}

// New makes a Sink that sends to where the standard variables say (OTEL_EXPORTER_OTLP_ENDPOINT, _HEADERS, _CERTIFICATE, _TIMEOUT and their
// kin with LOGS_ before them; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES). It does not dial: a collector that is away is a write
// that fails.
func New(ctx context.Context) (*Sink, error) {
	exporter, err := otlploggrpc.New(ctx, otlploggrpc.WithDialOption(grpc.WithChainUnaryInterceptor(tookAll)))
	if err != nil {
		return nil, fmt.Errorf("otlp: %w", err)
	}
	named := resource.NewSchemaless(attribute.String("service.name", "sallyport"))
	whole, err := resource.Merge(named, resource.Environment())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("otlp: OTEL_RESOURCE_ATTRIBUTES: %w", err), exporter.Shutdown(ctx))
	}
	s := &Sink{exporter: exporter}
	s.ending, s.abandon = context.WithCancel(context.WithoutCancel(ctx))
	s.provider = sdklog.NewLoggerProvider(sdklog.WithResource(whole), sdklog.WithProcessor(&s.pending))
	s.logger = s.provider.Logger(scope)
	return s, nil
}

// Write sends whole lines of JSON as one export and returns when the collector has taken them. With an error none of them counts as
// taken, though the collector may have some.
func (s *Sink) Write(p []byte) (int, error) {
	s.pending.records = s.pending.records[:0]
	for line := range bytes.Lines(p) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			s.logger.Emit(context.Background(), recordOf(line))
		}
	}
	// The exporter bounds this by OTEL_EXPORTER_OTLP_TIMEOUT, ten seconds unless told.
	if err := s.exporter.Export(s.ending, s.pending.records); err != nil {
		return 0, fmt.Errorf("otlp: %w", err)
	}
	return len(p), nil
}

// tookAll makes an answer that rejects nothing a success: a collector may say something beside (partial_success with no records rejected
// is a warning), which the exporter would return as an error.
func tookAll(ctx context.Context, method string, in, out any, conn *grpc.ClientConn, call grpc.UnaryInvoker, opts ...grpc.CallOption) error {
	err := call(ctx, method, in, out, conn, opts...)
	if answer, ok := out.(*collogspb.ExportLogsServiceResponse); ok && answer.GetPartialSuccess().GetRejectedLogRecords() == 0 {
		answer.PartialSuccess = nil
	}
	return err
}

// Abandon ends the Write that waits for the collector, and every later one: the process ends, and will not wait for one that is away.
func (s *Sink) Abandon() { s.abandon() }

// Close lets the connection go.
func (s *Sink) Close(ctx context.Context) error {
	s.abandon()
	if err := errors.Join(s.provider.Shutdown(ctx), s.exporter.Shutdown(ctx)); err != nil {
		return fmt.Errorf("otlp: close: %w", err)
	}
	return nil
}

// recordOf is a line as a log record: its keys as attributes, its time, and a severity that tells denials and failures apart from what
// went well.
func recordOf(line []byte) log.Record {
	var r log.Record
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		r.SetBody(attribute.StringValue(string(line))) // half a line; better there than lost
		return r
	}
	if text, ok := fields["time"].(string); ok {
		if at, err := time.Parse(time.RFC3339Nano, text); err == nil {
			r.SetTimestamp(at)
		}
	}
	name := "decision"
	if event, ok := fields["event"].(string); ok {
		name = event
	}
	r.SetEventName("sallyport." + name)
	r.SetSeverity(log.SeverityInfo)
	r.SetSeverityText("INFO")
	if fields["verdict"] == "deny" || fields["outcome"] == "failed" || fields["outcome"] == "partly" || name == "gap" {
		r.SetSeverity(log.SeverityWarn)
		r.SetSeverityText("WARN")
	}
	for key, value := range fields {
		r.AddAttributes(attribute.KeyValue{Key: attribute.Key("sallyport." + key), Value: valueOf(value)})
	}
	return r
}

// valueOf is a value of a line: a text, a number, a truth, or a list of texts.
func valueOf(v any) attribute.Value {
	switch v := v.(type) {
	case string:
		return attribute.StringValue(v)
	case bool:
		return attribute.BoolValue(v)
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return attribute.Int64Value(n)
		}
		n, _ := v.Float64() // JSON's numbers are floats at worst
		return attribute.Float64Value(n)
	case []any:
		list := make([]attribute.Value, len(v))
		for i := range v {
			list[i] = valueOf(v[i])
		}
		return attribute.SliceValue(list...)
	}
	return attribute.Value{}
}

// collector keeps what is emitted for one export. The SDK makes its records in no other way.
type collector struct{ records []sdklog.Record }

var _ sdklog.Processor = (*collector)(nil)

// Enabled implements sdklog.Processor.
func (c *collector) Enabled(context.Context, sdklog.EnabledParameters) bool { return true }

// OnEmit implements sdklog.Processor.
func (c *collector) OnEmit(_ context.Context, r *sdklog.Record) error {
	c.records = append(c.records, r.Clone())
	return nil
}

// Shutdown implements sdklog.Processor.
func (c *collector) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdklog.Processor.
func (c *collector) ForceFlush(context.Context) error { return nil }
