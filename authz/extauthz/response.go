package extauthz

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/internal/headerval"
)

// denial is how one HTTP status is told: what a gRPC caller gets, and the status phrase of RFC 9110. Envoy maps 404 to
// UNIMPLEMENTED and 400 to INTERNAL by itself, so grpc-status is always set by us.
type denial struct {
	grpc  codes.Code
	title string
}

var denials = map[int]denial{
	http.StatusBadRequest:            {codes.InvalidArgument, "Bad Request"},
	http.StatusUnauthorized:          {codes.Unauthenticated, "Unauthorized"},
	http.StatusForbidden:             {codes.PermissionDenied, "Forbidden"},
	http.StatusNotFound:              {codes.NotFound, "Not Found"},
	http.StatusGone:                  {codes.NotFound, "Gone"},
	http.StatusRequestEntityTooLarge: {codes.ResourceExhausted, "Content Too Large"},
	http.StatusUnsupportedMediaType:  {codes.InvalidArgument, "Unsupported Media Type"},
	http.StatusMisdirectedRequest:    {codes.Unimplemented, "Misdirected Request"},
	http.StatusServiceUnavailable:    {codes.Unavailable, "Service Unavailable"},
}

// sound holds an allow to what can travel: a line break in a value would be a second header at an Envoy without validate_mutations,
// and nothing in Envoy stops an empty name. What the policy sets was checked before, so an unsound allow is a defect, and a denial.
func sound(d *authz.Decision) *authz.Decision {
	for i := range d.Set {
		if field := &d.Set[i]; !headerval.ValidName(field.Name) || strings.ContainsAny(field.Value, "\r\n\x00") {
			refused := *d
			refused.Verdict, refused.Reason, refused.Hidden = authz.Deny, authz.HeaderValue, false
			refused.Set, refused.Remove, refused.Metadata = nil, nil, nil
			return &refused
		}
	}
	return d
}

// response turns a decision into the one message that Envoy acts on. Only [allowed] and [denied] make one, and both set its status:
// Envoy reads a response without a status as an allow.
func response(d *authz.Decision, grpcCaller bool) *authv3.CheckResponse {
	if d.Verdict == authz.Allow {
		return allowed(d)
	}
	return denied(d, grpcCaller)
}

func allowed(d *authz.Decision) *authv3.CheckResponse {
	ok := &authv3.OkHttpResponse{HeadersToRemove: d.Remove}
	if len(d.Set) > 0 {
		ok.Headers = make([]*corev3.HeaderValueOption, len(d.Set))
		for i, field := range d.Set {
			ok.Headers[i] = overwrite(field.Name, field.Value)
		}
	}
	ok.ResponseHeadersToAdd = respond(d.Respond)
	return &authv3.CheckResponse{
		Status:          &rpcstatus.Status{Code: int32(codes.OK)},
		HttpResponse:    &authv3.CheckResponse_OkResponse{OkResponse: ok},
		DynamicMetadata: metadata(d),
	}
}

func denied(d *authz.Decision, grpcCaller bool) *authv3.CheckResponse {
	status := d.Status()
	how, known := denials[status]
	if !known || status < http.StatusBadRequest {
		status, how = http.StatusServiceUnavailable, denials[http.StatusServiceUnavailable]
	}
	reason := d.PublicReason()
	fields := make([]*corev3.HeaderValueOption, 0, 6)
	fields = append(fields, overwrite("cache-control", "no-store"), overwrite("x-content-type-options", "nosniff"))
	if value := challenge(d, reason); value != "" {
		fields = append(fields, overwrite("www-authenticate", value))
	}
	if reason == authz.KeysUnavailable {
		fields = append(fields, overwrite("retry-after", "1"))
	}
	body := ""
	if grpcCaller {
		// Envoy percent-encodes the body into grpc-message.
		fields = append(fields, overwrite("grpc-status", strconv.Itoa(int(how.grpc))))
		body = reason.String() + " " + d.ID
	} else {
		fields = append(fields, overwrite("content-type", "application/problem+json"))
		body = problem(how.title, status, reason, d)
	}
	return &authv3.CheckResponse{
		Status: &rpcstatus.Status{Code: int32(how.grpc), Message: reason.String()},
		HttpResponse: &authv3.CheckResponse_DeniedResponse{DeniedResponse: &authv3.DeniedHttpResponse{
			Status:  &typev3.HttpStatus{Code: typev3.StatusCode(status)},
			Headers: fields,
			Body:    body,
		}},
		DynamicMetadata: metadata(d),
	}
}

// problem is RFC 9457's document. All of it is ours but the pointer, whose names a client may have chosen.
func problem(title string, status int, reason authz.Reason, d *authz.Decision) string {
	text := `{"type":"about:blank","title":"` + title + `","status":` + strconv.Itoa(status) + `,"reason":"` + reason.String() + `"`
	if !d.Hidden {
		text += fault(d.Fault)
	}
	return text + `,"decision_id":"` + d.ID + `"}` + "\n"
}

// maxPointer is how many bytes of a pointer are told: the client knows what it sent.
const maxPointer = 512

// fault tells a client where its request fails, by names alone.
func fault(f authz.Fault) string {
	text := ""
	if f.Parameter != "" {
		text += `,"parameter":` + quoted(f.Parameter)
	}
	if f.Pointer != "" && len(f.Pointer) <= maxPointer {
		text += `,"pointer":` + quoted(f.Pointer)
	}
	if f.Keyword != "" {
		text += `,"keyword":` + quoted(f.Keyword)
	}
	return text
}

// quoted is a text as JSON has it, with nothing in it that acts where the document is shown.
func quoted(text string) string {
	out, err := json.Marshal(text) // escapes <, > and & too
	if err != nil {
		return `""`
	}
	return string(out)
}

// challenge is the WWW-Authenticate of RFC 6750 section 3: no error code where no credentials came, and the scopes that are missing
// where they are.
func challenge(d *authz.Decision, reason authz.Reason) string {
	switch reason {
	case authz.NoToken:
		return `Bearer realm="sallyport"`
	case authz.InvalidToken:
		return `Bearer realm="sallyport", error="invalid_token"`
	case authz.InvalidRequest:
		return `Bearer realm="sallyport", error="invalid_request"`
	case authz.InsufficientScope:
		value := `Bearer realm="sallyport", error="insufficient_scope"`
		if d.Rule != nil {
			value += `, scope="` + headerval.Clean(strings.Join(slices.Concat(d.Rule.Scopes, d.Rule.AnyScope), " ")) + `"`
		}
		return value
	}
	return ""
}

// overwrite sets a header exactly once, whoever sent it: the deprecated bool is what Envoy 1.40 obeys, the action what 1.37 did, and
// the action's zero value would add a second header there.
func overwrite(name, value string) *corev3.HeaderValueOption {
	return &corev3.HeaderValueOption{
		Header:       &corev3.HeaderValue{Key: name, Value: value},
		Append:       notAppended, //nolint:staticcheck // SA1019: deprecated, and still the only one of the two that Envoy 1.40 obeys
		AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	}
}

// responseHeader is one header of the upstream's answer, so that all of them are one allocation.
type responseHeader struct {
	option corev3.HeaderValueOption
	header corev3.HeaderValue
}

// respond writes what goes into the upstream's answer. Unlike the headers for the upstream, Envoy 1.40 holds these to their append_action,
// and only where the deprecated bool is not set. Their values were checked when the policy was read.
func respond(headers []policy.ResponseHeader) []*corev3.HeaderValueOption {
	if len(headers) == 0 {
		return nil
	}
	room := make([]responseHeader, len(headers))
	options := make([]*corev3.HeaderValueOption, len(headers))
	for i := range headers {
		h := &room[i]
		h.header.Key, h.header.Value = headers[i].Name, headers[i].Value
		h.option.Header, h.option.AppendAction = &h.header, appendActions[headers[i].Mode]
		options[i] = &h.option
	}
	return options
}

// appendActions are the modes in Envoy's words.
var appendActions = [...]corev3.HeaderValueOption_HeaderAppendAction{
	policy.ResponseOverwrite: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
	policy.ResponseIfAbsent:  corev3.HeaderValueOption_ADD_IF_ABSENT,
	policy.ResponseAppend:    corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD,
}

// metadataText is one text of the metadata, so that all texts of an answer are one allocation, not two each.
type metadataText struct {
	value structpb.Value
	kind  structpb.Value_StringValue
}

// metadata is what access logs and the rate limiter read under envoy.filters.http.ext_authz, on every answer. All values are
// non-empty strings: Envoy leaves a descriptor out, and its limit with it, where a value is absent or of another type.
func metadata(d *authz.Decision) *structpb.Struct {
	ours := 13 // of the names below
	if d.Shadow != nil {
		ours += 4
	}
	fields := make(map[string]*structpb.Value, ours+len(d.Metadata))
	texts := make([]metadataText, 0, ours+len(d.Metadata))
	put := func(name, value string) {
		if value != "" {
			texts = append(texts, metadataText{})
			text := &texts[len(texts)-1]
			text.kind.StringValue = strings.ToValidUTF8(value, "\uFFFD")
			text.value.Kind = &text.kind
			fields[name] = &text.value
		}
	}
	for _, field := range d.Metadata {
		put(field.Name, field.Value)
	}
	put("decision", d.Verdict.String())
	put("reason", d.Reason.String())
	put("rule", d.RuleName())
	put("service", d.ServiceName())
	put("decision_id", d.ID)
	put("policy", cmp.Or(d.Policy, "none"))
	put("who", cmp.Or(d.Who, "ip|unknown"))
	put("caller", d.Caller)
	put("client", d.Client)
	if d.Address.IsValid() {
		put("address", d.Address.String())
	}
	if p := d.Principal; p != nil {
		put("subject", p.Identity.Subject)
		put("issuer", p.Identity.Issuer)
		put("client_id", p.ClientID)
	}
	if s := d.Shadow; s != nil {
		put("shadow_decision", s.Verdict.String())
		put("shadow_reason", s.Reason.String())
		put("shadow_rule", s.RuleName())
		put("shadow_policy", s.Policy)
	}
	return &structpb.Struct{Fields: fields}
}
