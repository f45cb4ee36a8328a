package archtest

import (
	"fmt"
	"slices"
	"strings"
)

// module is the prefix of our own import paths.
const module = "github.com/sallyport-dev/sallyport/"

// floors is every room of the house. Arrows go down: a package imports packages of lower floors, on floor 1 of its own floor too. A
// room that is not built yet may stand here; a package that does not stand here is refused, so a misspelt room cannot hide one.
var floors = map[int][]string{
	// Floor 1 is pure: bytes and values in, values out.
	1: {
		"authz/policy", "authz/pattern", "authz/target", "authz/scope", "authz/strictjson", "authz/condition", "authz/body", "authz/fields", "authz/schema", "authz/webhook", "authz/clientkey",
		"authz/openapi",
		"ratelimit/window", "ratelimit/limits", "ratelimit/compat", "internal/...", "proto/...",
	},
	// Floor 2 decides, and names the ports it needs for that.
	2: {"authz", "ratelimit"},
	// Floor 3 is doors: each to one foreign world.
	3: {
		"authz/jwt", "authz/jwks", "authz/owner/...", "authz/clientkey/redis", "authz/audit/...", "authz/issuer", "authz/revocation", "authz/extauthz",
		"ratelimit/memstore", "ratelimit/redisstore", "ratelimit/xds", "ratelimit/rls", "ratelimit/statsd", "envoy/...", "k8s/...",
	},
	// Floor 4 names every concrete type, or tells stories about all of them.
	4: {"cmd/...", "e2e/..."},
}

// fakes are rooms for tests alone. They stand on no floor: what they import is the tests' business, and the binary must not reach them.
var fakes = []string{
	"authz/authztest", "authz/owner/ownertest", "authz/owner/openfga/openfgatest", "authz/owner/sql/postgrestest", "ratelimit/storetest",
}

// topLevel is where Go files may stand.
var topLevel = []string{"authz", "ratelimit", "cmd", "internal", "proto", "envoy", "k8s", "e2e", "tools"}

// A rule forbids direct imports to some packages, for a reason that is shown to whoever breaks it.
type rule struct {
	packages []string // patterns within the module
	except   []string // of these
	never    []string // patterns of import paths; our own begin with "./"
	but      []string // of those
	why      string
}

var rules = []rule{
	{
		packages: []string{"authz/..."}, never: []string{"./ratelimit/..."},
		why: "they are two services that change apart; they meet in cmd and envoy, by the descriptor contract",
	}, {
		packages: []string{"ratelimit/..."}, never: []string{"./authz/..."},
		why: "they are two services that change apart; they meet in cmd and envoy, by the descriptor contract",
	}, {
		packages: floors[1], never: []string{"net/http/...", "os/...", "log/..."},
		why: "floor 1 is pure, bytes and values in, values out, so that it can be fuzzed and reasoned about",
	}, {
		packages: []string{"authz/body"}, never: []string{"foreign"}, but: []string{"google.golang.org/protobuf/..."},
		why: "floor 1 is pure: of foreign code a body's reader needs the decoder of messages",
	}, {
		packages: []string{"authz/openapi"}, never: []string{"foreign"},
		but: []string{"github.com/getkin/kin-openapi/openapi3", "github.com/go-json-experiment/json/..."},
		why: "floor 1 is pure: of foreign code the reader of OpenAPI needs that of kin, whose loader is told to fetch nothing",
	}, {
		packages: []string{"..."}, except: []string{"authz/openapi"}, never: []string{"github.com/getkin/kin-openapi/..."},
		why: "authz/openapi is the one door to kin-openapi, and reads the text strictly first",
	}, {
		packages: []string{"authz/schema"}, never: []string{"foreign"}, but: []string{"github.com/santhosh-tekuri/jsonschema/v6/..."},
		why: "floor 1 is pure: this room is the one door to the engine of JSON Schema",
	}, {
		packages: floors[1], except: []string{"proto/...", "authz/body", "authz/schema", "authz/openapi"}, never: []string{"foreign"},
		but: []string{
			"github.com/goccy/go-yaml/...", "github.com/go-json-experiment/json/...", // decoders
			"cel.dev/cel-go/...", "cel.dev/expr/...", // the expression engine
			"github.com/gaissmai/bart/...",                // a trie
			"github.com/spiffe/go-spiffe/v2/spiffeid/...", // the shape of a name
		},
		why: "floor 1 is pure: of foreign code only a decoder, an expression engine, a trie or spiffeid",
	}, {
		packages: []string{"proto/..."}, never: []string{"foreign"}, but: []string{"google.golang.org/protobuf/...", "google.golang.org/grpc/..."},
		why: "generated code needs the protobuf and gRPC runtimes and nothing else",
	}, {
		packages: floors[2],
		never: []string{
			"net/http/...", "os/...", "log/...", "github.com/envoyproxy/go-control-plane/...", "google.golang.org/grpc/...",
			"github.com/prometheus/...", "github.com/redis/...",
		},
		why: "the decision knows no wire, no disk and no log",
	}, {
		packages: []string{"..."}, except: []string{"authz/extauthz", "ratelimit/rls", "ratelimit/xds", "envoy/...", "e2e/..."},
		never: []string{"github.com/envoyproxy/go-control-plane/..."},
		why:   "Envoy's API changes; it does so in few places of ours",
	}, {
		packages: []string{"..."}, except: []string{"authz/audit/otlp", "e2e/..."}, never: []string{"go.opentelemetry.io/..."},
		why: "one door to OpenTelemetry, so that nothing on a request's path knows it; e2e is the other side, a collector",
	}, {
		packages: []string{"..."}, except: []string{"cmd/..."}, never: []string{"flag", "github.com/spf13/..."},
		why: "cmd is the one source of configuration",
	}, {
		packages: []string{"..."}, never: []string{"./authz/authztest/...", "./authz/owner/ownertest/...", "./authz/owner/openfga/openfgatest/...",
			"./authz/owner/sql/postgrestest/...", "./ratelimit/storetest/...", "testing/...",
		}, except: fakes,
		why: "fakes stay in tests",
	},
}

// calls that only cmd may write down. A fake may ask the environment where a test's server is.
var calls = rule{
	packages: []string{"..."}, except: append([]string{"cmd/..."}, fakes...),
	never: []string{
		"os.Getenv", "os.LookupEnv", "os.Environ", "os.ExpandEnv", "os.Exit", "os.Args", "log.Fatal", "log.Fatalf", "log.Fatalln",
	},
	why: "cmd is the one source of configuration, and the only one to end the process",
}

// matches says whether path is what pattern means: itself, or with "/..." also everything below it; "..." is everything.
func matches(pattern, path string) bool {
	if pattern == "..." {
		return true
	}
	if below, ok := strings.CutSuffix(pattern, "/..."); ok {
		return path == below || strings.HasPrefix(path, below+"/")
	}
	return pattern == path
}

func matchesAny(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, path) })
}

// covers says whether the rule speaks about the package (a path within the module).
func (r rule) covers(pkg string) bool {
	return matchesAny(r.packages, pkg) && !matchesAny(r.except, pkg)
}

// forbids says whether the rule forbids its packages the import (a whole import path).
func (r rule) forbids(path string) bool {
	own, ours := strings.CutPrefix(path, module)
	for _, never := range r.never {
		hit := false
		switch {
		case never == "foreign":
			hit = !ours && foreign(path)
		case strings.HasPrefix(never, "./"):
			hit = ours && matches(strings.TrimPrefix(never, "./"), own)
		default:
			hit = matches(never, path)
		}
		if hit && !matchesAny(r.but, path) {
			return true
		}
	}
	return false
}

// foreign says that the import comes from another module, which the standard library's first path elements, without a dot, do not.
func foreign(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".")
}

// floorOf is the floor of a package within the module, or 0 for one that has none.
func floorOf(pkg string) int {
	for floor, rooms := range floors {
		if matchesAny(rooms, pkg) {
			return floor
		}
	}
	return 0
}

// upward says why the package may not import another of ours, or "" if it may.
func upward(from, to string) string {
	if matchesAny(fakes, from) || matchesAny(fakes, to) {
		return "" // the rules say who may import a fake
	}
	a, b := floorOf(from), floorOf(to)
	switch {
	case b > a:
		return fmt.Sprintf("floor %d imports floor %d: arrows go down", a, b)
	case b == a && a == 2:
		return "one decision does not know the other"
	case b == a && a == 3 && !sameRoom(from, to):
		return "one door, one world: wiring belongs to cmd"
	case a == 4 && b == 4 && strings.HasPrefix(to, "e2e"):
		return "stories are told about the commands, not to them"
	}
	return ""
}

// sameRoom says that two packages are parts of one room, such as authz/owner and authz/owner/redis.
func sameRoom(a, b string) bool {
	for _, room := range floors[3] {
		if matches(room, a) && matches(room, b) {
			return true
		}
	}
	return false
}

// offences are the complaints about one package's imports.
func offences(pkg string, imports []string) []string {
	var found []string
	for _, path := range imports {
		for _, r := range rules {
			if r.covers(pkg) && r.forbids(path) {
				found = append(found, fmt.Sprintf("%s imports %s: %s", pkg, path, r.why))
			}
		}
		if own, ours := strings.CutPrefix(path, module); ours {
			if why := upward(pkg, own); why != "" {
				found = append(found, fmt.Sprintf("%s imports %s: %s", pkg, path, why))
			}
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}
