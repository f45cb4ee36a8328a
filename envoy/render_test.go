package envoy

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// samples are values of each kind, for the tests that need a rendered file and do not care what stands in it.
var samples = map[Kind]string{
	KindPort:   "8443",
	KindCount:  "1",
	KindPath:   "/dev/stdout",
	KindHost:   "127.0.0.1",
	KindSPIFFE: "spiffe://cluster.local/ns/sallyport/sa/authz",
	KindDomain: "cluster.local",
	KindName:   "orders",
	KindOrigin: "https://app.example",
	KindTarget: "/healthz",
}

// sampleValues fills every hole of a file by its kind.
func sampleValues(t testing.TB, file string) map[string]string {
	t.Helper()
	holes, err := Placeholders(file)
	if err != nil {
		t.Fatal(err)
	}
	values := make(map[string]string, len(holes))
	for i, hole := range holes {
		values[hole.Name] = samples[hole.Kind]
		if hole.Kind == KindPort {
			values[hole.Name] = strconv.Itoa(8443 + i) // two listeners cannot share one
		}
	}
	return values
}

func TestEveryFileIsEmbeddedAndNamed(t *testing.T) {
	onDisk, err := filepath.Glob("*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(onDisk, Files()); diff != "" {
		t.Errorf("files of the folder (-) against Files (+):\n%s", diff)
	}
	limits, err := filepath.Glob("limits/*.yaml")
	if err != nil || len(limits) == 0 {
		t.Fatalf("no limits: %v", err)
	}
	for _, file := range limits {
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := fs.ReadFile(Limits, filepath.Base(file))
		if err != nil || string(got) != string(want) {
			t.Errorf("Limits holds another %s: %v", file, err)
		}
	}
}

// The comment at the top and the text below speak of the same holes, each with a kind and a meaning.
func TestDeclaredAndUsedPlaceholdersAgree(t *testing.T) {
	hole := regexp.MustCompile(`\$\{([A-Z_]+)\}`)
	for _, file := range Files() {
		text, err := read(file)
		if err != nil {
			t.Fatal(err)
		}
		used := map[string]bool{}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, match := range hole.FindAllStringSubmatch(line, -1) {
				used[match[1]] = true
			}
		}
		holes, err := Placeholders(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, declared := range holes {
			if !used[declared.Name] {
				t.Errorf("%s declares ${%s} and does not use it", file, declared.Name)
			}
			if declared.Doc == "" {
				t.Errorf("%s does not say what ${%s} means", file, declared.Name)
			}
			delete(used, declared.Name)
		}
		for name := range used {
			t.Errorf("%s uses ${%s} and does not declare it", file, name)
		}
	}
}

// A value is wanted for each hole and for nothing else, and all that is wrong is said at once.
func TestRenderIsStrict(t *testing.T) {
	values := sampleValues(t, "sidecar.yaml")
	delete(values, "SERVICE")
	values["LISTEN_PORT"] = "0x10"
	values["NO_SUCH"] = "1"
	_, err := Render("sidecar.yaml", values)
	if err == nil {
		t.Fatal("a missing, a bad and a surplus value were accepted")
	}
	for _, want := range []string{
		"envoy: sidecar.yaml: ${LISTEN_PORT}: \"0x10\" is not a port, 1 to 65535",
		"envoy: sidecar.yaml: ${SERVICE} has no value: it is the name of this service in the policy",
		"envoy: sidecar.yaml: there is no ${NO_SUCH} in this file",
	} {
		if !slices.Contains(strings.Split(err.Error(), "\n"), want) {
			t.Errorf("the error lacks %q:\n%v", want, err)
		}
	}
	for _, file := range []string{"", "none.yaml", "../go.mod", "limits/edge.yaml"} {
		if _, err := Render(file, nil); err == nil {
			t.Errorf("Render(%q) found a file", file)
		}
	}
}

func TestKinds(t *testing.T) {
	for kind, values := range map[Kind]struct{ yes, no []string }{
		KindPort:   {[]string{"1", "8443", "65535"}, []string{"", "0", "65536", "010", "0x10", "+1", "-1", "1 ", "1\n", "1_000", "٣"}},
		KindCount:  {[]string{"0", "1", "255"}, []string{"", "256", "00", "-1", "1.0"}},
		KindPath:   {[]string{"/dev/stdout", "/tmp/a b/c", "/home/josé/x", "/a'b", "/a#b", "/a: b", "/a${X}"}, []string{"", "a", "./a", `/a"b`, `/a\b`, "/a\nb", "/a\x00b", "/a\xff", "/a\u2028b", "/a\tb"}},
		KindHost:   {[]string{"localhost", "authz.sallyport.svc.cluster.local", "10.0.0.1", "::1"}, []string{"", "a.", ".a", "-a", "A", "a b", "a:1", "[::1]", "fe80::1%eth0", "a_b", strings.Repeat("a.", 127) + "a"}},
		KindSPIFFE: {[]string{"spiffe://a/b", "spiffe://cluster.local/ns/web/sa/frontend"}, []string{"", "spiffe://a", "spiffe://a/", "spiffe://a/b/", "https://a/b", "spiffe://a/b\"", "spiffe://A/b", "spiffe://a/*"}},
		KindDomain: {[]string{"cluster.local", "a"}, []string{"", "spiffe://a", "A", "a/b", "a\""}},
		KindName:   {[]string{"orders", "a-1"}, []string{"", "Orders", "a_b", "a b", "a\n", "a\"", strings.Repeat("a", 64)}},
		KindOrigin: {[]string{"https://app.example", "http://localhost:3000"}, []string{"", "*", "app.example", "https://a/", "https://A", "null", "https://a\""}},
		KindTarget: {[]string{"/healthz", "/a/b.c"}, []string{"", "/", "healthz", "/a/", "//a", "/a?b", "/%61", "/..", "/.a", "/a/../b", "/a;b", "/a\""}},
		"":         {nil, []string{"", "a", "1"}},
		"anything": {nil, []string{"", "a", "1"}},
	} {
		for _, value := range values.yes {
			if err := kind.check(value); err != nil {
				t.Errorf("%s: %v", kind, err)
			}
		}
		for _, value := range values.no {
			if kind.check(value) == nil {
				t.Errorf("%s accepts %q", kind, value)
			}
		}
	}
}

// Whatever a kind accepts stays within its scalar: the rendered file has the same shape, and the value in it.
func TestNoValueLeavesItsScalar(t *testing.T) {
	const yamlTemplate = "a: {text: \"${V}\", next: 1}\nb: [2]\n"
	for kind := range kinds {
		rapid.Check(t, func(t *rapid.T) {
			value := rapid.OneOf(
				rapid.StringN(0, 12, -1),
				rapid.Map(rapid.StringN(0, 12, -1), func(s string) string { return samples[kind] + s }),
				rapid.SampledFrom([]string{samples[kind], "/x\"}\nc: 3", "/x${V}", "/x'", "/#", "/: "}),
			).Draw(t, "value")
			if kind.check(value) != nil {
				return
			}
			var got any
			if err := yaml.Unmarshal([]byte(fill(yamlTemplate, map[string]string{"V": value})), &got); err != nil {
				t.Fatalf("%q of kind %s breaks the file: %v", value, kind, err)
			}
			want := map[string]any{"a": map[string]any{"text": value, "next": uint64(1)}, "b": []any{uint64(2)}}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("%q of kind %s changes the file:\n%s", value, kind, diff)
			}
		})
	}
}

// Text stands in double quotes in the files, or the property above would say nothing about them; only numbers do not.
func TestOnlyNumbersStandUnquoted(t *testing.T) {
	unquoted := regexp.MustCompile(`\$\{([A-Z_]+)\}`)
	quoted := regexp.MustCompile(`"[^"]*"`)
	for _, file := range Files() {
		text, err := read(file)
		if err != nil {
			t.Fatal(err)
		}
		holes, err := Placeholders(file)
		if err != nil {
			t.Fatal(err)
		}
		number := map[string]bool{}
		for _, hole := range holes {
			number[hole.Name] = hole.Kind == KindPort || hole.Kind == KindCount
		}
		for line := range strings.Lines(text) {
			if strings.HasPrefix(strings.TrimSpace(line), "#") {
				continue
			}
			for _, match := range unquoted.FindAllStringSubmatch(quoted.ReplaceAllString(line, ""), -1) {
				if !number[match[1]] {
					t.Errorf("%s: ${%s} stands outside double quotes: %s", file, match[1], line)
				}
			}
		}
	}
}
