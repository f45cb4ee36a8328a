package compat

import (
	"path"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// every is the list of contracts/ratelimit.md 2d, spelled out: what an operator of the reference may have set.
var every = strings.Fields(`HOST PORT GRPC_HOST GRPC_PORT GRPC_UDS GRPC_MAX_CONNECTION_AGE GRPC_MAX_CONNECTION_AGE_GRACE GRPC_SERVER_USE_TLS
	GRPC_SERVER_TLS_CERT GRPC_SERVER_TLS_KEY GRPC_CLIENT_TLS_CACERT GRPC_CLIENT_TLS_SAN DEBUG_HOST DEBUG_PORT LOG_LEVEL LOG_FORMAT
	CONFIG_TYPE FORCE_START_WITHOUT_INITIAL_CONFIG CONFIG_GRPC_XDS_NODE_ID CONFIG_GRPC_XDS_NODE_METADATA CONFIG_GRPC_XDS_SERVER_URL
	CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS CONFIG_GRPC_XDS_SERVER_USE_TLS
	CONFIG_GRPC_XDS_CLIENT_TLS_CERT CONFIG_GRPC_XDS_CLIENT_TLS_KEY CONFIG_GRPC_XDS_SERVER_TLS_CACERT CONFIG_GRPC_XDS_SERVER_TLS_SAN
	XDS_CLIENT_BACKOFF_INITIAL_INTERVAL XDS_CLIENT_BACKOFF_MAX_INTERVAL XDS_CLIENT_BACKOFF_RANDOM_FACTOR XDS_CLIENT_BACKOFF_JITTER
	XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES RUNTIME_ROOT RUNTIME_SUBDIRECTORY RUNTIME_APPDIRECTORY RUNTIME_IGNOREDOTFILES RUNTIME_WATCH_ROOT
	MERGE_DOMAIN_CONFIG USE_STATSD STATSD_HOST STATSD_PORT STATSD_PROTOCOL USE_DOG_STATSD USE_DOG_STATSD_MOGRIFIERS EXTRA_TAGS STATS_FLUSH_INTERVAL
	DISABLE_STATS USE_PROMETHEUS PROMETHEUS_ADDR PROMETHEUS_PATH PROMETHEUS_MAPPER_YAML PROMETHEUS_RESPONSE_TIME_AS_MILLISECONDS
	EXPIRATION_JITTER_MAX_SECONDS LOCAL_CACHE_SIZE_IN_BYTES NEAR_LIMIT_RATIO CACHE_KEY_PREFIX STOP_CACHE_KEY_INCREMENT_WHEN_OVERLIMIT
	LIMIT_RESPONSE_HEADERS_ENABLED LIMIT_LIMIT_HEADER LIMIT_REMAINING_HEADER LIMIT_RESET_HEADER SHADOW_MODE QUOTA_MODE RESPONSE_DYNAMIC_METADATA
	HEALTHY_WITH_AT_LEAST_ONE_CONFIG_LOADED USE_CALENDAR_MONTH_RATE_LIMIT BACKEND_TYPE
	REDIS_SOCKET_TYPE REDIS_TYPE REDIS_URL REDIS_POOL_SIZE REDIS_AUTH REDIS_SENTINEL_AUTH REDIS_TLS REDIS_TLS_CLIENT_CERT REDIS_TLS_CLIENT_KEY
	REDIS_TLS_CACERT REDIS_TLS_SKIP_HOSTNAME_VERIFICATION REDIS_PIPELINE_WINDOW REDIS_PIPELINE_LIMIT REDIS_CLUSTER_PIPELINE_PARALLELISM REDIS_TIMEOUT
	REDIS_POOL_ON_EMPTY_BEHAVIOR REDIS_HEALTH_CHECK_ACTIVE_CONNECTION REDIS_STARTUP_MAX_RETRIES REDIS_STARTUP_RETRY_INTERVAL
	REDIS_PERSECOND REDIS_PERSECOND_SOCKET_TYPE REDIS_PERSECOND_TYPE REDIS_PERSECOND_URL REDIS_PERSECOND_POOL_SIZE REDIS_PERSECOND_AUTH
	REDIS_PERSECOND_SENTINEL_AUTH REDIS_PERSECOND_TLS REDIS_PERSECOND_PIPELINE_WINDOW REDIS_PERSECOND_PIPELINE_LIMIT REDIS_PERSECOND_TIMEOUT
	REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR MEMCACHE_HOST_PORT MEMCACHE_MAX_IDLE_CONNS MEMCACHE_SRV MEMCACHE_SRV_REFRESH MEMCACHE_TLS
	MEMCACHE_TLS_CLIENT_CERT MEMCACHE_TLS_CLIENT_KEY MEMCACHE_TLS_CACERT MEMCACHE_TLS_SKIP_HOSTNAME_VERIFICATION
	TRACING_ENABLED TRACING_EXPORTER_PROTOCOL TRACING_SERVICE_NAME TRACING_SERVICE_NAMESPACE TRACING_SERVICE_INSTANCE_ID TRACING_SAMPLING_RATE`)

// other holds a value that differs from the default and is valid, for the variables that do not take any text.
var other = map[string]string{
	"PORT": "1", "GRPC_PORT": "2", "DEBUG_PORT": "3", "GRPC_MAX_CONNECTION_AGE": "2h", "GRPC_MAX_CONNECTION_AGE_GRACE": "3h", "GRPC_SERVER_USE_TLS": "true",
	"LOG_LEVEL": "debug", "LOG_FORMAT": "json", "CONFIG_TYPE": "GRPC_XDS_SOTW", "CONFIG_GRPC_XDS_SERVER_CONNECT_RETRY_INTERVAL": "9s",
	"CONFIG_GRPC_XDS_NODE_METADATA": "a=b", "CONFIG_GRPC_XDS_CLIENT_ADDITIONAL_HEADERS": "a:b", "EXTRA_TAGS": "a:b",
	"XDS_CLIENT_BACKOFF_INITIAL_INTERVAL": "1s", "XDS_CLIENT_BACKOFF_MAX_INTERVAL": "2s", "XDS_CLIENT_BACKOFF_RANDOM_FACTOR": "0.25",
	"XDS_CLIENT_BACKOFF_JITTER": "false", "XDS_CLIENT_MAX_MSG_SIZE_IN_BYTES": "99", "RUNTIME_WATCH_ROOT": "false", "STATSD_PORT": "4",
	"STATSD_PROTOCOL": "udp", "USE_STATSD": "false", "STATS_FLUSH_INTERVAL": "1s", "PROMETHEUS_ADDR": ":19001", "PROMETHEUS_PATH": "/other", "NEAR_LIMIT_RATIO": "0.5",
	"USE_DOG_STATSD_MOGRIFIERS": "M", "BACKEND_TYPE": "memcache", "REDIS_SOCKET_TYPE": "tcp", "REDIS_TYPE": "cluster", "REDIS_URL": "/other.sock", "REDIS_POOL_SIZE": "5",
	"REDIS_TIMEOUT": "1s", "REDIS_POOL_ON_EMPTY_BEHAVIOR": "CREATE", "REDIS_PERSECOND_SOCKET_TYPE": "tcp", "REDIS_PERSECOND_TYPE": "cluster",
	"REDIS_PERSECOND_URL": "/other.sock", "REDIS_PERSECOND_POOL_SIZE": "5", "REDIS_PERSECOND_TIMEOUT": "1s", "REDIS_PERSECOND_POOL_ON_EMPTY_BEHAVIOR": "ERROR",
}

// beside are variables without which another says nothing.
var beside = map[string][]string{
	"GRPC_SERVER_TLS_CERT": {"GRPC_SERVER_USE_TLS=true", "GRPC_SERVER_TLS_KEY=k"}, "GRPC_SERVER_TLS_KEY": {"GRPC_SERVER_USE_TLS=true", "GRPC_SERVER_TLS_CERT=c"},
	"REDIS_SENTINEL_AUTH": {"REDIS_TYPE=SENTINEL", "REDIS_URL=m,h:1"}, "REDIS_PERSECOND_SENTINEL_AUTH": {"REDIS_PERSECOND=true", "REDIS_PERSECOND_TYPE=SENTINEL", "REDIS_PERSECOND_URL=m,h:1"},
	"REDIS_TLS": {"REDIS_SOCKET_TYPE=tcp", "REDIS_URL=h:1"}, "REDIS_PERSECOND_TLS": {"REDIS_PERSECOND=true", "REDIS_PERSECOND_SOCKET_TYPE=tcp", "REDIS_PERSECOND_URL=h:1"},
}

// Each variable of the reference has an effect on the settings, or an error, or is named as having none. None is ignored in silence.
func TestEveryVariableIsMappedOrNamed(t *testing.T) {
	for _, name := range every {
		value, special := other[name]
		if !special {
			value = "true" // a truth and a text
		}
		around := beside[name]
		if strings.HasPrefix(name, "REDIS_TLS_") {
			around = beside["REDIS_TLS"]
			around = append(slices.Clone(around), "REDIS_TLS=true")
		}
		if strings.HasPrefix(name, "REDIS_PERSECOND_") && around == nil {
			around = []string{"REDIS_PERSECOND=true"}
		}
		without, _ := Parse(around)
		with, err := Parse(append(slices.Clone(around), name+"="+value))
		named := slices.ContainsFunc(with.NoEffect, func(n NoEffect) bool { return n.Name == name && n.Why != "" })
		with.NoEffect, without.NoEffect = nil, nil
		if mapped := err != nil || !cmp.Equal(with, without); mapped == named {
			t.Errorf("%s=%s: mapped %v, named %v", name, value, mapped, named)
		}
	}
}

// A value that cannot be read is an error that names the variable and does not show the value.
func TestUnreadableValues(t *testing.T) {
	for _, entry := range []string{
		"PORT=sesame", "PORT=", "PORT=65536", "PORT=-1", "STATSD_PORT=tcp://10.0.0.1:sesame", "GRPC_SERVER_USE_TLS=sesame", "GRPC_MAX_CONNECTION_AGE=sesame",
		"GRPC_MAX_CONNECTION_AGE=-1s", "GRPC_MAX_CONNECTION_AGE=5ms", "LOG_LEVEL=sesame", "CONFIG_TYPE=sesame", "EXTRA_TAGS=sesame", "STATS_FLUSH_INTERVAL=0s", "PROMETHEUS_ADDR=sesame",
		"PROMETHEUS_PATH=sesame", "NEAR_LIMIT_RATIO=1.5", "NEAR_LIMIT_RATIO=NaN", "BACKEND_TYPE=sesame", "REDIS_TYPE=sesame", "REDIS_SOCKET_TYPE=sesame",
		"REDIS_URL=sesame:6379", "REDIS_POOL_SIZE=0", "REDIS_POOL_ON_EMPTY_BEHAVIOR=sesame", "TRACING_ENABLED=sesame", "USE_DOG_STATSD_MOGRIFIERS=sesame",
		"CONFIG_GRPC_XDS_NODE_METADATA=sesame", "XDS_CLIENT_BACKOFF_RANDOM_FACTOR=sesame", "GRPC_SERVER_USE_TLS=true", "GRPC_CLIENT_TLS_SAN=sesame",
	} {
		name, _, _ := strings.Cut(entry, "=")
		_, err := Parse([]string{entry})
		if err == nil || !strings.Contains(err.Error(), name) || name != "USE_DOG_STATSD_MOGRIFIERS" && strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s: %v", entry, err)
		}
	}
	_, err := Parse([]string{"PORT=x", "DEBUG_PORT=y"})
	if err == nil || strings.Count(err.Error(), "PORT") != 2 {
		t.Errorf("not every error at once: %v", err)
	}
}

func TestDefaultsAreTheReferences(t *testing.T) {
	s, err := Parse([]string{"PATH=/bin", "REDIS_SERVICE_HOST=10.0.0.1", "REDIS_PORT=tcp://10.0.0.1:6379", "REDIS_PORT_6379_TCP_ADDR=10.0.0.1", "nonsense"})
	if err != nil {
		t.Fatal(err)
	}
	want := defaults()
	want.Sink = Statsd
	want.Store = Store{URL: "unix:///var/run/nutcracker/ratelimit.sock"}
	if diff := cmp.Diff(want, s); diff != "" {
		t.Error(diff)
	}
	if s.MaxConnectionAge != 24*time.Hour || s.MaxConnectionAgeGrace != time.Hour || s.HTTP.Port != 8080 || s.GRPC.Port != 8081 || s.Debug.Port != 6070 || s.Scrape.Address.Port != 9090 {
		t.Errorf("got %+v", s)
	}
}

// What a URL says in each of its forms, and in ours.
func TestStoreURLForms(t *testing.T) {
	for _, tt := range []struct {
		name    string
		environ string
		want    Store
		err     string
	}{
		{"a host and port", "REDIS_SOCKET_TYPE=tcp REDIS_URL=redis:6379", Store{URL: "redis://redis:6379"}, ""},
		{"over TLS", "REDIS_SOCKET_TYPE=tcp REDIS_URL=redis:6379 REDIS_TLS=true REDIS_TLS_CACERT=/ca REDIS_TLS_CLIENT_CERT=/c REDIS_TLS_CLIENT_KEY=/k REDIS_TLS_SKIP_HOSTNAME_VERIFICATION=true",
			Store{URL: "rediss://redis:6379", CA: "/ca", Cert: "/c", Key: "/k", AnyName: true}, ""},
		{"a socket", "REDIS_URL=/run/redis.sock", Store{URL: "unix:///run/redis.sock"}, ""},
		{"a password", "REDIS_URL=/s REDIS_AUTH=pass", Store{URL: "unix:///s", Password: "pass"}, ""},
		{"a user and a password", "REDIS_URL=/s REDIS_AUTH=user:pa:ss", Store{URL: "unix:///s", Username: "user", Password: "pa:ss"}, ""},
		{"sentinels", "REDIS_TYPE=SENTINEL REDIS_URL=mymaster,s1:26379,s2:26379 REDIS_AUTH=a:b REDIS_SENTINEL_AUTH=c",
			Store{URL: "redis+sentinel://mymaster@s1:26379,s2:26379", Username: "a", Password: "b", SentinelPassword: "c"}, ""},
		{"sentinels over TLS", "REDIS_TYPE=sentinel REDIS_URL=m,s1:1 REDIS_TLS=1", Store{URL: "rediss+sentinel://m@s1:1"}, ""},
		{"a cluster", "REDIS_TYPE=cluster REDIS_URL=a:1,b:2 REDIS_POOL_SIZE=7 REDIS_TIMEOUT=2s", Store{URL: "redis+cluster://a:1,b:2", PoolSize: 7, Timeout: 2 * time.Second}, ""},
		{"a URL with credentials", "REDIS_SOCKET_TYPE=tcp REDIS_URL=redis://user:pass@h:1/3", Store{URL: "redis://h:1/3", Username: "user", Password: "pass"}, ""},
		{"a URL that asks for TLS", "REDIS_SOCKET_TYPE=tcp REDIS_URL=rediss://h:1", Store{URL: "rediss://h:1"}, ""},
		{"a forgotten socket type", "REDIS_URL=redis:6379", Store{}, "REDIS_SOCKET_TYPE=tcp"},
		{"sentinels without a master", "REDIS_TYPE=SENTINEL REDIS_URL=s1:26379", Store{}, "REDIS_URL"},
		{"several single hosts", "REDIS_SOCKET_TYPE=tcp REDIS_URL=a:1,b:2", Store{}, "REDIS_URL"},
		{"a cluster with credentials", "REDIS_TYPE=CLUSTER REDIS_URL=user:sesame@a:1", Store{}, "REDIS_URL"},
		{"TLS on a socket", "REDIS_TLS=true", Store{}, "REDIS_URL"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Parse(strings.Fields(tt.environ))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) || strings.Contains(err.Error(), "sesame") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, s.Store); diff != "" {
				t.Error(diff)
			}
		})
	}
	s, err := Parse(strings.Fields("REDIS_URL=/s REDIS_PERSECOND=true REDIS_PERSECOND_SOCKET_TYPE=tcp REDIS_PERSECOND_URL=p:1 REDIS_PERSECOND_AUTH=x"))
	if err != nil || s.PerSecond == nil || *s.PerSecond != (Store{URL: "redis://p:1", Password: "x"}) {
		t.Errorf("per second: %v %+v", err, s.PerSecond)
	}
}

// Where the files are: RUNTIME_ROOT watched as a link, or the folder itself.
func TestRuntimeFolder(t *testing.T) {
	for _, tt := range []struct {
		name, environ, root string
		in, out             string
	}{
		{"the example of the reference", "RUNTIME_ROOT=/data RUNTIME_SUBDIRECTORY=ratelimit RUNTIME_WATCH_ROOT=false", "/data/ratelimit/config", "a.yaml sub/b .hidden.yaml", ""},
		{"a root that is swapped", "RUNTIME_ROOT=/data/current RUNTIME_SUBDIRECTORY=ratelimit", "/data/current/ratelimit", "config/a.yaml config.yaml config.d/x config/sub/b config/.c", "other/a.yaml configs/a a.yaml"},
		{"another folder of the app", "RUNTIME_ROOT=/data/ RUNTIME_SUBDIRECTORY=x RUNTIME_APPDIRECTORY=limits RUNTIME_WATCH_ROOT=false", "/data/x/limits", "a", ""},
		{"no dot files", "RUNTIME_ROOT=/data RUNTIME_WATCH_ROOT=false RUNTIME_IGNOREDOTFILES=true", "/data/config", "a.yaml", ".a.yaml .dir/a.yaml sub/.a"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s, err := Parse(strings.Fields(tt.environ))
			if err != nil {
				t.Fatal(err)
			}
			root, keep, links := s.Runtime.Folder()
			if root != tt.root || links[0] != path.Clean(s.Runtime.Root) || links[len(links)-1] != root {
				t.Errorf("root %s, links %v", root, links)
			}
			for _, rel := range strings.Fields(tt.in) {
				if !keep(rel) {
					t.Errorf("%s does not count", rel)
				}
			}
			for _, rel := range strings.Fields(tt.out) {
				if keep(rel) {
					t.Errorf("%s counts", rel)
				}
			}
		})
	}
}

// One sink at a time, as there; and the one that is on by default gives way.
func TestOneSink(t *testing.T) {
	for environ, want := range map[string]string{
		"": Statsd, "USE_STATSD=false": NoSink, "USE_PROMETHEUS=true": Prometheus, "USE_STATSD=false USE_PROMETHEUS=true": Prometheus, "USE_DOG_STATSD=true": DogStatsd,
		"DISABLE_STATS=true USE_PROMETHEUS=true": NoSink, "USE_STATSD=true USE_PROMETHEUS=true": "error", "USE_DOG_STATSD=true USE_PROMETHEUS=true": "error",
	} {
		s, err := Parse(strings.Fields(environ))
		if want == "error" {
			if err == nil || !strings.Contains(err.Error(), "more than one stats sink") {
				t.Errorf("%s: %v", environ, err)
			}
			continue
		}
		if err != nil || s.Sink != want {
			t.Errorf("%s: %q, %v", environ, s.Sink, err)
		}
	}
}

func TestMogrifiers(t *testing.T) {
	s, err := Parse([]string{"USE_DOG_STATSD=true", "USE_DOG_STATSD_MOGRIFIERS=RULE", `DOG_STATSD_MOGRIFIER_RULE_PATTERN=^(.*)\.total$`, "DOG_STATSD_MOGRIFIER_RULE_NAME=all", "DOG_STATSD_MOGRIFIER_RULE_TAGS=rule:$1"})
	if err != nil {
		t.Fatal(err)
	}
	want := []Mogrifier{{Pattern: `^(.*)\.total$`, Name: "all", Tags: map[string]string{"rule": "$1"}}}
	if diff := cmp.Diff(want, s.Stats.Mogrifiers); diff != "" {
		t.Error(diff)
	}
}

// What the reference never heard of, but stands in one of its families, is named too.
func TestUnknownMembersAreNamed(t *testing.T) {
	s, err := Parse([]string{"GRPC_SERVER_TLS_CA_CERT=/certs/ca.crt", "REDIS_STARTUP_TIMEOUT=1s", "REDIS_POOLSIZE=3", "TRACING_ENABLED=false", "REDIS_POOL_ON_EMPTY_BEHAVIOR=wait"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, n := range s.NoEffect {
		names = append(names, n.Name)
	}
	if want := []string{"GRPC_SERVER_TLS_CA_CERT", "REDIS_POOLSIZE", "REDIS_STARTUP_TIMEOUT"}; !slices.Equal(names, want) {
		t.Errorf("named %v, want %v", names, want)
	}
}

// Without compatibility the variables are found, so that one line can say that they mean nothing.
func TestFound(t *testing.T) {
	for _, tt := range []struct {
		environ []string
		want    []string
	}{
		{[]string{"PORT=8080", "LOG_LEVEL=info", "REDIS_SERVICE_HOST=1.2.3.4", "MEMCACHE_PORT=1", "PATH=/bin"}, nil},
		{[]string{"REDIS_URL=s", "LOG_LEVEL=debug", "REDIS_PORT=tcp://1.2.3.4:6379", "PATH=/bin"}, []string{"LOG_LEVEL", "REDIS_URL"}},
	} {
		if got := Found(tt.environ); !slices.Equal(got, tt.want) {
			t.Errorf("%v: %v, want %v", tt.environ, got, tt.want)
		}
	}
}

// No environment panics, none half-loads without an error, and no error shows a secret.
func FuzzParse(f *testing.F) {
	f.Add("REDIS_URL", "redis://u:p@h:1", "REDIS_SOCKET_TYPE", "tcp")
	f.Add("REDIS_TYPE", "SENTINEL", "REDIS_URL", "m,h")
	f.Add("EXTRA_TAGS", "a:b", "USE_DOG_STATSD_MOGRIFIERS", "X")
	f.Fuzz(func(t *testing.T, a, b, c, d string) {
		secret := "s3cr3t-" + "value"
		s, err := Parse([]string{a + "=" + b, c + "=" + d, "REDIS_AUTH=" + secret})
		if s == nil {
			t.Fatal("no settings")
		}
		if err != nil && strings.Contains(err.Error(), secret) {
			t.Errorf("the error shows a secret: %v", err)
		}
		if err == nil && s.Store.URL == "" {
			t.Error("no store and no error")
		}
	})
}
