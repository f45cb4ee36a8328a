package xds

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/anypb"

	"github.com/sallyport-dev/sallyport/internal/strictyaml"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// errLostAll refuses a response without resources where there were some.
var errLostAll = errors.New("no resource is left: without limits everything passes, so the last good ones stay; keep at least one domain")

// book is what the server sent and what of it is in force. The unit is the resource: one that is bad keeps its last good version, and
// the others are taken. A book is for one goroutine.
type book struct {
	build    limits.BuildOptions
	snapshot *limits.Snapshot
	inForce  map[string]limits.Source
	domains  []limits.FileState
	unknown  []string

	// last is the response that was taken last, and said what the server is told of it.
	last  [sha256.Size]byte
	taken bool
	said  error
}

// take takes a response, whole or what is good of it, and says what the server is to be told: nil, or why it was refused. News is
// false where the response is the same as the one before, whose answer is repeated.
func (b *book) take(resources []*anypb.Any) (news bool, refused error) {
	sum := sumOf(resources)
	if b.taken && sum == b.last {
		return false, b.said
	}
	b.last, b.taken = sum, true
	b.domains, b.unknown = nil, nil
	b.said = b.guarded(resources)
	return true, b.said
}

// guarded is read, with a panic as one more refusal: a response that ends the process would end it again after every start.
func (b *book) guarded(resources []*anypb.Any) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("internal error: a panic while the response was read (%T); what was in force stays", v)
		}
	}()
	return b.read(resources)
}

func (b *book) read(resources []*anypb.Any) error {
	if len(resources) == 0 {
		if b.table() != nil {
			return errLostAll
		}
		return nil
	}
	var d decoder
	sources, err := d.sources(resources)
	if err != nil {
		return err
	}
	next := limits.LoadWith(b.snapshot, sources, b.build)
	if len(next.Errors()) > 0 {
		// What is refused in part removes nothing: a bad resource may be another's new version under another name.
		sources = append(sources, b.missing(sources)...)
		next = limits.LoadWith(b.snapshot, sources, b.build)
	}
	b.keep(next, sources)
	b.domains, b.unknown = next.Files, d.unknownFields()
	if errs := next.Errors(); len(errs) > 0 {
		return told(errs)
	}
	return nil
}

// table is what is in force; nil while nothing ever was good.
func (b *book) table() *limits.Table {
	if b.snapshot == nil {
		return nil
	}
	return b.snapshot.Table
}

// missing are the sources in force whose name and whose domain sources have no more; of a domain that several may share, whose name.
func (b *book) missing(sources []limits.Source) []limits.Source {
	names, domains := map[string]bool{}, map[string]bool{}
	for _, source := range sources {
		names[source.Name], domains[source.Config.Domain] = true, !b.build.MergeDomains
	}
	var out []limits.Source
	for name, old := range b.inForce {
		if !names[name] && !domains[old.Config.Domain] {
			out = append(out, old)
		}
	}
	return out
}

// keep puts a snapshot into force.
func (b *book) keep(next *limits.Snapshot, sources []limits.Source) {
	states := make(map[string]limits.FileState, len(next.Files))
	for _, state := range next.Files {
		states[state.Name] = state
	}
	inForce := map[string]limits.Source{}
	for _, source := range sources {
		switch state, told := states[source.Name]; {
		case told && state.OK():
			// Of a version that is known, Load asks the bytes and no more.
			inForce[source.Name] = limits.Source{Name: source.Name, Data: source.Data, Config: &limits.Config{Domain: source.Config.Domain}}
		case state.LastGood:
			inForce[source.Name] = b.inForce[source.Name]
		}
	}
	b.snapshot, b.inForce = next, inForce
}

// The most of its errors that a server is told: enough to mend the first, and no more than a log line holds.
const (
	maxTold      = 20
	maxToldBytes = 4096
)

func told(errs strictyaml.Errors) error {
	var text strings.Builder
	for i, err := range errs {
		line := err.Error()
		if i == maxTold || text.Len()+len(line) > maxToldBytes {
			if i == 0 {
				text.WriteString(strings.ToValidUTF8(line[:maxToldBytes], ""))
			}
			fmt.Fprintf(&text, "\nand %d more", len(errs)-i)
			break
		}
		if i > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(line)
	}
	return errors.New(text.String())
}

// sumOf tells one response from another, whatever the order of its resources: servers that keep them in a map send them in any.
func sumOf(resources []*anypb.Any) [sha256.Size]byte {
	sums := make([][]byte, len(resources))
	for i, resource := range resources {
		url, value := sha256.Sum256([]byte(resource.GetTypeUrl())), sha256.Sum256(resource.GetValue())
		sums[i] = append(url[:], value[:]...)
	}
	slices.SortFunc(sums, bytes.Compare)
	return sha256.Sum256(bytes.Join(sums, nil))
}
