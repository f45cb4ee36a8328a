package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/sallyport-dev/sallyport/authz/audit"
)

// auditFlags say where the audit log goes and what it holds.
type auditFlags struct {
	destination      string
	mode             string // "" where a gate has no modes
	reserve          string // with mode
	allows           string
	fold             time.Duration
	rotate           string
	keep             int
	subjects, secret string

	flags *pflag.FlagSet // knows which were given; nil where none were
}

// bind defines the flags that both gates have.
func (f *auditFlags) bind(flags *pflag.FlagSet) {
	f.flags = flags
	flags.StringVar(&f.destination, "audit", "stdout", "where one line per decision goes: stdout, a file, otlp (a collector, by the OTEL_* variables), or off (docs/audit.md)")
	flags.StringVar(&f.allows, "audit-allows", "all", "which allows are recorded: all, off, or a sample such as 1%; denials always are")
	flags.DurationVar(&f.fold, "audit-fold", audit.DefaultFold, "how long denials that are alike are counted in one record, after the first; 0 writes each")
	flags.StringVar(&f.rotate, "audit-rotate", "", "set the audit file aside before it grows beyond this, such as 100MB")
	flags.IntVar(&f.keep, "audit-keep", 5, "how many files --audit-rotate keeps beside the one that is written: FILE.1 is the latest")
	flags.StringVar(&f.subjects, "audit-subjects", "pseudonym", "how subjects and objects are written: pseudonym, or plain")
	flags.StringVar(&f.secret, "audit-pseudonym-key-file", "", "file with at least 32 random bytes that pseudonyms are made with, the same in all gates; without it a pseudonym means something until the gate ends")
}

// bindMode defines the flag of a gate that can wait for its log.
func (f *auditFlags) bindMode(flags *pflag.FlagSet) {
	flags.StringVar(&f.mode, "audit-mode", auditBounded, "bounded: a record that finds the queue full is lost, counted and told; strict: an allow is on disk before it is answered, or denied")
	flags.StringVar(&f.reserve, "audit-reserve", defaultReserve, "how much of the disk strict keeps for allows: with less left, denials are counted and told by a gap, not written")
}

// defaultReserve is room for some hundred thousand allows.
const defaultReserve = "256MB"

// The values of --audit-mode and --audit-subjects.
const (
	auditBounded   = "bounded"
	auditStrict    = "strict"
	auditOff       = "off"
	auditOTLP      = "otlp"
	auditPlain     = "plain"
	auditPseudonym = "pseudonym"
)

func (f *auditFlags) strict() bool { return f.mode == auditStrict }

// file says that the log goes to a file.
func (f *auditFlags) file() bool {
	return f.destination != auditOff && f.destination != auditOTLP && f.destination != audit.Stdout
}

// auditSettings are the flags, read.
type auditSettings struct {
	share    audit.Share
	rotation audit.Rotation
	reserve  int64 // bytes of the disk that are kept for allows; 0 where they do not wait for the log
	fold     time.Duration
	key      *audit.Key
}

// read reads the flags, and says which may not stand together.
func (f *auditFlags) read() (s auditSettings, err error) {
	if err := f.unused(); err != nil {
		return s, err
	}
	if s.share, err = audit.ParseShare(f.allows); err != nil {
		return s, fmt.Errorf("--audit-allows: %w", err)
	}
	if s.rotation, err = f.rotation(); err != nil {
		return s, err
	}
	if s.reserve, err = f.reserved(); err != nil {
		return s, err
	}
	if s.fold = f.fold; f.fold == 0 {
		s.fold = -1
	}
	switch {
	case f.fold < 0:
		return s, errors.New("--audit-fold: a time cannot be negative; 0 writes each denial")
	case f.fold > 0 && f.fold < minFold:
		return s, fmt.Errorf("--audit-fold %s: write at least %s, or 0, which writes each denial", f.fold, minFold)
	case f.mode != "" && f.mode != auditBounded && f.mode != auditStrict:
		return s, fmt.Errorf("--audit-mode %s: write bounded or strict", f.mode)
	case f.strict() && !f.file():
		return s, errors.New("--audit-mode strict: what is durable stands in a file: name one in --audit")
	case f.strict() && !s.share.All():
		return s, errors.New("--audit-mode strict: no allow is answered that is not on record, so --audit-allows is all")
	case f.subjects != auditPlain && f.subjects != auditPseudonym:
		return s, fmt.Errorf("--audit-subjects %s: write pseudonym or plain", f.subjects)
	case f.subjects == auditPlain && f.secret != "":
		return s, errors.New("--audit-pseudonym-key-file makes pseudonyms, and --audit-subjects is plain")
	case f.subjects == auditPlain || f.secret != "":
		return s, nil // a key from a file is read when it is watched
	}
	secret := make([]byte, leastKey)
	_, _ = rand.Read(secret) // never fails
	s.key, err = audit.NewKey("run:"+keyName(secret), secret)
	return s, err
}

// given says that a flag was set, by the command line or the environment.
func (f *auditFlags) given(name string) bool { return f.flags != nil && f.flags.Changed(name) }

// unused is an error for a flag that was given and that the others leave without a meaning: whoever wrote it believes that it has one.
func (f *auditFlags) unused() error {
	if f.destination == auditOff {
		for _, name := range []string{"audit-mode", "audit-allows", "audit-fold", "audit-rotate", "audit-keep", "audit-reserve", "audit-subjects", "audit-pseudonym-key-file"} {
			if f.given(name) {
				return fmt.Errorf("--%s: nothing is recorded, because --audit is off: leave one of them out", name)
			}
		}
	}
	switch {
	case f.rotate == "" && f.given("audit-keep"):
		return errors.New("--audit-keep: no file is set aside without --audit-rotate: write a size there, such as 100MB")
	case !f.strict() && f.given("audit-reserve"):
		return errors.New("--audit-reserve keeps room for allows that wait for the disk, and only --audit-mode strict has them wait")
	}
	return nil
}

// reserved is how many bytes of the disk are kept for allows; 0 where they do not wait for it.
func (f *auditFlags) reserved() (int64, error) {
	if !f.strict() {
		return 0, nil
	}
	size, err := byteSize(f.reserve)
	if err != nil || size < minReserve {
		return 0, fmt.Errorf("--audit-reserve %s: write a size of at least 1MB, such as %s", f.reserve, defaultReserve)
	}
	return size, nil
}

// minReserve is more than is written between two looks at the disk.
const minReserve = 1_000_000

func (f *auditFlags) rotation() (audit.Rotation, error) {
	switch {
	case f.rotate == "":
		return audit.Rotation{}, nil
	case !f.file():
		return audit.Rotation{}, errors.New("--audit-rotate sets a file aside: name one in --audit")
	case f.keep < 1 || f.keep > 10_000:
		return audit.Rotation{}, errors.New("--audit-keep is at least 1 and at most 10000")
	}
	size, err := byteSize(f.rotate)
	if err != nil || size < minRotate {
		return audit.Rotation{}, fmt.Errorf("--audit-rotate %s: write a size of at least 1MB, such as 100MB or 2GB", f.rotate)
	}
	return audit.Rotation{Size: size, Keep: f.keep}, nil
}

// minRotate is the least size of a file that is set aside; the next size is a typing error.
const minRotate = 1_000_000

// minFold is the least time that denials are counted for; less costs a timer and folds next to nothing.
const minFold = 100 * time.Millisecond

// byteSize reads a whole number with a unit of a thousand (kB, MB, GB) or of 1024 (KiB, MiB, GiB).
func byteSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "kKMGiB")
	unit, known := map[string]int64{"kB": 1e3, "MB": 1e6, "GB": 1e9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[text[len(digits):]]
	n, err := strconv.ParseUint(digits, 10, 31)
	if err != nil || !known || int64(n) > math.MaxInt64/unit {
		return 0, errors.New("no size")
	}
	return int64(n) * unit, nil
}

// keyName names a secret without telling anything of it, so that records made with another are told apart.
func keyName(secret []byte) string {
	sum := sha256.Sum256(append([]byte("sallyport audit key\x00"), secret...))
	return hex.EncodeToString(sum[:6])
}

// readKey reads the key of pseudonyms. A line feed at the end, which editors and shells leave, is no part of it, unless the key would be
// too short without: then it is one of the random bytes.
func readKey(data []byte) (*audit.Key, error) {
	secret := data
	for len(secret) > leastKey && (secret[len(secret)-1] == '\n' || secret[len(secret)-1] == '\r') {
		secret = secret[:len(secret)-1]
	}
	return audit.NewKey(keyName(secret), secret)
}

// leastKey is how many bytes a key has at least.
const leastKey = 32

// hostname names this process in its log.
func hostname() string {
	name, _ := os.Hostname() // without one the run still tells it apart
	return name
}
