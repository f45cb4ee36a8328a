package rls

import (
	"context"
	"fmt"

	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// message takes in a call's bytes whatever they are. gRPC answers a call with an error as soon as its decoding fails, and Envoy
// lets a request pass whose rate limit ended with an error; so decoding must not fail before we can say what follows.
type message struct{ bytes []byte }

// Reset is part of gRPC's idea of a message.
func (m *message) Reset() { m.bytes = nil }

// String is part of gRPC's idea of a message.
func (m *message) String() string { return fmt.Sprintf("%d bytes", len(m.bytes)) }

// ProtoMessage is part of gRPC's idea of a message.
func (*message) ProtoMessage() {}

// Unmarshal keeps a copy, since the bytes are gRPC's to use again. It never fails.
func (m *message) Unmarshal(b []byte) error {
	m.bytes = append([]byte(nil), b...)
	return nil
}

// handle is the call's handler in place of the generated one, which leaves an undecodable request to gRPC.
func (s *Server) handle(ctx context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	var received message
	if err := decode(&received); err != nil {
		return nil, err // no request has arrived
	}
	answer := func(ctx context.Context, _ any) (any, error) {
		in, err := parse(received.bytes)
		if err != nil {
			return s.undecodable(), nil
		}
		return s.ShouldRateLimit(ctx, in)
	}
	if intercept == nil {
		return answer(ctx, nil)
	}
	return intercept(ctx, nil, &grpc.UnaryServerInfo{Server: s, FullMethod: rlsv3.RateLimitService_ShouldRateLimit_FullMethodName}, answer)
}

// parse reads a request. Envoy copies header values into descriptors as they came, and what is not UTF-8 among them makes a
// message that protobuf refuses (CVE-2023-27488); such a request is limited like any other, by its very bytes.
func parse(b []byte) (*rlsv3.RateLimitRequest, error) {
	in := &rlsv3.RateLimitRequest{}
	if proto.Unmarshal(b, in) == nil {
		return in, nil
	}
	proto.Reset(in)
	return in, parseBytes(b, in.ProtoReflect())
}

// parseBytes reads a message whose strings may hold any bytes. They stay as they are: distinct values stay distinct, so nobody
// spends the budget of another by an escape. Its depth is the schema's, which has no recursion.
func parseBytes(b []byte, into protoreflect.Message) error {
	for len(b) > 0 {
		number, kind, tag := protowire.ConsumeTag(b)
		if tag < 0 {
			return protowire.ParseError(tag)
		}
		length := protowire.ConsumeFieldValue(number, kind, b[tag:])
		if length < 0 {
			return protowire.ParseError(length)
		}
		if err := parseField(b[:tag+length], tag, into); err != nil {
			return err
		}
		b = b[tag+length:]
	}
	return nil
}

// parseField reads one field, whose value begins after its tag.
func parseField(field []byte, tag int, into protoreflect.Message) error {
	number, kind, _ := protowire.ConsumeTag(field)
	known := into.Descriptor().Fields().ByNumber(number)
	if known == nil || kind != protowire.BytesType {
		return proto.UnmarshalOptions{Merge: true}.Unmarshal(field, into.Interface())
	}
	value, _ := protowire.ConsumeBytes(field[tag:])
	switch {
	case known.Kind() == protoreflect.StringKind && !known.IsList():
		into.Set(known, protoreflect.ValueOfString(string(value)))
		return nil
	case known.Kind() == protoreflect.MessageKind && known.IsList():
		return parseBytes(value, into.Mutable(known).List().AppendMutable().Message())
	case known.Kind() == protoreflect.MessageKind && !known.IsMap():
		return parseBytes(value, into.Mutable(known).Message())
	}
	return proto.UnmarshalOptions{Merge: true}.Unmarshal(field, into.Interface())
}
