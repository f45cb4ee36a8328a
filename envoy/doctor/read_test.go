package doctor_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/envoy/doctor"
)

// tree is a shipped file without its form, to be written in another.
func tree(t testing.TB, file string) map[string]any {
	t.Helper()
	var root map[string]any
	if err := yaml.Unmarshal([]byte(shipped(t, file)), &root); err != nil {
		t.Fatal(err)
	}
	return root
}

func asJSON(t testing.TB, v any) string {
	t.Helper()
	data, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// camel writes every key of the protos as protobuf's JSON does; keys of maps have dots or are no proto's.
func camel(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := map[string]any{}
		for key, inner := range v {
			words := strings.Split(key, "_")
			if !strings.Contains(key, ".") {
				for i, word := range words[1:] {
					if word != "" {
						words[i+1] = strings.ToUpper(word[:1]) + word[1:]
					}
				}
				key = strings.Join(words, "")
			}
			out[key] = camel(inner)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, inner := range v {
			out[i] = camel(inner)
		}
		return out
	}
	return v
}

// in goes down a tree by keys and indexes.
func in(t testing.TB, v any, way ...any) any {
	t.Helper()
	for _, step := range way {
		switch step := step.(type) {
		case string:
			v = v.(map[string]any)[step]
		case int:
			v = v.([]any)[step]
		}
	}
	if v == nil {
		t.Fatalf("nothing at %v", way)
	}
	return v
}

// typed adds a type to a message, as in an Any.
func typed(kind string, message any) map[string]any {
	out := map[string]any{"@type": "type.googleapis.com/" + kind}
	for key, value := range message.(map[string]any) {
		out[key] = value
	}
	return out
}

func dump(parts ...any) map[string]any { return map[string]any{"configs": parts} }

// The three shapes of a configuration, in each way that they can be written, are one configuration: with a finding or without.
func TestShapes(t *testing.T) {
	for _, sick := range []bool{false, true} {
		root := tree(t, "edge.yaml")
		static := in(t, root, "static_resources").(map[string]any)
		listener := in(t, static, "listeners", 0).(map[string]any)
		hcm := in(t, listener, "filter_chains", 0, "filters", 0, "typed_config").(map[string]any)
		var want []string
		if sick {
			check := in(t, hcm, "http_filters", 2, "typed_config").(map[string]any)
			check["failure_mode_allow"] = true
			want = []string{"fail-open"}
		}
		clusters := []any{}
		for _, cluster := range static["clusters"].([]any) {
			clusters = append(clusters, map[string]any{"cluster": typed("envoy.config.cluster.v3.Cluster", cluster)})
		}
		shapes := map[string]any{
			"bootstrap":     root,
			"in camel case": camel(root),
			"dump": dump(
				map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": root},
				map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "static_clusters": clusters},
				map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "static_listeners": []any{map[string]any{"listener": typed("envoy.config.listener.v3.Listener", listener)}}},
			),
			"resources": map[string]any{"resources": append([]any{typed("envoy.config.listener.v3.Listener", listener)}, resources(static["clusters"].([]any))...)},
		}
		// What comes from management servers stands in the dump as what is dynamic.
		dynamic := dump(
			map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.BootstrapConfigDump", "bootstrap": map[string]any{"dynamic_resources": map[string]any{"lds_config": map[string]any{"ads": map[string]any{}}}}},
			map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.ClustersConfigDump", "dynamic_active_clusters": clusters},
			map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "dynamic_listeners": []any{map[string]any{"name": "edge",
				"active_state": map[string]any{"listener": typed("envoy.config.listener.v3.Listener", remote(t, listener))}}}},
			map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": []any{map[string]any{
				"route_config": typed("envoy.config.route.v3.RouteConfiguration", hcm["route_config"])}}},
			map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump", "ecds_filters": []any{map[string]any{
				"ecds_filter": typed("envoy.config.core.v3.TypedExtensionConfig", in(t, hcm, "http_filters", 2))}}},
		)
		shapes["dynamic"] = dynamic
		shapes["dumps of two"] = []any{dynamic}
		for name, shape := range shapes {
			for _, text := range []string{asJSON(t, shape), compact(t, shape)} {
				if got := ids(examine(t, text, parse(t, fitting), shippedLimits(t))); !slices.Equal(got, want) {
					t.Errorf("%s: %q, want %q", name, got, want)
				}
			}
		}
	}
}

func compact(t testing.TB, v any) string {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func resources(clusters []any) []any {
	var all []any
	for _, cluster := range clusters {
		all = append(all, typed("envoy.config.cluster.v3.Cluster", cluster))
	}
	return all
}

// remote is a listener whose routes come over RDS and whose check comes over ECDS.
func remote(t testing.TB, listener map[string]any) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.Unmarshal([]byte(asJSON(t, listener)), &out); err != nil {
		t.Fatal(err)
	}
	hcm := in(t, out, "filter_chains", 0, "filters", 0, "typed_config").(map[string]any)
	delete(hcm, "route_config")
	hcm["rds"] = map[string]any{"route_config_name": "edge"}
	check := in(t, hcm, "http_filters", 2).(map[string]any)
	delete(check, "typed_config")
	check["config_discovery"] = map[string]any{"type_urls": []any{}}
	return out
}

// What is fetched and not here is told, and clears nobody.
func TestElsewhere(t *testing.T) {
	root := tree(t, "edge.yaml")
	listener := in(t, root, "static_resources", "listeners", 0).(map[string]any)
	root["static_resources"].(map[string]any)["listeners"] = []any{remote(t, listener)}
	found := examine(t, asJSON(t, root), parse(t, fitting), nil)
	if got := ids(found); !slices.Contains(got, "elsewhere") || doctor.Wrong(found) {
		t.Errorf("%q", got)
	}
	filters := in(t, root, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config").(map[string]any)
	filters["http_filters"] = []any{in(t, filters, "http_filters", 4)} // the router alone
	if got := ids(examine(t, asJSON(t, root), nil, nil)); !slices.Contains(got, "unchecked-listener") {
		t.Errorf("a door that asks nobody, with routes that are not here: %q", got)
	}
}

// A settings struct that names its type is read as the type, and a filter without any type is not taken for a harmless one.
func TestWrappedTypes(t *testing.T) {
	wrapped := strings.Replace(shipped(t, "edge.yaml"), checkAt+"              \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz\n",
		"          - name: envoy.filters.http.ext_authz\n            typed_config:\n              \"@type\": type.googleapis.com/xds.type.v3.TypedStruct\n"+
			"              type_url: type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz\n              value: {failure_mode_allow: true}\n", 1)
	if got := ids(examine(t, wrapped, nil, nil)); !slices.Contains(got, "fail-open") || slices.Contains(got, "unchecked-listener") {
		t.Errorf("a struct: %q", got)
	}
	bare := strings.Replace(shipped(t, "edge.yaml"), "              \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz\n", "", 1)
	if got := ids(examine(t, bare, nil, nil)); !slices.Contains(got, "unchecked-listener") {
		t.Errorf("without a type: %q", got)
	}
}

// Secrets by reference are looked up; a CA that is here still demands no name.
func TestSecretsByReference(t *testing.T) {
	root := tree(t, "sidecar.yaml")
	common := in(t, root, "static_resources", "listeners", 0, "filter_chains", 0, "transport_socket", "typed_config", "common_tls_context").(map[string]any)
	validation := common["validation_context"].(map[string]any)
	delete(common, "validation_context")
	reference := map[string]any{"name": "mesh", "sds_config": map[string]any{"ads": map[string]any{}}}
	secret := func(context any) {
		root["static_resources"].(map[string]any)["secrets"] = []any{map[string]any{"name": "mesh", "validation_context": context}}
	}
	ca := map[string]any{"trusted_ca": validation["trusted_ca"]}
	names := map[string]any{"match_typed_subject_alt_names": validation["match_typed_subject_alt_names"]}
	combined := func(own map[string]any) map[string]any {
		return map[string]any{"combined_validation_context": map[string]any{"default_validation_context": own, "validation_context_sds_secret_config": reference}}
	}
	for _, c := range []struct {
		name    string
		common  map[string]any
		secret  any
		finding string
	}{
		{"whole, elsewhere", map[string]any{"validation_context_sds_secret_config": reference}, nil, "caller-by-reference"},
		{"whole, here", map[string]any{"validation_context_sds_secret_config": reference}, validation, ""},
		{"a CA alone, here", map[string]any{"validation_context_sds_secret_config": reference}, ca, "caller-unproved"},
		{"combined", map[string]any{"combined_validation_context": map[string]any{"validation_context_sds_secret_config": reference,
			"default_validation_context": map[string]any{"match_typed_subject_alt_names": validation["match_typed_subject_alt_names"]}}}, ca, ""},
		{"combined, elsewhere", map[string]any{"combined_validation_context": map[string]any{"validation_context_sds_secret_config": reference,
			"default_validation_context": map[string]any{"match_typed_subject_alt_names": validation["match_typed_subject_alt_names"]}}}, nil, ""},
		{"combined without names", map[string]any{"combined_validation_context": map[string]any{"validation_context_sds_secret_config": reference,
			"default_validation_context": map[string]any{}}}, nil, "caller-by-reference"},
		{"combined, the names in the secret", combined(map[string]any{"max_verify_depth": 2}), validation, ""},
		{"combined, the CA in the default", combined(ca), names, ""},
		{"combined, both name names", combined(names), map[string]any{"trusted_ca": validation["trusted_ca"], "match_typed_subject_alt_names": []any{map[string]any{"san_type": "DNS"}}}, "caller-unproved"},
		{"combined, a CA alone", combined(map[string]any{}), ca, "caller-unproved"},
		{"combined, and the default trusts anybody", combined(map[string]any{"trust_chain_verification": "ACCEPT_UNTRUSTED", "match_typed_subject_alt_names": validation["match_typed_subject_alt_names"]}), ca, "untrusted-certificate"},
		{"nothing", map[string]any{}, nil, "certificate-not-asked"},
	} {
		for _, key := range []string{"validation_context_sds_secret_config", "combined_validation_context"} {
			delete(common, key)
		}
		for key, value := range c.common {
			common[key] = value
		}
		delete(root["static_resources"].(map[string]any), "secrets")
		if c.secret != nil {
			secret(c.secret)
		}
		var want []string
		if c.finding != "" {
			want = []string{c.finding}
		}
		if diff := cmp.Diff(want, ids(examine(t, asJSON(t, root), parse(t, fitting), shippedLimits(t)))); diff != "" {
			t.Errorf("%s: %s", c.name, diff)
		}
	}
}

// What Envoy demands of a gate may stand in its own words, in a secret, or in both.
func TestGateByReference(t *testing.T) {
	root := tree(t, "sidecar.yaml")
	gate := in(t, root, "static_resources", "clusters", 1)
	if in(t, gate, "name") != "authz" {
		t.Fatal("the second cluster is not the gate's")
	}
	common := in(t, gate, "transport_socket", "typed_config", "common_tls_context").(map[string]any)
	validation := common["validation_context"].(map[string]any)
	delete(common, "validation_context")
	ca := map[string]any{"trusted_ca": validation["trusted_ca"]}
	names := map[string]any{"match_typed_subject_alt_names": validation["match_typed_subject_alt_names"]}
	for _, c := range []struct {
		name        string
		own, secret map[string]any
		want        string
	}{
		{"both in the secret", nil, validation, ""},
		{"the names here, the CA in the secret", names, ca, ""},
		{"the CA here, the names in the secret", ca, names, ""},
		{"no names", map[string]any{}, ca, "gate-unverified"},
		{"no CA", names, map[string]any{}, "gate-unverified"},
		{"the names here, the secret elsewhere", names, nil, ""},
		{"the secret elsewhere", map[string]any{}, nil, "elsewhere"},
	} {
		combined := map[string]any{"validation_context_sds_secret_config": map[string]any{"name": "mesh"}}
		if c.own != nil {
			combined["default_validation_context"] = c.own
		}
		common["combined_validation_context"] = combined
		delete(root["static_resources"].(map[string]any), "secrets")
		if c.secret != nil {
			root["static_resources"].(map[string]any)["secrets"] = []any{map[string]any{"name": "mesh", "validation_context": c.secret}}
		}
		if got := strings.Join(ids(examine(t, asJSON(t, root), parse(t, fitting), shippedLimits(t))), " "); got != c.want {
			t.Errorf("%s: %q, want %q", c.name, got, c.want)
		}
	}
}

// A TLS context counts whatever socket it is wrapped in; a socket that is not known is no plaintext.
func TestWrappedSockets(t *testing.T) {
	const sockets = "type.googleapis.com/envoy.extensions.transport_sockets."
	for _, c := range []struct {
		name string
		wrap func(socket map[string]any) any
		side string // whose socket: the client's or the gate's
		want string // without its wrap, and with a mistake in the context
		well string // without the mistake
	}{
		{"tap", func(s map[string]any) any { return typed("tap.v3.Tap", map[string]any{"transport_socket": s}) }, "gate", "gate-tls-version", ""},
		{"proxy_protocol", func(s map[string]any) any {
			return typed("proxy_protocol.v3.ProxyProtocolUpstreamTransport", map[string]any{"transport_socket": s})
		}, "gate", "gate-tls-version", ""},
		{"internal_upstream", func(s map[string]any) any {
			return typed("internal_upstream.v3.InternalUpstreamTransport", map[string]any{"transport_socket": s})
		}, "gate", "gate-tls-version", ""},
		{"two", func(s map[string]any) any {
			return typed("tap.v3.Tap", map[string]any{"transport_socket": map[string]any{"name": "b", "typed_config": typed("envoy.extensions.transport_sockets.tcp_stats.v3.Config", map[string]any{"transport_socket": s})}})
		}, "gate", "gate-tls-version", ""},
		{"starttls", func(s map[string]any) any {
			return typed("starttls.v3.UpstreamStartTlsConfig", map[string]any{"tls_socket_config": s["typed_config"]})
		}, "gate", "gate-in-plaintext", "gate-in-plaintext"},
		{"raw_buffer", func(map[string]any) any { return typed("raw_buffer.v3.RawBuffer", map[string]any{}) }, "gate", "gate-in-plaintext", "gate-in-plaintext"},
		{"not known", func(map[string]any) any { return typed("alts.v3.Alts", map[string]any{}) }, "gate", "not-understood", "not-understood"},
		{"tap", func(s map[string]any) any { return typed("tap.v3.Tap", map[string]any{"transport_socket": s}) }, "client", "resumption", ""},
		{"quic", func(s map[string]any) any {
			return typed("quic.v3.QuicDownstreamTransport", map[string]any{"downstream_tls_context": s["typed_config"]})
		}, "client", "resumption", ""},
		{"starttls", func(s map[string]any) any {
			return typed("starttls.v3.StartTlsConfig", map[string]any{"tls_socket_config": s["typed_config"]})
		}, "client", "not-understood resumption", "not-understood"},
		{"not known", func(map[string]any) any { return typed("s2a.v3.S2AConfiguration", map[string]any{}) }, "client", "not-understood", "not-understood"},
	} {
		for _, sick := range []bool{true, false} {
			root := tree(t, "sidecar.yaml")
			at := in(t, root, "static_resources", "clusters", 1).(map[string]any)
			if c.side == "client" {
				at = in(t, root, "static_resources", "listeners", 0, "filter_chains", 0).(map[string]any)
			}
			socket := at["transport_socket"].(map[string]any)
			want := c.well
			if sick {
				want = c.want
				delete(in(t, socket, "typed_config", "common_tls_context").(map[string]any), "tls_params")
				delete(in(t, socket, "typed_config").(map[string]any), "disable_stateful_session_resumption")
			}
			config := c.wrap(socket).(map[string]any)
			config["@type"] = sockets + strings.TrimPrefix(config["@type"].(string), "type.googleapis.com/")
			at["transport_socket"] = map[string]any{"name": "a", "typed_config": config}
			if got := strings.Join(ids(examine(t, asJSON(t, root), parse(t, fitting), shippedLimits(t))), " "); got != want {
				t.Errorf("%s of the %s, sick %v: %q, want %q", c.name, c.side, sick, got, want)
			}
		}
	}
}

// Places in JSON are places in JSON, wide characters and all.
func TestPlacesInJSON(t *testing.T) {
	text := "{\n \"node\": {\"id\": \"é\", \"cluster\": \"ü\"},  \"admin\": {\"address\": {\"socket_address\": {\"address\": \"0.0.0.0\"}}},\n" +
		" \"static_resources\": {\"listeners\": [{\"name\": \"a\"}]}\n}\n"
	found := examine(t, text, nil, nil)
	if len(found) != 1 {
		t.Fatalf("%+v", found)
	}
	line := strings.Split(text, "\n")[1]
	column := len([]rune(line[:strings.Index(line, `"socket_address"`)])) + 1
	want := doctor.Finding{ID: "admin-exposed", Path: ".admin.address.socket_address", Line: 2, Column: column, Text: line, Detail: "it listens on 0.0.0.0"}
	got := found[0]
	got.Reason, got.Mend = "", ""
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	told := found[0].String("dump.json")
	for _, part := range []string{fmt.Sprintf("dump.json:2:%d: open: admin-exposed: it listens on 0.0.0.0\n", column), "    2 | ", "^", "\n      = Set the admin", "\n      . Whoever", "\n      @ .admin.address.socket_address"} {
		if !strings.Contains(told, part) {
			t.Errorf("%q is not in\n%s", part, told)
		}
	}
}

// Text of a configuration does not steer a terminal, and a long one does not fill it.
func TestHostileText(t *testing.T) {
	name := "a\u001b[2J\u202e" + strings.Repeat("x", 1000)
	text := compact(t, map[string]any{"static_resources": map[string]any{"listeners": []any{map[string]any{"name": name, "filter_chains": []any{map[string]any{
		"filters": []any{map[string]any{"name": name, "typed_config": map[string]any{name: "a"}}}}}}}}})
	found := examine(t, text, nil, nil)
	if len(found) != 1 || found[0].ID != "not-understood" {
		t.Fatalf("%+v", found)
	}
	if told := found[0].String("a.json"); strings.ContainsAny(told, "\u001b\u202e") || len(told) > 3000 {
		t.Errorf("%q", told)
	}
}

// What cannot be read says where and why; what holds no listener says what to give instead.
func TestUnreadable(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"a.yaml", "", "the file is empty"},
		{"a.yaml", "a: [1", "a.yaml:1:"},
		{"a.yaml", "a: 1\na: 2", "duplicate key"},
		{"a.json", "{\"a\": 1,\n \"a\": 2}", "a.json:2:2: this is no JSON: the key a twice"},
		{"a.json", "{\"a\": [1, 2", "it ends too soon"},
		{"a.yaml", "a:\n  failure_mode_allow: false\n  failureModeAllow: true", "a.yaml:3:3: the key failure_mode_allow twice: failureModeAllow is another spelling of it"},
		{"a.json", "{\"failureModeAllow\": true, \"failure_mode_allow\": false}", "the key failure_mode_allow twice"},
		{"a.json", "{} {}", "something stands behind the end"},
		{"a.json", strings.Repeat("[", 200) + strings.Repeat("]", 200), "nested more than"},
		{"a.yaml", "static_resources: {clusters: []}", "no listener in it"},
		{"a.json", `{"configs": []}`, "no listener in it"},
		{"a.yaml", "just text", "no listener in it"},
	} {
		_, err := doctor.Read(c.name, []byte(c.text))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
		if strings.Contains(c.want, "no listener") && !errors.Is(err, doctor.ErrNoListener) {
			t.Errorf("%q: %v is not ErrNoListener", c.text, err)
		}
	}
}

// A configuration with very many findings is told of some, in bounded time.
func TestManyFindings(t *testing.T) {
	var b strings.Builder
	b.WriteString("static_resources:\n  listeners:\n")
	for i := range 3000 {
		fmt.Fprintf(&b, "  - {name: l%d, filter_chains: [{filters: [{name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy}}]}]}\n", i)
	}
	if found := examine(t, b.String(), nil, nil); len(found) != 1000 {
		t.Errorf("%d findings", len(found))
	}
}

// What is set aside takes no place among the findings that are told.
func TestIgnoredFindingsHideNothing(t *testing.T) {
	var b strings.Builder
	b.WriteString("static_resources:\n  listeners:\n")
	for i := range 3000 {
		fmt.Fprintf(&b, "  - {name: l%d, filter_chains: [{filters: [{name: t, typed_config: {\"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy}}]}]}\n", i)
	}
	b.WriteString("  - {name: last, filter_chains: [{filters: [{name: t, typed_config: {\"@type\": type.googleapis.com/our.own.Filter}}]}]}\n")
	config, err := doctor.Read("a.yaml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	ignore, err := doctor.ParseIgnore("unchecked-tcp")
	if err != nil {
		t.Fatal(err)
	}
	got := doctor.ExamineBut(config, nil, nil, []doctor.Ignore{ignore})
	if !slices.Equal(ids(got.Findings), []string{"not-understood"}) || got.Ignored != 3000 || len(got.Unmatched) > 0 {
		t.Errorf("%q, %d ignored, unmatched %v", ids(got.Findings), got.Ignored, got.Unmatched)
	}
}

// Any bytes give findings or an error. The seeds are the shipped files and edits of them.
func FuzzExamine(f *testing.F) {
	for _, file := range []string{"edge.yaml", "sidecar.yaml", "demo.yaml"} {
		f.Add([]byte(shipped(f, file)))
		f.Add([]byte(asJSON(f, tree(f, file))))
	}
	paths, err := filepath.Glob("testdata/seeds/*")
	if err != nil || len(paths) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, path := range append(paths, "testdata/istio.yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	p, l := parse(f, fitting+withBody), shippedLimits(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, name := range []string{"a.yaml", "a.json"} {
			config, err := doctor.Read(name, data)
			if err != nil {
				continue
			}
			for _, p := range []*policy.Policy{p, nil} {
				for _, found := range doctor.Examine(config, p, l) {
					if found.ID == "" || found.Path == "" || found.Line < 1 || found.Column < 1 {
						t.Errorf("half a finding: %+v", found)
					}
					_ = found.String(name)
				}
			}
		}
	})
}

// A map of any size is looked up like a small one.
func TestManyKeys(t *testing.T) {
	settings := ""
	for i := range 200 {
		settings += fmt.Sprintf("                filter-%d: {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig}\n", i)
	}
	text := strings.Replace(shipped(t, "edge.yaml"), "typed_per_filter_config:\n", "typed_per_filter_config:\n"+settings, 1)
	found := examine(t, text, parse(t, fitting), shippedLimits(t))
	if len(found) != 200 || !slices.Equal(ids(found), []string{"per-route-ignored"}) {
		t.Errorf("%d: %q", len(found), ids(found))
	}
}

// Scalars are what Envoy's YAML reader makes of them: booleans of YAML 1.1, hexadecimal and octal numbers; in quotes they are text.
func TestScalarsAsEnvoyReadsThem(t *testing.T) {
	for _, word := range []string{"y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "True", "TRUE"} {
		text := strings.Replace(shipped(t, "edge.yaml"), "failure_mode_allow: false", "failure_mode_allow: "+word, 1)
		if got := ids(examine(t, text, parse(t, fitting), shippedLimits(t))); !slices.Equal(got, []string{"fail-open"}) {
			t.Errorf("failure_mode_allow: %s: %q", word, got)
		}
		if got := ids(examine(t, strings.Replace(text, "allow: "+word, `allow: "`+word+`"`, 1), parse(t, fitting), shippedLimits(t))); len(got) > 0 {
			t.Errorf("failure_mode_allow: %q: %q", word, got)
		}
		text = strings.Replace(shipped(t, "edge.yaml"), "normalize_path: true", "normalize_path: "+word, 1)
		if got := ids(examine(t, text, parse(t, fitting), shippedLimits(t))); len(got) > 0 {
			t.Errorf("normalize_path: %s: %q", word, got)
		}
	}
	for _, word := range []string{"n", "N", "no", "No", "NO", "off", "Off", "OFF", "False", "FALSE"} {
		text := strings.Replace(shipped(t, "edge.yaml"), "failure_mode_allow: false", "failure_mode_allow: false\n              enable_dynamic_metadata_ingestion: "+word, 1)
		if got := ids(examine(t, text, parse(t, fitting), shippedLimits(t))); !slices.Equal(got, []string{"metadata-dropped"}) {
			t.Errorf("enable_dynamic_metadata_ingestion: %s: %q", word, got)
		}
	}
	for number, want := range map[string]string{"0x100001": "body-too-large", "04000001": "body-too-large", "+1048577": "body-too-large", "0x10000": "", "0200000": "",
		// Whole numbers as protobuf's JSON has them; in quotes a zero in front is no octal, and hexadecimal is a number all the same.
		"2e6": "body-too-large", "+2.0E6": "body-too-large", "1048577.0": "body-too-large", `"2e6"`: "body-too-large", `"0x100001"`: "body-too-large", `"04000001"`: "body-too-large",
		"6.5536e4": "", "1048576.": "", `"0065536"`: "", "0o4000001": "", "1e400": "", ".inf": ""} {
		text := strings.Replace(shipped(t, "demo.yaml"), bodyOn, strings.Replace(bodyOn, "65536", number, 1), 1)
		got := ids(examine(t, text, parse(t, fitting+withBody), shippedLimits(t)))
		if slices.Contains(got, "body-too-large") != (want != "") {
			t.Errorf("max_request_bytes: %s: %q", number, got)
		}
	}
}

// Numbers of JSON are numbers in each of their spellings.
func TestNumbersInJSON(t *testing.T) {
	text := asJSON(t, tree(t, "edge.yaml"))
	for number, want := range map[string]string{"1.0": "", "1e0": "", "10e-1": "", `"0x1"`: "", "0e5": "proxies-without-hops"} {
		edited := strings.Replace(text, `"xff_num_trusted_hops": 1`, `"xff_num_trusted_hops": `+number, 1)
		if edited == text {
			t.Fatal("edge.yaml has no such hops")
		}
		if got := strings.Join(ids(examine(t, edited, parse(t, fitting), shippedLimits(t))), " "); got != want {
			t.Errorf("%s: %q, want %q", number, got, want)
		}
	}
}

// The descriptors of a virtual host are looked at once, not for each of its routes.
func TestManyRoutesOfManyDescriptors(t *testing.T) {
	const many = 3000
	root := tree(t, "edge.yaml")
	hcm := in(t, root, "static_resources", "listeners", 0, "filter_chains", 0, "filters", 0, "typed_config").(map[string]any)
	for _, f := range hcm["http_filters"].([]any) {
		delete(in(t, f, "typed_config").(map[string]any), "rate_limits")
	}
	host := in(t, hcm, "route_config", "virtual_hosts", 0).(map[string]any)
	var routes, limits []any
	for i := range many {
		routes = append(routes, map[string]any{"match": map[string]any{"prefix": fmt.Sprintf("/%d", i)}, "route": map[string]any{"cluster": "service"}})
		limits = append(limits, map[string]any{"actions": []any{map[string]any{"masked_remote_address": map[string]any{}}}})
	}
	host["routes"], host["rate_limits"] = routes, limits
	if got := ids(examine(t, compact(t, root), parse(t, fitting), shippedLimits(t))); !slices.Equal(got, []string{"descriptor-without-limit"}) {
		t.Errorf("%q", got) // by the filter of the other domain
	}
}

// A long key does not make a long path, and two that begin alike are two places.
func TestLongKeysInPaths(t *testing.T) {
	settings := ""
	for _, end := range []string{"a", "b"} {
		settings += "                " + strings.Repeat("é", 500) + end + ": {\"@type\": type.googleapis.com/envoy.config.route.v3.FilterConfig}\n"
	}
	text := strings.Replace(shipped(t, "edge.yaml"), "typed_per_filter_config:\n", "typed_per_filter_config:\n"+settings, 1)
	found := examine(t, text, parse(t, fitting), shippedLimits(t))
	if len(found) != 2 || !slices.Equal(ids(found), []string{"per-route-ignored"}) {
		t.Fatalf("%d: %q", len(found), ids(found))
	}
	for _, f := range found {
		if want := `["` + strings.Repeat("é", 50) + `..."]`; !strings.HasSuffix(f.Path, want) {
			t.Errorf("%s does not end with %s", f.Path, want)
		}
	}
}

// A cluster that is warming does not hide the active one of its name, which is what is asked; alone it is known.
func TestWarming(t *testing.T) {
	root := tree(t, "sidecar.yaml")
	static := in(t, root, "static_resources").(map[string]any)
	listeners := []any{}
	for _, listener := range static["listeners"].([]any) {
		listeners = append(listeners, map[string]any{"listener": typed("envoy.config.listener.v3.Listener", listener)})
	}
	clusters := func(tls bool) []any {
		all := []any{}
		for _, cluster := range static["clusters"].([]any) {
			cluster := typed("envoy.config.cluster.v3.Cluster", cluster)
			if !tls && cluster["name"] == "authz" {
				delete(cluster, "transport_socket")
			}
			all = append(all, map[string]any{"cluster": cluster})
		}
		return all
	}
	for _, c := range []struct {
		clusters map[string]any
		want     []string
	}{
		{map[string]any{"dynamic_active_clusters": clusters(false), "dynamic_warming_clusters": clusters(true)}, []string{"gate-in-plaintext"}},
		{map[string]any{"dynamic_active_clusters": clusters(true), "dynamic_warming_clusters": clusters(false)}, nil},
		{map[string]any{"dynamic_warming_clusters": clusters(false)}, []string{"gate-in-plaintext"}},
	} {
		text := asJSON(t, dump(typed("envoy.admin.v3.ClustersConfigDump", c.clusters),
			map[string]any{"@type": "type.googleapis.com/envoy.admin.v3.ListenersConfigDump", "static_listeners": listeners}))
		if diff := cmp.Diff(c.want, ids(examine(t, text, parse(t, fitting), shippedLimits(t)))); diff != "" {
			t.Error(diff)
		}
	}
}
