package policy

import (
	"crypto/sha256"
	"time"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// Lookup says where the owner of an object is known. Exactly one of the backends is set. Everything but the backend has a default, so
// no member but those that say so is ever zero.
type Lookup struct {
	// Name is [a-z0-9-]+, unique in the policy.
	Name string
	// File and Pos say where it is written.
	File string
	Pos  strictyaml.Pos
	// Issuer whose subjects the backend stores. Only rules of this issuer may use the lookup.
	Issuer *Issuer
	// Timeout bounds one question, within the deadline of its caller. 1 ms to 1 s, 50 ms by default.
	Timeout time.Duration
	// Cache is how long an object's being theirs is remembered; zero remembers nothing, which is the default. At most an hour.
	Cache time.Duration
	// CacheDenials is how long it is remembered that an object is not theirs, or not there: at most 1 s, and by default the lesser of
	// that and Cache.
	CacheDenials time.Duration
	// CacheBytes bounds the memory of what is remembered; 16 MiB by default.
	CacheBytes int64
	// Connections bounds the backend's pool; 16 by default.
	Connections int
	// Digest tells one version of the settings from another: a reload that does not change it keeps connections and cache.
	Digest [sha256.Size]byte

	Redis   *RedisLookup
	SQL     *SQLLookup
	HTTP    *HTTPLookup
	GRPC    *GRPCLookup
	OpenFGA *OpenFGALookup
	Static  *StaticLookup
}

// Kind is the backend's name as policies write it: redis, sql, http, grpc, openfga or static.
func (l *Lookup) Kind() string {
	switch {
	case l.Redis != nil:
		return "redis"
	case l.SQL != nil:
		return "sql"
	case l.HTTP != nil:
		return "http"
	case l.GRPC != nil:
		return "grpc"
	case l.OpenFGA != nil:
		return "openfga"
	case l.Static != nil:
		return "static"
	}
	return ""
}

// RedisLookup reads one key for each object. Exactly one of Key and Set is set.
type RedisLookup struct {
	// URL as --store takes them: redis://, rediss://, redis+sentinel://, redis+cluster://. It holds no password.
	URL                            string
	Username, PasswordFile, CAFile string
	// Key is read by GET, or, with Field, by HGET: its value is the owner.
	Key, Field Template
	// Set is asked by SISMEMBER whether the subject is a member.
	Set Template
}

// SQLLookup asks PostgreSQL one prepared query, read only.
type SQLLookup struct {
	// URL is postgres://user@host:port/database?sslmode=verify-full (or verify-ca, or disable); for a Unix socket host=/folder stands there
	// in place of the host. No other of libpq's parameters is taken, and no password.
	URL                  string
	PasswordFile, CAFile string
	// Query returns rows of two texts, the id and an owner of it, any number of rows an id. It reads @ids (text[]) and may read @subject,
	// @relation and @tenant (text).
	Query string
}

// HTTPLookup asks a service that answers in JSON.
type HTTPLookup struct {
	// URL of one object: GET. 404 is "not there".
	URL Template
	// Owner is the path of names from the answer's top to the owner, which is a string or a list of strings.
	Owner []string
	// Batch, unless "", is where {"ids": [...]} is posted, with "subject", "relation" and "tenant" where there are some: the answer is a list
	// with an object for each id that is there, its "id" and the rest of a single answer.
	Batch                                string
	TokenFile, CAFile, CertFile, KeyFile string
	// PlainHTTP permits http:// beyond loopback.
	PlainHTTP bool
}

// GRPCLookup asks a server of our own sallyport.owner.v1.OwnerService.
type GRPCLookup struct {
	// Address is host:port or unix:/path.
	Address string
	// ServerName is what the certificate must be of; "" is the host of Address.
	ServerName                           string
	TokenFile, CAFile, CertFile, KeyFile string
	// Plaintext permits no TLS beyond loopback.
	Plaintext bool
}

// OpenFGALookup asks OpenFGA whether a user has a relation to an object.
type OpenFGALookup struct {
	URL string
	// Store is the store's id and Model that of the authorization model; "" is the latest, which costs OpenFGA a lookup of its own.
	Store, Model string
	// Type is the type of the objects ("document"), User that of the subjects ("user").
	Type, User string
	// MaxChecks is how many objects are asked about in one call: 50 by default, as OpenFGA takes without --max-checks-per-batch-check.
	// At most 1,000.
	MaxChecks         int
	TokenFile, CAFile string
	PlainHTTP         bool
}

// StaticLookup is written in the policy: by object, by relation ("" where none is written), the owners.
type StaticLookup struct {
	Owners map[string]map[string][]string
}
