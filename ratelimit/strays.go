package ratelimit

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// maxForms is the most forms of descriptors that [Strays] keep.
const maxForms = 64

// Strays keep the latest of each form of descriptor about which the files have nothing to say, for operators. The zero value is ready.
// They are safe for concurrent use, and cost a decision nothing when two of them meet here: one goes on untold.
type Strays struct {
	// Now is the clock; nil is time.Now.
	Now func() time.Time

	mu    sync.Mutex
	forms map[string]*Stray
}

// Stray is one form of descriptor: a domain and keys, with the entries that came last. Without entries it is a domain that no file has.
type Stray struct {
	Domain  string
	Entries []limits.Entry
	Time    time.Time
	// Count is how many of this form there were, as far as they were told.
	Count uint64
}

// Note takes a descriptor in, or without entries a request for a domain that no file has. It keeps nothing of entries.
func (s *Strays) Note(domain string, entries []limits.Entry) {
	if !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	var buf [256]byte
	form := append(buf[:0], shortened(domain)...)
	for i := range entries {
		form = append(append(form, 0), shortened(entries[i].Key)...)
	}
	m := s.forms[string(form)]
	if m == nil {
		if len(s.forms) >= maxForms {
			s.forget()
		}
		if s.forms == nil {
			s.forms = map[string]*Stray{}
		}
		m = &Stray{Domain: strings.Clone(shortened(domain))}
		s.forms[string(form)] = m
	}
	m.Time = s.now()
	m.Count++
	m.Entries = m.Entries[:0]
	for _, e := range entries {
		m.Entries = append(m.Entries, limits.Entry{Key: strings.Clone(shortened(e.Key)), Value: strings.Clone(shortened(e.Value))})
	}
}

// longestShown is the most bytes of a text of a client's that is kept.
const longestShown = 256

func shortened(s string) string { return s[:min(len(s), longestShown)] }

// forget drops the form that was seen longest ago.
func (s *Strays) forget() {
	oldest := ""
	for form, m := range s.forms {
		if oldest == "" || m.Time.Before(s.forms[oldest].Time) {
			oldest = form
		}
	}
	delete(s.forms, oldest)
}

// Latest is what is kept, the latest first.
func (s *Strays) Latest() []Stray {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]Stray, 0, len(s.forms))
	for _, m := range s.forms {
		kept := *m
		kept.Entries = slices.Clone(m.Entries)
		all = append(all, kept)
	}
	slices.SortFunc(all, func(a, b Stray) int { return b.Time.Compare(a.Time) })
	return all
}

func (s *Strays) now() time.Time {
	if s.Now != nil {
		return s.Now()
	}
	return time.Now()
}
