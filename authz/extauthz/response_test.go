package extauthz_test

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/extauthz"
	"github.com/sallyport-dev/sallyport/authz/policy"
)

// grpcStatus is what a gRPC caller hears of each HTTP status. Envoy's own mapping would say UNIMPLEMENTED of 404 and INTERNAL of 400.
var grpcStatus = map[int]int32{400: 3, 401: 16, 403: 7, 404: 5, 410: 5, 413: 8, 415: 3, 421: 12, 503: 14}

// everyDenial yields a decision for every reason, hidden and not.
func everyDenial(yield func(*authz.Decision) bool) {
	for _, reason := range authz.Reasons() {
		for _, hidden := range []bool{false, true} {
			if !yield(&authz.Decision{Reason: reason, Hidden: hidden, ID: "ID", Who: "ip|203.0.113.9", Policy: "0123456789abcdef"}) {
				return
			}
		}
	}
}

// A denial, whatever its reason, always has a status that is not OK in both places where Envoy looks, and a body for its caller.
func TestEveryDenial(t *testing.T) {
	for d := range everyDenial {
		for _, contentType := range []string{"application/grpc", "application/json"} {
			out := answer(t, d, contentType)
			denied := out.GetDeniedResponse()
			status := int(denied.GetStatus().GetCode())
			if out.GetStatus() == nil || denied == nil || out.GetOkResponse() != nil || out.GetErrorResponse() != nil {
				t.Fatalf("%s: not a denial: %v", d.Reason, out)
			}
			if status != d.Status() || status < 400 || out.GetStatus().GetCode() != grpcStatus[status] || out.GetStatus().GetCode() == 0 {
				t.Errorf("%s: HTTP %d, code %d", d.Reason, status, out.GetStatus().GetCode())
			}
			want := map[string]string{"cache-control": "no-store", "x-content-type-options": "nosniff"}
			if contentType == "application/grpc" {
				want["grpc-status"] = strconv.Itoa(int(grpcStatus[status]))
				if got := denied.GetBody(); got != d.PublicReason().String()+" ID" {
					t.Errorf("%s: grpc-message %q", d.Reason, got)
				}
			} else {
				want["content-type"] = "application/problem+json"
				sameProblem(t, denied.GetBody(), map[string]any{
					"type": "about:blank", "title": title(status), "status": float64(status), "reason": d.PublicReason().String(), "decision_id": "ID",
				})
			}
			if status == 401 || d.PublicReason() == authz.InvalidRequest || d.PublicReason() == authz.InsufficientScope {
				want["www-authenticate"] = values(denied.GetHeaders(), "www-authenticate")[0]
			}
			if d.PublicReason() == authz.KeysUnavailable {
				want["retry-after"] = "1"
			}
			got := map[string]string{}
			for _, o := range denied.GetHeaders() {
				overwrites(t, o)
				got[o.GetHeader().GetKey()] = o.GetHeader().GetValue()
			}
			if diff := cmp.Diff(want, got); diff != "" || len(got) != len(denied.GetHeaders()) {
				t.Errorf("%s, %s: headers: %s", d.Reason, contentType, diff)
			}
		}
	}
}

// title is RFC 9110's phrase, where net/http has an older one.
func title(status int) string {
	if status == http.StatusRequestEntityTooLarge {
		return "Content Too Large"
	}
	return http.StatusText(status)
}

func sameProblem(t *testing.T, body string, want map[string]any) {
	t.Helper()
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatalf("%v in %s", err, body)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// overwrites holds a header to both ways of saying that it stands alone: Envoy 1.40 obeys the bool, 1.37 the action.
func overwrites(t rapid.TB, o *corev3.HeaderValueOption) {
	t.Helper()
	if appended := o.GetAppend(); appended == nil || appended.GetValue() || //nolint:staticcheck // SA1019: deprecated, and still obeyed by Envoy 1.40
		o.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD ||
		o.GetHeader().GetRawValue() != nil || o.GetKeepEmptyValue() {
		t.Errorf("%s could be added to a client's own: %v", o.GetHeader().GetKey(), o)
	}
}

// The challenges of RFC 6750 section 3: none has an error code where no credentials came, and none tells a cause.
func TestChallenge(t *testing.T) {
	rule := &policy.Rule{Name: "r", Service: &policy.Service{Name: "s"}, Scopes: []string{"read:orders", "list:orders"}, AnyScope: []string{"web", "app"}}
	for reason, want := range map[authz.Reason]string{
		authz.NoToken:           `Bearer realm="sallyport"`,
		authz.InvalidToken:      `Bearer realm="sallyport", error="invalid_token"`,
		authz.InvalidRequest:    `Bearer realm="sallyport", error="invalid_request"`,
		authz.InsufficientScope: `Bearer realm="sallyport", error="insufficient_scope", scope="read:orders list:orders web app"`,
	} {
		d := &authz.Decision{Reason: reason, Detail: authz.DetailExpired, Rule: rule, Service: rule.Service}
		for _, kind := range []string{"application/grpc", ""} {
			if got := values(answer(t, d, kind).GetDeniedResponse().GetHeaders(), "www-authenticate"); len(got) != 1 || got[0] != want {
				t.Errorf("%s: %q", reason, got)
			}
		}
	}
	for d := range everyDenial {
		challenged := slices.Contains([]authz.Reason{authz.NoToken, authz.InvalidToken, authz.InvalidRequest, authz.InsufficientScope}, d.PublicReason())
		if got := values(answer(t, d, "").GetDeniedResponse().GetHeaders(), "www-authenticate"); (len(got) == 1) != challenged {
			t.Errorf("%s: %q", d.Reason, got)
		}
	}
}

// What is hidden cannot be told from what is not there: the same status, headers and body, for both kinds of caller.
func TestHiddenLooksNotThere(t *testing.T) {
	s := extauthz.New(gate(t), nil)
	for _, kind := range []string{"application/grpc", "text/html"} {
		ask := func(path string) *authv3.CheckResponse {
			out, err := s.Check(t.Context(), request("GET", path, map[string]string{"authorization": "Bearer " + good, "content-type": kind}))
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		hidden, gone := ask("/invoices/bob"), ask("/not-there")
		if reason := hidden.GetDynamicMetadata().GetFields()["reason"].GetStringValue(); reason != "owner" {
			t.Errorf("the true reason in metadata is %q", reason)
		}
		id := hidden.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
		other := gone.GetDynamicMetadata().GetFields()["decision_id"].GetStringValue()
		gone.GetDeniedResponse().Body = strings.ReplaceAll(gone.GetDeniedResponse().GetBody(), other, id)
		hidden.DynamicMetadata, gone.DynamicMetadata = nil, nil
		if !proto.Equal(hidden, gone) || hidden.GetDeniedResponse().GetStatus().GetCode() != 404 {
			t.Errorf("hidden:    %v\nnot there: %v", hidden, gone)
		}
	}
}

// An allow sets what it sets, removes what it removes, and says nothing else.
func TestAllow(t *testing.T) {
	d := &authz.Decision{Verdict: authz.Allow, Reason: authz.Allowed, ID: "ID", Who: "user|shop|alice", Policy: "p",
		Set: []authz.Field{{Name: "x-user-id", Value: "alice"}, {Name: "x-roles", Value: "a;b"}}, Remove: []string{"x-tenant", "x-original-url"}}
	out := answer(t, d, "application/grpc")
	ok := out.GetOkResponse()
	if out.GetStatus() == nil || out.GetStatus().GetCode() != 0 || ok == nil || out.GetDeniedResponse() != nil {
		t.Fatalf("not an allow: %v", out)
	}
	for i, o := range ok.GetHeaders() {
		overwrites(t, o)
		if o.GetHeader().GetKey() != d.Set[i].Name || o.GetHeader().GetValue() != d.Set[i].Value {
			t.Errorf("sets %v", o)
		}
	}
	if len(ok.GetHeaders()) != 2 || !slices.Equal(ok.GetHeadersToRemove(), d.Remove) {
		t.Errorf("sets %v, removes %v", ok.GetHeaders(), ok.GetHeadersToRemove())
	}
	if ok.GetResponseHeadersToAdd() != nil || ok.GetQueryParametersToSet() != nil || ok.GetQueryParametersToRemove() != nil || ok.GetDynamicMetadata() != nil { //nolint:staticcheck // SA1019: the old field would replace the new one
		t.Errorf("says more: %v", ok)
	}
	if out := answer(t, &authz.Decision{Verdict: authz.Allow, Reason: authz.Public}, ""); out.GetStatus() == nil || out.GetOkResponse() == nil {
		t.Errorf("an allow that sets nothing: %v", out)
	}
}

// An allow that cannot travel is a denial: nothing in Envoy stops the empty name, and a line break is a second header.
func TestUnsoundAllow(t *testing.T) {
	for _, field := range []authz.Field{
		{Name: "", Value: "1"}, {Name: "x y", Value: "1"}, {Name: "x\r\ny", Value: "1"}, {Name: ":path", Value: "/"},
		{Name: "x", Value: "1\r\nx-evil: 1"}, {Name: "x", Value: "1\n"}, {Name: "x", Value: "\r"}, {Name: "x", Value: "a\x00b"},
	} {
		d := &authz.Decision{Verdict: authz.Allow, Reason: authz.Allowed, ID: "ID", Who: "user|shop|alice", Remove: []string{"x-tenant"},
			Set: []authz.Field{{Name: "x-user-id", Value: "alice"}, field}, Metadata: []authz.Field{{Name: "plan", Value: "gold"}}}
		out := answer(t, d, "")
		if out.GetDeniedResponse().GetStatus().GetCode() != 403 || out.GetStatus().GetCode() != 7 || out.GetOkResponse() != nil {
			t.Errorf("%q: %v", field, out)
		}
		fields := out.GetDynamicMetadata().GetFields()
		if fields["decision"].GetStringValue() != "deny" || fields["reason"].GetStringValue() != "header_value" || fields["plan"] != nil {
			t.Errorf("%q: metadata %v", field, fields)
		}
	}
}

// What a trial came to stands beside what was answered.
func TestShadowMetadata(t *testing.T) {
	d := &authz.Decision{Verdict: authz.Allow, Reason: authz.Shadow, Policy: "aa", Shadow: &authz.Decision{Reason: authz.Owner, Policy: "bb"}}
	got := texts(t, answer(t, d, "").GetDynamicMetadata())
	for name, want := range map[string]string{
		"decision": "allow", "reason": "shadow", "policy": "aa", "shadow_decision": "deny", "shadow_reason": "owner", "shadow_rule": "none", "shadow_policy": "bb",
	} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	registry := prometheus.NewRegistry()
	s := extauthz.New(decided{d}, extauthz.NewMetrics(registry))
	if _, err := s.Check(t.Context(), request("GET", "/", map[string]string{})); err != nil {
		t.Fatal(err)
	}
	found, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, family := range found {
		for _, m := range family.GetMetric() {
			if family.GetName() == "sallyport_authz_shadow_total" {
				lines = append(lines, m.String())
			}
		}
	}
	if text := strings.Join(lines, "\n"); len(lines) != 1 || !strings.Contains(text, `value:"owner"`) || !strings.Contains(text, `name:"answered"`) {
		t.Errorf("counted %q", lines)
	}
}

// decided is a Checker that always says the same.
type decided struct{ d *authz.Decision }

func (c decided) Check(context.Context, *authz.Request) *authz.Decision { return c.d }

// Metadata stands on every answer, and every value is a non-empty string: Envoy drops a descriptor, and its limit with it, where one is
// not.
func TestMetadata(t *testing.T) {
	s := extauthz.New(gate(t), nil)
	tests := []struct {
		name, path, token string
		shape             func(*authv3.CheckRequest)
		want              map[string]string // beside decision_id and policy
	}{
		{"an allow", "/users/alice/orders", good, nil, map[string]string{"decision": "allow", "reason": "allowed", "rule": "read-orders", "service": "orders", "who": "user|shop|alice",
			"subject": "alice", "issuer": "shop", "client_id": "web", "address": "203.0.113.9", "plan": "free"}},
		{"a denial", "/users/bob/orders", good, nil, map[string]string{"decision": "deny", "reason": "owner", "rule": "read-orders", "service": "orders", "who": "user|shop|alice",
			"subject": "alice", "issuer": "shop", "client_id": "web", "address": "203.0.113.9"}},
		{"no token", "/users/bob/orders", "", nil, map[string]string{"decision": "deny", "reason": "no_token", "rule": "read-orders", "service": "orders", "who": "ip|203.0.113.9", "address": "203.0.113.9"}},
		{"neither person nor machine", "/users/bob/orders", "nobody", nil, map[string]string{"decision": "deny", "reason": "owner", "rule": "read-orders", "service": "orders", "who": "ip|203.0.113.9",
			"issuer": "shop", "address": "203.0.113.9"}},
		{"a probe", "/healthz", "", nil, map[string]string{"decision": "allow", "reason": "probe", "rule": "probe", "service": "orders", "who": "ip|203.0.113.9", "address": "203.0.113.9"}},
		{"another host", "/", "", func(in *authv3.CheckRequest) { in.GetAttributes().GetRequest().GetHttp().Host = "x" },
			map[string]string{"decision": "deny", "reason": "wrong_service", "rule": "none", "service": "orders", "who": "ip|203.0.113.9", "address": "203.0.113.9"}},
		{"a caller, no address", "/catalogue/x", "", func(in *authv3.CheckRequest) {
			in.GetAttributes().Source = &authv3.AttributeContext_Peer{Principal: "spiffe://cluster.local/ns/web/sa/x"}
		}, map[string]string{"decision": "allow", "reason": "public", "rule": "catalogue", "service": "orders", "who": "ip|unknown", "caller": "spiffe://cluster.local/ns/web/sa/x"}},
		{"nothing", "", "", func(in *authv3.CheckRequest) { in.Attributes = nil },
			map[string]string{"decision": "deny", "reason": "not_http", "rule": "none", "service": "none", "who": "ip|unknown"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			in := request("GET", test.path, map[string]string{})
			if test.token != "" {
				in.GetAttributes().GetRequest().GetHttp().Headers["authorization"] = "Bearer " + test.token
			}
			if test.shape != nil {
				test.shape(in)
			}
			out, err := s.Check(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			got := texts(t, out.GetDynamicMetadata())
			if len(got["decision_id"]) < 26 || len(got["policy"]) != 16 {
				t.Errorf("decision_id %q, policy %q", got["decision_id"], got["policy"])
			}
			delete(got, "decision_id")
			delete(got, "policy")
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, d := range []*authz.Decision{{}, {Reason: authz.NotReady}, {Verdict: authz.Allow}} {
		got := texts(t, answer(t, d, "").GetDynamicMetadata())
		if got["policy"] != "none" || got["who"] != "ip|unknown" || got["rule"] != "none" || got["service"] != "none" {
			t.Errorf("a decision of nothing: %v", got)
		}
		if client, has := got["client"]; has {
			t.Errorf("nobody's API key names %q", client)
		}
	}
	if got := texts(t, answer(t, &authz.Decision{Verdict: authz.Allow, Client: "partner"}, "").GetDynamicMetadata()); got["client"] != "partner" {
		t.Errorf("the application of an API key is %q", got["client"])
	}
}

// texts reads metadata as RLS does.
func texts(t rapid.TB, s *structpb.Struct) map[string]string {
	t.Helper()
	all := map[string]string{}
	for name, value := range s.GetFields() {
		text, ok := value.GetKind().(*structpb.Value_StringValue)
		if !ok || text.StringValue == "" || !utf8.ValidString(text.StringValue) {
			t.Errorf("metadata %s is %v", name, value)
			continue
		}
		all[name] = text.StringValue
	}
	return all
}

// A rule's metadata never replaces what every answer carries.
func TestMetadataOfRules(t *testing.T) {
	d := &authz.Decision{Verdict: authz.Allow, Reason: authz.Allowed, ID: "ID", Who: "user|shop|alice", Metadata: []authz.Field{{Name: "who", Value: "root"}, {Name: "decision", Value: "deny"}, {Name: "plan", Value: ""}, {Name: "team", Value: "\xffred"}}}
	got := texts(t, answer(t, d, "").GetDynamicMetadata())
	if got["who"] != "user|shop|alice" || got["decision"] != "allow" || got["plan"] != "" || got["team"] != "\uFFFDred" {
		t.Errorf("%v", got)
	}
}

// Whatever a decision holds, no header that leaves holds a line break or a NUL, or has no name; every answer has a status; and it
// travels.
func TestAnswersAreSafe(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"a\r\nb: c", "\n", "\x00", "\xff\xfe", "", "x-user-id", "Bearer"}))
		fields := rapid.Map(rapid.SliceOfN(text, 0, 6), func(all []string) (fields []authz.Field) {
			for i := 0; i+1 < len(all); i += 2 {
				fields = append(fields, authz.Field{Name: all[i], Value: all[i+1]})
			}
			return fields
		})
		service := &policy.Service{Name: text.Draw(rt, "service")}
		d := &authz.Decision{
			Verdict: rapid.SampledFrom([]authz.Verdict{authz.Deny, authz.Allow}).Draw(rt, "verdict"), Reason: rapid.SampledFrom(append(authz.Reasons(), 255)).Draw(rt, "reason"),
			Detail: text.Draw(rt, "detail"), ID: text.Draw(rt, "id"), Policy: text.Draw(rt, "policy"), Who: text.Draw(rt, "who"), Caller: text.Draw(rt, "caller"), Client: text.Draw(rt, "client"), Object: text.Draw(rt, "object"),
			Hidden: rapid.Bool().Draw(rt, "hidden"), Service: service,
			Rule:      &policy.Rule{Name: text.Draw(rt, "rule"), Service: service, Scopes: []string{text.Draw(rt, "scope")}},
			Principal: &authz.Principal{ClientID: text.Draw(rt, "client"), Identity: authz.Identity{Issuer: text.Draw(rt, "issuer"), Subject: text.Draw(rt, "subject")}},
			Set:       fields.Draw(rt, "set"), Metadata: fields.Draw(rt, "metadata"),
		}
		allowed := d.Verdict == authz.Allow
		out := answer(t, d, rapid.SampledFrom([]string{"application/grpc", ""}).Draw(rt, "content-type"))
		options := append(out.GetDeniedResponse().GetHeaders(), out.GetOkResponse().GetHeaders()...)
		for _, o := range options {
			overwrites(t, o)
			if name, value := o.GetHeader().GetKey(), o.GetHeader().GetValue(); name == "" || strings.ContainsAny(name+value, "\r\n\x00") {
				rt.Fatalf("sends %q: %q", name, value)
			}
		}
		if out.GetStatus() == nil || (out.GetStatus().GetCode() == 0) != (out.GetOkResponse() != nil) || out.GetOkResponse() != nil && !allowed {
			rt.Fatalf("status %v", out.GetStatus())
		}
		if code := out.GetDeniedResponse().GetStatus().GetCode(); out.GetDeniedResponse() != nil && code < 400 {
			rt.Fatalf("denies with %d", code)
		}
		texts(rt, out.GetDynamicMetadata())
	})
}

// An allow's headers for the upstream's answer say what becomes of the upstream's own, by the action alone: the deprecated bool would win.
func TestResponseHeaders(t *testing.T) {
	out := answer(t, &authz.Decision{Verdict: authz.Allow, Reason: authz.Allowed, Respond: []policy.ResponseHeader{
		{Name: "x-content-type-options", Value: "nosniff"},
		{Name: "referrer-policy", Value: "no-referrer", Mode: policy.ResponseIfAbsent},
		{Name: "content-security-policy", Value: "frame-ancestors 'none'", Mode: policy.ResponseAppend},
	}}, "")
	var got []string
	for _, o := range out.GetOkResponse().GetResponseHeadersToAdd() {
		if o.Append != nil { //nolint:staticcheck // SA1019: deprecated, and obeyed where it is set
			t.Errorf("%s: append is set", o.GetHeader().GetKey())
		}
		got = append(got, o.GetHeader().GetKey()+": "+o.GetHeader().GetValue()+" "+o.GetAppendAction().String())
	}
	want := []string{
		"x-content-type-options: nosniff OVERWRITE_IF_EXISTS_OR_ADD", "referrer-policy: no-referrer ADD_IF_ABSENT",
		"content-security-policy: frame-ancestors 'none' APPEND_IF_EXISTS_OR_ADD",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, d := range map[string]*authz.Decision{
		"an allow without": {Verdict: authz.Allow, Reason: authz.Allowed}, "a denial": {Reason: authz.NoRule, Respond: []policy.ResponseHeader{{Name: "a", Value: "b"}}},
	} {
		if out := answer(t, d, ""); len(out.GetOkResponse().GetResponseHeadersToAdd()) > 0 || len(out.GetDeniedResponse().GetHeaders()) > 4 {
			t.Errorf("%s carries headers for an answer: %v", name, out)
		}
	}
}

// A client hears where its request fails, by names alone, and nothing of it where existence is hidden.
func TestFaultsAreAnswered(t *testing.T) {
	problem := func(status float64, reason string, more map[string]any) map[string]any {
		all := map[string]any{"type": "about:blank", "title": title(int(status)), "status": status, "reason": reason, "decision_id": "ID"}
		maps.Copy(all, more)
		return all
	}
	for name, c := range map[string]struct {
		d    authz.Decision
		want map[string]any
	}{
		"a field":     {authz.Decision{Reason: authz.FieldNotWritable, Fault: authz.Fault{Pointer: "/role"}}, problem(403, "field_not_writable", map[string]any{"pointer": "/role"})},
		"a schema":    {authz.Decision{Reason: authz.BadBody, Fault: authz.Fault{Pointer: "/a~1b/0", Keyword: "type"}}, problem(400, "bad_body", map[string]any{"pointer": "/a~1b/0", "keyword": "type"})},
		"a parameter": {authz.Decision{Reason: authz.BadParameter, Fault: authz.Fault{Parameter: "query.page", Keyword: "minimum"}}, problem(400, "bad_parameter", map[string]any{"parameter": "query.page", "keyword": "minimum"})},
		"an odd name": {authz.Decision{Reason: authz.FieldNotWritable, Fault: authz.Fault{Pointer: "/\"},\"reason\":\"allowed\u2028<script>\r\n"}},
			problem(403, "field_not_writable", map[string]any{"pointer": "/\"},\"reason\":\"allowed\u2028<script>\r\n"})},
		"a long name": {authz.Decision{Reason: authz.FieldNotWritable, Fault: authz.Fault{Pointer: "/" + strings.Repeat("a", 600)}}, problem(403, "field_not_writable", nil)},
		"hidden":      {authz.Decision{Reason: authz.BadBody, Hidden: true, Fault: authz.Fault{Pointer: "/a", Keyword: "type"}}, problem(404, "not_found", nil)},
	} {
		t.Run(name, func(t *testing.T) {
			c.d.ID = "ID"
			body := answer(t, &c.d, "application/json").GetDeniedResponse().GetBody()
			sameProblem(t, body, c.want)
			if strings.ContainsAny(strings.TrimSuffix(body, "\n"), "<>\r\n") || strings.Contains(body, "\u2028") {
				t.Errorf("what is shown acts: %q", body)
			}
			if grpc := answer(t, &c.d, "application/grpc").GetDeniedResponse().GetBody(); grpc != c.d.PublicReason().String()+" ID" {
				t.Errorf("a gRPC caller hears %q", grpc)
			}
		})
	}
}
