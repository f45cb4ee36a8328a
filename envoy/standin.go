package envoy

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	commonv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	rlsv3 "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"
)

// StandIn plays Envoy's part towards the two gates where there is no Envoy: it asks them, in the order of demo.yaml's filters, what
// Envoy would ask, and reads their answers as Envoy does. It is for showing what the gates decide and protects nothing: it cleans no
// path, refuses no header and checks no certificate. It is safe for concurrent use.
type StandIn struct {
	conns []*grpc.ClientConn
	authz authv3.AuthorizationClient
	rls   rlsv3.RateLimitServiceClient
}

// StandInRequest is one request as Envoy's filters would see it.
type StandInRequest struct {
	Method, Target, Host string
	Header               []StandInField
	Address              string // of the client, as the trusted proxy in front saw it; "" is 127.0.0.1
	Principal            string // SPIFFE ID of the peer's certificate, "" for none
	Service              string // context extension `service` of the route, "" for none
}

// StandInField is one header field.
type StandInField struct{ Name, Value string }

// StandInAnswer is what the gates made of a request. If Pass, Header is what the service would be sent; otherwise Status, Header and
// Body are what the client would be.
type StandInAnswer struct {
	Pass   bool
	Status int
	Header []StandInField
	Body   []byte
}

// The timeouts of demo.yaml.
const (
	standInAuthzTimeout = 250 * time.Millisecond
	standInLimitTimeout = 100 * time.Millisecond
)

// standInPeer is the peer that Envoy would see: the proxy in front, on this machine.
const standInPeer = "127.0.0.1"

// NewStandIn makes a stand-in for gates at two loopback addresses. It does not dial.
func NewStandIn(authzAddress, rateLimitAddress string) (*StandIn, error) {
	s := &StandIn{}
	for _, address := range []string{authzAddress, rateLimitAddress} {
		conn, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return nil, errors.Join(fmt.Errorf("envoy: stand in: %w", err), s.Close())
		}
		s.conns = append(s.conns, conn)
	}
	s.authz, s.rls = authv3.NewAuthorizationClient(s.conns[0]), rlsv3.NewRateLimitServiceClient(s.conns[1])
	return s, nil
}

// Close ends the connections.
func (s *StandIn) Close() error {
	var errs []error
	for _, conn := range s.conns {
		errs = append(errs, conn.Close())
	}
	return errors.Join(errs...)
}

// Ask asks the limit by address, then who may pass, then the limits by what was found out. A gate that does not answer is a 503, as
// in demo.yaml; an error says that ctx ended.
func (s *StandIn) Ask(ctx context.Context, r StandInRequest) (StandInAnswer, error) {
	if err := ctx.Err(); err != nil {
		return StandInAnswer{}, fmt.Errorf("envoy: stand in: %w", err)
	}
	r = r.fronted()
	if r.Principal == "" { // only the people's door has it
		if refusal := s.limit(ctx, "edge", [][]*commonv3.RateLimitDescriptor_Entry{{standInEntry("masked_remote_address", standInMasked(r.Address))}}); refusal != nil {
			refusal.Header = slices.DeleteFunc(refusal.Header, func(f StandInField) bool { return strings.HasPrefix(f.Name, "x-ratelimit-") })
			return *refusal, nil
		}
	}
	authzCtx, cancel := context.WithTimeout(ctx, standInAuthzTimeout)
	defer cancel()
	verdict, err := s.authz.Check(authzCtx, r.check())
	if err != nil {
		return StandInAnswer{Status: http.StatusServiceUnavailable}, nil //nolint:nilerr // a gate that does not answer is an answer
	}
	if verdict.GetStatus().GetCode() != 0 {
		return standInDenial(verdict.GetDeniedResponse()), nil
	}
	if refusal := s.limit(ctx, "mesh", standInDescriptors(verdict.GetDynamicMetadata())); refusal != nil {
		return *refusal, nil
	}
	return StandInAnswer{Pass: true, Status: http.StatusOK, Header: standInMutate(r.Header, verdict.GetOkResponse())}, nil
}

// fronted adds what the proxy in front and Envoy say about the way of the request.
func (r StandInRequest) fronted() StandInRequest {
	forwarded := standInPeer
	if r.Address == "" {
		r.Address = standInPeer
	} else {
		forwarded = r.Address + "," + standInPeer
	}
	if r.Principal == "" {
		r.Header = append(slices.Clone(r.Header), StandInField{"x-forwarded-for", forwarded})
	}
	return r
}

// check is the CheckRequest, with raw headers (encode_raw_headers).
func (r StandInRequest) check() *authv3.CheckRequest {
	fields := []StandInField{{":authority", r.Host}, {":method", r.Method}, {":path", r.Target}, {":scheme", "http"}}
	headers := &corev3.HeaderMap{}
	for _, f := range append(fields, r.Header...) {
		headers.Headers = append(headers.Headers, &corev3.HeaderValue{Key: strings.ToLower(f.Name), RawValue: []byte(f.Value)})
	}
	var extensions map[string]string
	if r.Service != "" {
		extensions = map[string]string{"service": r.Service}
	}
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{
			Principal: r.Principal,
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{
				SocketAddress: &corev3.SocketAddress{Address: standInPeer},
			}},
		},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: r.Method, Path: r.Target, Host: r.Host, Scheme: "http", Protocol: "HTTP/1.1", HeaderMap: headers,
		}},
		ContextExtensions: extensions,
	}}
}

// standInDenial reads a refusal as Envoy does: without a status it is 403.
func standInDenial(d *authv3.DeniedHttpResponse) StandInAnswer {
	answer := StandInAnswer{Status: int(d.GetStatus().GetCode()), Body: []byte(d.GetBody())}
	if answer.Status == 0 {
		answer.Status = http.StatusForbidden
	}
	for _, option := range d.GetHeaders() {
		answer.Header = append(answer.Header, StandInField{option.GetHeader().GetKey(), option.GetHeader().GetValue()})
	}
	return answer
}

// standInMutate is what the service would be sent: the client's headers, those the gate set in place of any copies, without those it removed.
func standInMutate(fields []StandInField, ok *authv3.OkHttpResponse) []StandInField {
	sent := slices.Clone(fields)
	without := func(name string) {
		sent = slices.DeleteFunc(sent, func(f StandInField) bool { return strings.EqualFold(f.Name, name) })
	}
	for _, option := range ok.GetHeaders() {
		without(option.GetHeader().GetKey())
		sent = append(sent, StandInField{option.GetHeader().GetKey(), option.GetHeader().GetValue()})
	}
	for _, name := range ok.GetHeadersToRemove() {
		without(name)
	}
	return sent
}

// limit asks the rate limit gate, and returns a refusal or nil.
func (s *StandIn) limit(ctx context.Context, domain string, descriptors [][]*commonv3.RateLimitDescriptor_Entry) *StandInAnswer {
	ctx, cancel := context.WithTimeout(ctx, standInLimitTimeout)
	defer cancel()
	ask := &rlsv3.RateLimitRequest{Domain: domain}
	for _, entries := range descriptors {
		ask.Descriptors = append(ask.Descriptors, &commonv3.RateLimitDescriptor{Entries: entries})
	}
	answer, err := s.rls.ShouldRateLimit(ctx, ask)
	switch {
	case err != nil:
		return &StandInAnswer{Status: http.StatusServiceUnavailable}
	case answer.GetOverallCode() != rlsv3.RateLimitResponse_OVER_LIMIT:
		return nil
	}
	return &StandInAnswer{Status: http.StatusTooManyRequests, Header: standInLimitHeaders(answer.GetStatuses())}
}

// standInLimitHeaders are Envoy's (DRAFT_VERSION_03): the tightest limit first and in remaining, every limit in the list, and the longest wait
// among the limits that are spent, at least a second.
func standInLimitHeaders(statuses []*rlsv3.RateLimitResponse_DescriptorStatus) []StandInField {
	var tightest *rlsv3.RateLimitResponse_DescriptorStatus
	var all []string
	wait := int64(1)
	for _, status := range statuses {
		if status.GetCode() == rlsv3.RateLimitResponse_OVER_LIMIT {
			wait = max(wait, status.GetDurationUntilReset().GetSeconds())
		}
		limit := status.GetCurrentLimit()
		seconds := standInSeconds[limit.GetUnit()]
		if limit == nil || seconds == 0 {
			continue
		}
		text := fmt.Sprintf("%d;w=%d", limit.GetRequestsPerUnit(), seconds)
		if limit.GetName() != "" {
			text += `;name="` + limit.GetName() + `"`
		}
		all = append(all, text)
		if tightest == nil || status.GetLimitRemaining() < tightest.GetLimitRemaining() {
			tightest = status
		}
	}
	fields := []StandInField{{"retry-after", strconv.FormatInt(wait, 10)}}
	if tightest == nil {
		return fields
	}
	first := strconv.FormatUint(uint64(tightest.GetCurrentLimit().GetRequestsPerUnit()), 10)
	return append(fields,
		StandInField{"x-ratelimit-limit", strings.Join(append([]string{first}, all...), ", ")},
		StandInField{"x-ratelimit-remaining", strconv.FormatUint(uint64(tightest.GetLimitRemaining()), 10)},
		StandInField{"x-ratelimit-reset", strconv.FormatInt(tightest.GetDurationUntilReset().GetSeconds(), 10)})
}

// standInSeconds are the windows that Envoy knows a length of.
var standInSeconds = map[rlsv3.RateLimitResponse_RateLimit_Unit]int{
	rlsv3.RateLimitResponse_RateLimit_SECOND: 1, rlsv3.RateLimitResponse_RateLimit_MINUTE: 60,
	rlsv3.RateLimitResponse_RateLimit_HOUR: 3600, rlsv3.RateLimitResponse_RateLimit_DAY: 86400,
}

// standInDescriptors are the three that every file here sends, read from the first gate's metadata.
func standInDescriptors(metadata *structpb.Struct) [][]*commonv3.RateLimitDescriptor_Entry {
	read := func(key string) *commonv3.RateLimitDescriptor_Entry {
		value := metadata.GetFields()[key].GetStringValue()
		if value == "" {
			value = "unknown"
		}
		return standInEntry(key, value)
	}
	who, service, rule := read("who"), read("service"), read("rule")
	return [][]*commonv3.RateLimitDescriptor_Entry{{who}, {service, rule}, {service, rule, who}}
}

func standInEntry(key, value string) *commonv3.RateLimitDescriptor_Entry {
	return &commonv3.RateLimitDescriptor_Entry{Key: key, Value: value}
}

// standInMasked is what Envoy's masked_remote_address sends: /32, or /64 of an IPv6 address.
func standInMasked(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	bits := 32
	if a.Is6() {
		bits = 64
	}
	prefix, err := a.Prefix(bits)
	if err != nil {
		return address
	}
	return prefix.String()
}
