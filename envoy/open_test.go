package envoy

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	ratelimitv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ratelimit/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/proto"
)

// openDoors lists what in a configuration would let a request through unjudged, or judge another one than the
// service serves. Each entry is one thing; none is fine.
func openDoors(root proto.Message) []string {
	var doors []string
	walk(root.ProtoReflect(), func(msg proto.Message) {
		switch m := msg.(type) {
		case *extauthzv3.ExtAuthz:
			doors = append(doors, openExtAuthz(m)...)
		case *extauthzv3.ExtAuthzPerRoute:
			doors = append(doors, when(m.GetDisabled(), "a route disables ext_authz")...)
			// The gate refuses a part by its mark. Without it Envoy asks nobody and waits for a rest that it no longer reads.
			body := m.GetCheckSettings().GetWithRequestBody()
			doors = append(doors, when(body != nil && !body.GetAllowPartialMessage(), "a long body hangs on a route")...)
		case *ratelimitv3.RateLimit:
			doors = append(doors, openRateLimit(m)...)
		case *hcmv3.HttpConnectionManager:
			doors = append(doors, openHCM(m)...)
		case *hcmv3.HttpFilter:
			doors = append(doors, when(m.GetDisabled() || m.GetIsOptional(), "filter %s may be absent", m.GetName())...)
		case *tlsv3.DownstreamTlsContext:
			validation := m.GetCommonTlsContext().GetValidationContext()
			doors = append(doors, when(m.GetRequireClientCertificate().GetValue() && validation.GetTrustedCa() == nil, "a required client certificate is not asked for")...)
			doors = append(doors, when(validation.GetTrustChainVerification() == tlsv3.CertificateValidationContext_ACCEPT_UNTRUSTED, "an untrusted client certificate passes")...)
		}
	})
	return doors
}

func when(condition bool, format string, args ...any) []string {
	if !condition {
		return nil
	}
	return []string{fmt.Sprintf(format, args...)}
}

func openExtAuthz(m *extauthzv3.ExtAuthz) []string {
	rules := m.GetDecoderHeaderMutationRules()
	return slices.Concat(
		when(m.GetGrpcService() == nil, "ext_authz has no service: Envoy aborts at the first request"),
		when(m.GetFailureModeAllow(), "ext_authz fails open"),
		when(m.GetFailureModeAllowHeaderAdd(), "ext_authz tells the service that it failed open"),
		when(m.GetShadowMode(), "ext_authz only watches"),
		when(m.GetFilterEnabled() != nil || m.GetFilterEnabledMetadata() != nil, "ext_authz can be switched off"),
		when(m.GetClearRouteCache(), "ext_authz re-routes after the check"),
		when(m.GetWithRequestBody().GetAllowPartialMessage(), "ext_authz lets half a body be judged"),
		when(m.GetWithRequestBody() != nil && !m.GetWithRequestBody().GetPackAsBytes(), "ext_authz sends bodies with bytes lost"),
		when(!m.GetEncodeRawHeaders(), "ext_authz joins headers"),
		when(!m.GetValidateMutations(), "ext_authz does not validate mutations"),
		when(!rules.GetDisallowSystem().GetValue(), "ext_authz may set :path"),
		when(!rules.GetDisallowIsError().GetValue(), "ext_authz drops a refused mutation in silence"),
		when(rules.GetDisallowExpression().GetRegex() == "", "ext_authz may set content-length"),
		when(m.GetStatusOnError().GetCode() != 503, "an outage of ext_authz looks like a denial"),
		when(m.GetGrpcService().GetTimeout().AsDuration() <= 0, "ext_authz waits for ever or fails at once"),
		when(m.GetTransportApiVersion() != corev3.ApiVersion_V3, "ext_authz speaks another version"),
	)
}

func openRateLimit(m *ratelimitv3.RateLimit) []string {
	doors := slices.Concat(
		when(!m.GetFailureModeDeny(), "ratelimit fails open"),
		when(m.GetFailureModeDenyPercent() != nil, "ratelimit fails open now and then"),
		when(m.GetFilterEnabled() != nil || m.GetFilterEnforced() != nil, "ratelimit can be switched off"),
		when(m.GetRequestType() != "" && m.GetRequestType() != "both", "ratelimit asks for some requests only"),
		when(m.GetStatusOnError().GetCode() != 503, "an outage of ratelimit looks like a broken service"),
		when(m.GetTimeout().AsDuration() <= 0, "ratelimit has Envoy's 20 ms or waits for ever"),
		when(len(m.GetRateLimits()) == 0, "ratelimit sends no descriptor"),
	)
	for _, limit := range m.GetRateLimits() {
		for _, action := range limit.GetActions() {
			if metadata := action.GetMetadata(); metadata != nil {
				doors = append(doors, when(metadata.GetDefaultValue() == "", "descriptor %s vanishes without its metadata", metadata.GetDescriptorKey())...)
				doors = append(doors, when(metadata.GetSkipIfAbsent(), "descriptor %s widens without its metadata", metadata.GetDescriptorKey())...)
			}
		}
	}
	return doors
}

// openHCM judges the connection managers that have a gate in them.
func openHCM(m *hcmv3.HttpConnectionManager) []string {
	if !slices.Contains(filterNames(m), "envoy.filters.http.ext_authz") {
		return nil
	}
	return slices.Concat(
		when(!m.GetNormalizePath().GetValue(), "dot segments reach the gate"),
		when(!m.GetMergeSlashes(), "double slashes reach the gate"),
		when(m.GetPathWithEscapedSlashesAction() != hcmv3.HttpConnectionManager_REJECT_REQUEST, "escaped slashes are not refused"),
		when(m.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() != corev3.HttpProtocolOptions_REJECT_REQUEST, "headers with underscores are not refused"),
		when(m.GetSchemeHeaderTransformation().GetSchemeToOverwrite() == "", "the client chooses the scheme"),
		when(m.GetStripAnyHostPort() || m.GetStripMatchingHostPort() || m.GetStripTrailingHostDot(), "the host is cut before the gate sees it"),
		when(len(m.GetEarlyHeaderMutationExtensions()) == 0, "a client's x-envoy-* pass"),
		when(len(m.GetUpgradeConfigs()) > 0, "upgrades pass"),
		when(slices.Contains(filterNames(m), "sallyport.edge") && !m.GetUseRemoteAddress().GetValue(), "the limit by address believes the client"),
		when(m.GetMaxRequestHeadersKb().GetValue() == 0 || m.GetRequestTimeout().AsDuration() <= 0 || m.GetStreamIdleTimeout().AsDuration() <= 0, "a client may take what it likes"),
	)
}

func TestNothingFailsOpen(t *testing.T) {
	for _, file := range Files() {
		for _, door := range openDoors(mustDecode(t, file)) {
			t.Errorf("%s: %s", file, door)
		}
	}
}

// One change for each thing that openDoors looks at: a check that nothing can fail is no check.
func TestOpenDoorsAreFound(t *testing.T) {
	for _, c := range []struct{ old, new, want string }{
		{"failure_mode_allow: false", "failure_mode_allow: true", "ext_authz fails open"},
		{"failure_mode_allow: false", "failure_mode_allow_header_add: true", "ext_authz tells the service that it failed open"},
		{"failure_mode_allow: false", "shadow_mode: true", "ext_authz only watches"},
		{"failure_mode_allow: false", "filter_enabled: {default_value: {numerator: 0}}", "ext_authz can be switched off"},
		{"allow_partial_message: false", "allow_partial_message: true", "ext_authz lets half a body be judged"},
		{"allow_partial_message: false, pack_as_bytes: true", "allow_partial_message: false", "ext_authz sends bodies with bytes lost"},
		{"clear_route_cache: false", "clear_route_cache: true", "ext_authz re-routes after the check"},
		{"encode_raw_headers: true", "encode_raw_headers: false", "ext_authz joins headers"},
		{"validate_mutations: true", "validate_mutations: false", "ext_authz does not validate mutations"},
		{"disallow_system: true", "disallow_system: false", "ext_authz may set :path"},
		{"disallow_is_error: true", "disallow_is_error: false", "ext_authz drops a refused mutation in silence"},
		{"timeout: 0.25s", "timeout: 0s", "ext_authz waits for ever or fails at once"},
		{"check_settings: {context_extensions: {service: \"orders\"}, disable_request_body_buffering: true}", "disabled: true", "a route disables ext_authz"},
		{"check_settings: {context_extensions: {service: \"orders\"}, disable_request_body_buffering: true}", "check_settings: {with_request_body: {max_request_bytes: 10}}", "a long body hangs on a route"},
		{"failure_mode_deny: true", "failure_mode_deny: false", "ratelimit fails open"},
		{"failure_mode_deny: true", "failure_mode_deny: true\n              failure_mode_deny_percent: {default_value: {numerator: 0}}", "ratelimit fails open now and then"},
		{"failure_mode_deny: true", "failure_mode_deny: true\n              filter_enforced: {default_value: {numerator: 0}}", "ratelimit can be switched off"},
		{"failure_mode_deny: true", "failure_mode_deny: true\n              request_type: external", "ratelimit asks for some requests only"},
		{"timeout: 0.1s", "stat_prefix: x", "ratelimit has Envoy's 20 ms or waits for ever"},
		{"descriptor_key: who, source: DYNAMIC, default_value: unknown", "descriptor_key: who, source: DYNAMIC", "descriptor who vanishes without its metadata"},
		{"descriptor_key: who, source: DYNAMIC, default_value: unknown", "descriptor_key: who, source: DYNAMIC, default_value: unknown, skip_if_absent: true", "descriptor who widens without its metadata"},
		{"normalize_path: true", "normalize_path: false", "dot segments reach the gate"},
		{"merge_slashes: true", "merge_slashes: false", "double slashes reach the gate"},
		{"action: REJECT_REQUEST\n          # Host", "action: UNESCAPE_AND_REDIRECT\n          # Host", "escaped slashes are not refused"},
		{"headers_with_underscores_action: REJECT_REQUEST", "headers_with_underscores_action: ALLOW", "headers with underscores are not refused"},
		{"{scheme_to_overwrite: https}", "{}", "the client chooses the scheme"},
		{"normalize_path: true", "normalize_path: true\n          strip_any_host_port: true", "the host is cut before the gate sees it"},
		{"normalize_path: true", "normalize_path: true\n          upgrade_configs: [{upgrade_type: websocket}]", "upgrades pass"},
		{"max_request_headers_kb: 32", "server_name: x", "a client may take what it likes"},
		{"trusted_ca: {filename: \"/dev/stdout\"}", "max_verify_depth: 2", "a required client certificate is not asked for"},
		{"trusted_ca: {filename: \"/dev/stdout\"}", "trusted_ca: {filename: \"/dev/stdout\"}\n              trust_chain_verification: ACCEPT_UNTRUSTED", "an untrusted client certificate passes"},
		{"- name: envoy.filters.http.cors", "- is_optional: true\n            name: envoy.filters.http.cors", "filter envoy.filters.http.cors may be absent"},
	} {
		rendered, err := Render("sidecar.yaml", sampleValues(t, "sidecar.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.Replace(string(rendered), c.old, c.new, 1)
		if changed == string(rendered) {
			t.Errorf("sidecar.yaml has no %q", c.old)
			continue
		}
		bootstrap, err := decode([]byte(changed))
		if err != nil {
			t.Errorf("%q: %v", c.new, err)
			continue
		}
		if doors := openDoors(bootstrap); !slices.Contains(doors, c.want) {
			t.Errorf("%q in place of %q: found %q, want %q", c.new, c.old, doors, c.want)
		}
	}
}

// failsOpen finds, in any text, the words by which a mesh is told to let requests through when a gate is away:
// Envoy's, Istio's, Envoy Gateway's and our own, comments included, because comments are copied too.
var failsOpen = regexp.MustCompile(`(?i)failure_?mode_?allow(_?header_?add)?["']?\s*[:=]\s*["']?true|` +
	`failure_?mode_?deny["']?\s*[:=]\s*["']?false|` +
	`fail_?open["']?\s*[:=]\s*["']?true|` +
	`on_store_failure["']?\s*[:=]\s*["']?open|` +
	`shadow_?mode["']?\s*[:=]\s*["']?true|` +
	`accept_untrusted|` +
	`failurePolicy["']?\s*:\s*["']?Ignore|` +
	`--plaintext\b`)

func TestNoTextSaysFailOpen(t *testing.T) {
	for _, bad := range []string{
		"failure_mode_allow: true", "failureModeAllow: true", `"failure_mode_allow": true`, "failure_mode_deny: false",
		"failOpen: true", "failOpen:  'true'", "on_store_failure: open", "shadow_mode: true", "failurePolicy: Ignore",
		"trust_chain_verification: ACCEPT_UNTRUSTED", `["--plaintext"]`,
	} {
		if !failsOpen.MatchString(bad) {
			t.Errorf("%q passes", bad)
		}
	}
	for _, dir := range []string{".", filepath.Join("..", "k8s")} {
		seen := 0
		err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || strings.HasSuffix(path, ".go") {
				return err
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			seen++
			if found := failsOpen.Find(text); found != nil {
				t.Errorf("%s says %q", path, found)
			}
			return nil
		})
		if err != nil || seen == 0 {
			t.Errorf("%s: %d files read: %v", dir, seen, err)
		}
	}
}
