package statsd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	dialTimeout  = 1500 * time.Millisecond
	writeTimeout = time.Second
	// packetUDP fits an Ethernet frame; packetTCP only bounds a buffer.
	packetUDP = 1432
	packetTCP = 64 << 10
)

// Options configure a [Sink].
type Options struct {
	// Network is tcp or udp, and Address a host and port; a name is looked up for each connection.
	Network, Address string
	// Tags are added to every statistic: as ".__key=value" to a statsd name, in the order of the keys, and as tags for DogStatsD.
	Tags map[string]string
	// Dog writes DogStatsD, whose tags stand beside the name.
	Dog bool
	// Mogrifiers rename for DogStatsD, the first that matches a name.
	Mogrifiers []Mogrifier
	// FlushInterval is the time between two batches; it must be positive.
	FlushInterval time.Duration
	// Report is told when the server stops and starts to take statistics: nil means that it does. Nil: nobody is told.
	Report func(error)

	dial  func(ctx context.Context) (net.Conn, error) // of tests; nil: the network
	ticks <-chan time.Time                            // of tests; nil: every FlushInterval
}

// Mogrifier renames a statistic: where Pattern (a regular expression) matches the name, Name and the values of Tags are the new ones,
// with $1 for what its first parenthesis matched.
type Mogrifier struct {
	Pattern, Name string
	Tags          map[string]string
}

// Sink sends stats to a server. Its methods are for one goroutine.
type Sink struct {
	stats      *Stats
	o          Options
	suffix     string // of every name in statsd's form
	tags       []string
	mogrifiers []mogrifier
	names      map[string]sentName
	counted    map[string]uint64 // what was sent of the sums that others count
	timesSent  uint64
	conn       net.Conn
	broken     string
}

type mogrifier struct {
	pattern *regexp.Regexp
	name    string
	tags    []string // "key:value", sorted
}

// sentName is a statistic's name as the server gets it, with DogStatsD's tags.
type sentName struct{ name, tags string }

// NewSink makes a sink. It does not dial.
func NewSink(stats *Stats, o Options) (*Sink, error) {
	if o.FlushInterval <= 0 {
		return nil, errors.New("statsd: the flush interval is not positive")
	}
	s := &Sink{stats: stats, o: o, names: map[string]sentName{}, counted: map[string]uint64{}}
	if o.Report == nil {
		s.o.Report = func(error) {}
	}
	for _, key := range slices.Sorted(maps.Keys(o.Tags)) {
		if key == "" || o.Tags[key] == "" {
			continue
		}
		s.suffix += ".__" + tagText(key) + "=" + tagText(o.Tags[key])
		s.tags = append(s.tags, tagText(key)+":"+tagText(o.Tags[key]))
	}
	for _, m := range o.Mogrifiers {
		pattern, err := regexp.Compile(m.Pattern)
		if err != nil {
			return nil, fmt.Errorf("statsd: mogrifier: %w", err)
		}
		made := mogrifier{pattern: pattern, name: m.Name}
		for _, key := range slices.Sorted(maps.Keys(m.Tags)) {
			made.tags = append(made.tags, key+":"+m.Tags[key])
		}
		s.mogrifiers = append(s.mogrifiers, made)
	}
	return s, nil
}

// tagText keeps out of a tag what separates tags, names and values.
func tagText(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || strings.ContainsRune(".:|,#=", r) {
			return '_'
		}
		return r
	}, s)
}

// Run sends a batch every FlushInterval until ctx ends, and a last one then. It returns nil.
func (s *Sink) Run(ctx context.Context) error {
	ticks := s.o.ticks
	if ticks == nil {
		ticker := time.NewTicker(s.o.FlushInterval)
		defer ticker.Stop()
		ticks = ticker.C
	}
	for {
		select {
		case <-ticks:
			s.flush(ctx)
		case <-ctx.Done():
			s.flush(context.WithoutCancel(ctx))
			s.hangUp()
			return nil
		}
	}
}

// flush sends what has changed. What the server was not there to take stays for the next time; a packet whose writing failed counts
// as sent, for a part of it may have arrived.
func (s *Sink) flush(ctx context.Context) {
	err := s.connect(ctx)
	if err == nil {
		err = s.send()
	}
	if err != nil || s.o.Network != "tcp" {
		s.hangUp() // and a name is looked up anew for each batch of datagrams
	}
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != s.broken {
		s.broken = text
		s.o.Report(err)
	}
}

func (s *Sink) connect(ctx context.Context) error {
	if s.conn != nil {
		return nil
	}
	dial := s.o.dial
	if dial == nil {
		dial = func(ctx context.Context) (net.Conn, error) {
			return (&net.Dialer{Timeout: dialTimeout}).DialContext(ctx, s.o.Network, s.o.Address)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	conn, err := dial(ctx)
	if err != nil {
		return fmt.Errorf("statsd: connect: %w", err)
	}
	s.conn = conn
	return nil
}

func (s *Sink) hangUp() {
	if s.conn != nil {
		_ = s.conn.Close()
		s.conn = nil
	}
}

// send writes one batch, packet by packet.
func (s *Sink) send() error {
	p := packet{most: packetTCP, write: s.write}
	if s.o.Network != "tcp" {
		p.most = packetUDP
	}
	for _, v := range s.stats.values() {
		n := v.value
		kind, sent := "g", func() {}
		if !v.gauge {
			kind = "c"
			n, sent = s.delta(v)
			if n == 0 {
				continue
			}
		}
		if err := p.add(s.line(nil, v.name, func(b []byte) []byte { return strconv.AppendUint(b, n, 10) }, kind, 1), sent); err != nil {
			return err
		}
	}
	if err := s.times(&p); err != nil {
		return err
	}
	return p.flush()
}

// delta is what was counted since the last batch, and how to note that it is sent.
func (s *Sink) delta(v value) (uint64, func()) {
	if v.of != nil {
		return v.value - v.of.sent, func() { v.of.sent = v.value }
	}
	last := s.counted[v.name]
	if v.value < last {
		last = 0 // whoever counts began anew
	}
	return v.value - last, func() { s.counted[v.name] = v.value }
}

// times adds the response times since the last batch, in milliseconds, with the part of all that they are.
func (s *Sink) times(p *packet) error {
	ring := &s.stats.times
	next := ring.next.Load()
	all := next - s.timesSent
	kept := min(all, samples)
	for i := range kept {
		at := next - kept + i
		millis := func(b []byte) []byte {
			return strconv.AppendFloat(b, float64(ring.slots[at%samples].Load())/1000, 'f', -1, 64)
		}
		line := s.line(nil, serverScope+"response_time", millis, "ms", float64(kept)/float64(all))
		if err := p.add(line, func() { s.timesSent = next }); err != nil {
			return err
		}
	}
	return nil
}

// line writes one statistic: name:value|kind, a sample rate where it is not one, and DogStatsD's tags.
func (s *Sink) line(b []byte, name string, value func([]byte) []byte, kind string, rate float64) []byte {
	sent, ok := s.names[name]
	if !ok {
		sent = s.rename(name)
		s.names[name] = sent
	}
	b = append(b, sent.name...)
	b = append(b, ':')
	b = value(b)
	b = append(b, '|')
	b = append(b, kind...)
	if rate < 1 {
		b = append(b, "|@"...)
		b = strconv.AppendFloat(b, rate, 'f', 6, 64)
	}
	b = append(b, sent.tags...)
	return append(b, '\n')
}

// rename gives a name the form of the server. It is asked once for each name.
func (s *Sink) rename(name string) sentName {
	if !s.o.Dog {
		return sentName{name: name + s.suffix}
	}
	tags := slices.Clone(s.tags)
	for _, m := range s.mogrifiers {
		match := m.pattern.FindStringSubmatchIndex(name)
		if match == nil {
			continue
		}
		for _, tag := range m.tags {
			key, value, _ := strings.Cut(tag, ":")
			tags = append(tags, tagText(key)+":"+tagText(expand(m.pattern, value, name, match)))
		}
		name = sanitize(expand(m.pattern, m.name, name, match))
		break
	}
	if len(tags) == 0 {
		return sentName{name: name}
	}
	return sentName{name: name, tags: "|#" + strings.Join(tags, ",")}
}

var placeholder = regexp.MustCompile(`\$[0-9]+`)

// expand puts what was matched in the place of $0, $1 and so on. A number that the pattern does not have stays.
func expand(pattern *regexp.Regexp, template, name string, match []int) string {
	return placeholder.ReplaceAllStringFunc(template, func(p string) string {
		n, err := strconv.Atoi(p[1:])
		if err != nil || n > pattern.NumSubexp() {
			return p
		}
		return string(pattern.ExpandString(nil, "${"+p[1:]+"}", name, match))
	})
}

func (s *Sink) write(b []byte) error {
	if err := s.conn.SetWriteDeadline(time.Now().Add(writeTimeout)); err != nil {
		return fmt.Errorf("statsd: write: %w", err)
	}
	if _, err := s.conn.Write(b); err != nil {
		return fmt.Errorf("statsd: write: %w", err)
	}
	return nil
}

// packet gathers lines up to a size.
type packet struct {
	most  int
	write func([]byte) error
	lines bytes.Buffer
	sent  []func() // what each line says when it is on its way
}

func (p *packet) add(line []byte, sent func()) error {
	if p.lines.Len() > 0 && p.lines.Len()+len(line) > p.most {
		if err := p.flush(); err != nil {
			return err
		}
	}
	p.lines.Write(line)
	p.sent = append(p.sent, sent)
	return nil
}

func (p *packet) flush() error {
	if p.lines.Len() == 0 {
		return nil
	}
	for _, sent := range p.sent {
		sent()
	}
	err := p.write(p.lines.Bytes())
	p.lines.Reset()
	p.sent = p.sent[:0]
	return err
}
