package pattern

import "strings"

// The questions of this file are asked when a policy is read, about rules that can never be what they say.

// Taken reports whether no request can select an entry, because for each of its methods more specific patterns take every path. Only a
// pattern with a {rest...} can be taken whole: anything else is taken by its equal alone, which is a [Conflict].
func (t *Tree) Taken(entry int) bool {
	if t == nil || entry < 0 || entry >= len(t.entries) {
		return false
	}
	p := t.entries[entry].Pattern
	if _, ok := p.Rest(); !ok {
		return false
	}
	n := &t.exact
	for _, s := range p.segments[:len(p.segments)-1] {
		switch s.kind {
		case literal:
			n = n.literals[s.text]
		case suffixed:
			n = n.suffixes[s.text]
		default:
			n = n.name
		}
		if n == nil {
			return false
		}
	}
	for _, method := range p.methods {
		if !n.takesAll(method) {
			return false
		}
	}
	return len(p.methods) > 0
}

// takesAll reports whether every path below n, that with nothing behind the last slash too, has a more specific pattern than a rest at n.
func (n *node) takesAll(method string) bool {
	end := n.literals[""]
	if end == nil || n.name == nil || pick(end.leaves, method) == none || pick(n.name.leaves, method) == none {
		return false
	}
	return pick(n.name.rest, method) != none || n.name.takesAll(method)
}

// Path returns the path of a pattern without names, and whether it is one that is spelled with bytes that stand for themselves: then no
// request reaches the pattern by any other spelling.
func (p Pattern) Path() (string, bool) {
	path := ""
	for _, s := range p.segments {
		if s.kind != literal {
			return "", false
		}
		for _, c := range []byte(s.text) {
			if !unreserved(c) {
				return "", false
			}
		}
		path += "/" + s.text
	}
	return path, path != ""
}

// unreserved are the bytes of RFC 3986 section 2.3, which every client writes as they are.
func unreserved(c byte) bool {
	return 'a' <= c|0x20 && c|0x20 <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '.' || c == '_' || c == '~'
}

// CoversAll reports whether every path of a pattern is the prefix or below it.
func (p Prefix) CoversAll(q Pattern, spelling Spelling) bool {
	if len(p.segments) > len(q.segments) {
		return false
	}
	for i, want := range p.segments {
		if s := q.segments[i]; s.kind != literal || s.text != want && (spelling == Exact || !equalFold(s.text, want)) {
			return false
		}
	}
	return true
}

// Misses reports whether no path of a pattern is the prefix or below it.
func (p Prefix) Misses(q Pattern, spelling Spelling) bool {
	_, open := q.Rest()
	if len(q.segments) < len(p.segments) && !open {
		return true
	}
	for i, s := range q.segments[:min(len(q.segments), len(p.segments))] {
		if s.kind != literal || s.text == p.segments[i] {
			continue
		}
		if spelling == Exact || !equalFold(withoutExtension(s.text), withoutExtension(p.segments[i])) {
			return true
		}
	}
	return false
}

// Covers reports whether every path that q takes is one that p takes too, whatever the methods. The zero pattern covers nothing and is
// covered by nothing.
func (p Pattern) Covers(q Pattern) bool {
	if len(p.segments) == 0 || len(q.segments) == 0 {
		return false
	}
	for i, s := range p.segments {
		if s.kind == rest {
			return i <= len(q.segments)-1 // "/a/{rest...}" needs the slash behind "/a"
		}
		if i >= len(q.segments) || !s.covers(q.segments[i]) {
			return false
		}
	}
	return len(p.segments) == len(q.segments)
}

// covers reports whether every text that o takes is one that s, which is no rest, takes too.
func (s segment) covers(o segment) bool {
	switch {
	case o.kind == rest:
		return false
	case s.kind == literal:
		return o.kind == literal && o.text == s.text
	case s.kind == suffixed:
		return (o.kind == suffixed && strings.HasSuffix(o.text, s.text)) || o.kind == literal && len(o.text) > len(s.text) && strings.HasSuffix(o.text, s.text)
	}
	return o.kind != literal || o.text != ""
}
