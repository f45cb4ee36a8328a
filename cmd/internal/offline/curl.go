package offline

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/sallyport-dev/sallyport/authz"
)

// IsCurl reports whether a text is a curl command line.
func IsCurl(text string) bool {
	first, _, _ := strings.Cut(strings.TrimLeft(text, " \t\r\n$"), " ")
	return strings.TrimRight(first, "\r\n\\") == "curl"
}

// ReadCurl reads a curl command line as people paste it: quotes, and lines that end in a backslash. An option that it does not know is
// an error, because it could change what is sent.
func ReadCurl(text string) (*Case, error) {
	words, err := shellWords(strings.TrimLeft(text, " \t\r\n$"))
	if err != nil {
		return nil, fmt.Errorf("read the curl line: %w", err)
	}
	if len(words) == 0 || words[0] != "curl" {
		return nil, errors.New("read the curl line: it does not begin with curl")
	}
	c := &curl{}
	if err := c.options(words[1:]); err != nil {
		return nil, fmt.Errorf("read the curl line: %w", err)
	}
	made, err := c.made()
	if err != nil {
		return nil, fmt.Errorf("read the curl line: %w", err)
	}
	return made, nil
}

// curl is a command line as far as it was read.
type curl struct {
	method, url string
	headers     []authz.Field
	unsent      []string // headers of curl's own that "-H 'Name:'" takes back
	data        []string
	json        bool
	get, head   bool
	asIs        bool
}

// Options that change nothing of what a gate sees.
var (
	curlIgnored = []string{
		"-s", "--silent", "-S", "--show-error", "-v", "--verbose", "-i", "--include", "-k", "--insecure", "-L", "--location", "-f", "--fail",
		"--compressed-ssh", "-N", "--no-buffer", "--http1.1", "--http2", "-#", "--progress-bar", "-4", "-6",
	}
	curlIgnoredWithValue = []string{
		"-o", "--output", "-w", "--write-out", "-m", "--max-time", "--connect-timeout", "--cacert", "--retry", "--resolve", "--connect-to", "-x", "--proxy",
	}
)

// curlValued are the options that take a value, by their names.
var curlValued = map[string]func(*curl, string) error{
	"-X":               func(c *curl, v string) error { c.method = v; return nil },
	"--request":        func(c *curl, v string) error { c.method = v; return nil },
	"--url":            (*curl).target,
	"-H":               (*curl).header,
	"--header":         (*curl).header,
	"-d":               (*curl).post,
	"--data":           (*curl).post,
	"--data-ascii":     (*curl).post,
	"--data-raw":       func(c *curl, v string) error { c.data = append(c.data, v); return nil },
	"--data-binary":    (*curl).post,
	"--data-urlencode": (*curl).encoded,
	"--json":           func(c *curl, v string) error { c.json = true; return c.post(v) },
	"-A":               func(c *curl, v string) error { return c.header("user-agent: " + v) },
	"--user-agent":     func(c *curl, v string) error { return c.header("user-agent: " + v) },
	"-b":               (*curl).cookie,
	"--cookie":         (*curl).cookie,
	"-u":               refusedUser,
	"--user":           refusedUser,
	"--oauth2-bearer":  func(c *curl, v string) error { return c.header("authorization: Bearer " + v) },
}

// refusedUser keeps a password out: a gate takes no such credential, and curl leaves it out where the line holds another.
func refusedUser(*curl, string) error {
	return errors.New("a user and password (-u) are no credential here: use -H 'Authorization: Bearer ...'")
}

var curlSwitches = map[string]func(*curl){
	"-G": func(c *curl) { c.get = true }, "--get": func(c *curl) { c.get = true },
	"-I": func(c *curl) { c.head = true }, "--head": func(c *curl) { c.head = true },
	"--path-as-is": func(c *curl) { c.asIs = true },
	"--compressed": func(c *curl) {
		c.headers = append(c.headers, authz.Field{Name: "accept-encoding", Value: "deflate, gzip"})
	},
}

// options reads words: --name value, --name=value is curl's error too, -Xvalue, and switches written together (-sSL).
func (c *curl) options(words []string) error {
	for len(words) > 0 {
		word := words[0]
		words = words[1:]
		if word == "--" || !strings.HasPrefix(word, "-") || word == "-" {
			if word != "--" {
				if err := c.target(word); err != nil {
					return err
				}
			}
			continue
		}
		for word != "" {
			name, rest := word, ""
			if !strings.HasPrefix(word, "--") && len(word) > 2 {
				name, rest = word[:2], word[2:]
			}
			used, more, err := c.option(name, rest, words)
			if err != nil {
				return err
			}
			words = words[used:]
			if word = ""; more {
				word = "-" + rest
			}
		}
	}
	return nil
}

// option reads one option. Rest is what stands behind a short one in its word; more says that it is further switches.
func (c *curl) option(name, rest string, words []string) (used int, more bool, err error) {
	if set := curlSwitches[name]; set != nil {
		set(c)
		return 0, rest != "", nil
	}
	for _, ignored := range curlIgnored {
		if ignored == name {
			return 0, rest != "", nil
		}
	}
	take := curlValued[name]
	for _, ignored := range curlIgnoredWithValue {
		if ignored == name {
			take = func(*curl, string) error { return nil }
		}
	}
	switch {
	case take == nil:
		name, _, _ = strings.Cut(name, "=") // what stands behind could be a secret
		return 0, false, fmt.Errorf("the option %s is not understood here", name)
	case rest != "":
		return 0, false, take(c, rest)
	case len(words) == 0:
		return 0, false, fmt.Errorf("the option %s has no value", name)
	}
	return 1, false, take(c, words[0])
}

func (c *curl) target(text string) error {
	if c.url != "" {
		return errors.New("it has two URLs")
	}
	if !strings.Contains(text, "://") {
		text = "http://" + text // as curl guesses
	}
	text, _, _ = strings.Cut(text, "#") // a fragment is never sent
	_, authority, _ := strings.Cut(text, "://")
	if end := strings.IndexAny(authority, "/?"); end >= 0 {
		authority = authority[:end]
	}
	if strings.Contains(authority, "@") {
		return errors.New("the URL holds a user, whose password is a second credential: use -H")
	}
	c.url = text
	return nil
}

func (c *curl) header(text string) error {
	if strings.HasPrefix(text, "@") {
		return errors.New("headers from a file (@) are not read here")
	}
	if strings.ContainsAny(text, "\r\n") {
		return errors.New("a header of more than one line")
	}
	name, value, ok := strings.Cut(text, ":")
	switch {
	case ok && strings.TrimSpace(value) == "":
		c.unsent = append(c.unsent, strings.ToLower(strings.TrimSpace(name)))
		return nil
	case !ok:
		if name, ok = strings.CutSuffix(text, ";"); !ok {
			return errors.New("a header without a colon")
		}
	}
	c.headers = append(c.headers, authz.Field{Name: strings.ToLower(strings.TrimSpace(name)), Value: strings.TrimSpace(value)})
	return nil
}

func (c *curl) cookie(text string) error {
	if !strings.Contains(text, "=") {
		return errors.New("cookies from a file are not read here: write them in the line")
	}
	return c.header("cookie: " + text)
}

func (c *curl) post(text string) error {
	if strings.HasPrefix(text, "@") {
		return errors.New("data from a file (@) is not read here: write it in the line")
	}
	c.data = append(c.data, text)
	return nil
}

// encoded is --data-urlencode: =content, name=content or content.
func (c *curl) encoded(text string) error {
	name, value, named := strings.Cut(text, "=")
	switch {
	case !named && strings.Contains(text, "@"):
		return errors.New("data from a file (@) is not read here: write it in the line")
	case !named:
		return c.post(strings.ReplaceAll(url.QueryEscape(text), "+", "%20"))
	case name == "":
		return c.post(strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
	}
	return c.post(name + "=" + strings.ReplaceAll(url.QueryEscape(value), "+", "%20"))
}

// made is the request that curl would send.
func (c *curl) made() (*Case, error) {
	host, path, ok := splitURL(c.url)
	if !ok {
		return nil, errors.New("it has no http or https URL")
	}
	if dotted(path) && !c.asIs {
		return nil, errors.New("curl resolves the dots of the path before it sends it: write the path that results, or --path-as-is")
	}
	switch {
	case strings.ContainsAny(path, " \t\r\n"):
		return nil, errors.New("curl sends no URL with white space in it: write %20")
	case c.head && len(c.data) > 0 && !c.get:
		return nil, errors.New("curl takes -I and -d together only with -G")
	}
	q := Request{Method: c.method, Host: host, Target: path}
	separator := "&"
	if c.json {
		separator = ""
	}
	data := strings.Join(c.data, separator)
	switch {
	case c.get && len(c.data) > 0:
		mark := "?"
		if strings.Contains(path, "?") {
			mark = "&"
		}
		q.Target += mark + data
	case len(c.data) > 0:
		q.Body, q.MediaType = []byte(data), "application/x-www-form-urlencoded"
		if c.json {
			q.MediaType = "application/json"
		}
		if slices.Contains(c.unsent, "content-type") {
			q.MediaType = ""
		}
	}
	if q.Method == "" {
		switch {
		case c.head:
			q.Method = "HEAD"
		case q.Body != nil:
			q.Method = "POST"
		default:
			q.Method = "GET"
		}
	}
	made := &Case{Name: "curl", File: "curl"}
	for _, field := range c.headers {
		if field.Name == "host" {
			q.Host = field.Value
			continue
		}
		q.Headers = append(q.Headers, field)
	}
	made.Request = q
	return made, nil
}

// dotted reports whether a path has a segment of one or two dots.
func dotted(target string) bool {
	path, _, _ := strings.Cut(target, "?")
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// shellWords splits a line as a shell does, with quotes and backslashes, and refuses what a shell would put something else for.
func shellWords(text string) ([]string, error) {
	s := &shell{text: strings.ReplaceAll(text, "\r\n", "\n")}
	for s.text != "" {
		if err := s.next(); err != nil {
			return nil, err
		}
	}
	s.end()
	return s.words, nil
}

type shell struct {
	text    string
	words   []string
	word    strings.Builder
	started bool
}

func (s *shell) end() {
	if s.started {
		s.words = append(s.words, s.word.String())
	}
	s.word.Reset()
	s.started = false
}

func (s *shell) write(text string) {
	s.word.WriteString(text)
	s.started = true
}

// next reads one piece of the line.
func (s *shell) next() error {
	first := s.text[0]
	rest := s.text[1:]
	switch first {
	case ' ', '\t':
		s.end()
	case '\n':
		s.end()
		if strings.TrimSpace(rest) != "" {
			return errors.New("a second command, or a line that does not end in a backslash")
		}
	case '\\':
		switch {
		case rest == "":
			return errors.New("it ends in a backslash")
		case rest[0] != '\n':
			s.write(rest[:1])
		}
		rest = rest[1:]
	case '\'':
		quoted, after, ok := strings.Cut(rest, "'")
		if !ok {
			return errors.New("a quote is not closed")
		}
		s.write(quoted)
		rest = after
	case '"':
		return s.double(rest)
	case '$', '`', '|', '&', ';', '<', '>', '(', ')':
		return fmt.Errorf("%q outside of quotes is the shell's: write what it stands for", first)
	default:
		s.write(s.text[:1])
	}
	s.text = rest
	return nil
}

// double reads what stands between double quotes.
func (s *shell) double(rest string) error {
	s.write("")
	for i := 0; i < len(rest); i++ {
		switch c := rest[i]; c {
		case '"':
			s.text = rest[i+1:]
			return nil
		case '$', '`':
			return fmt.Errorf("%q in double quotes is the shell's: write what it stands for", c)
		case '\\':
			if i++; i == len(rest) {
				return errors.New("it ends in a backslash")
			}
			if !strings.ContainsRune("\"\\$`\n", rune(rest[i])) {
				s.write("\\")
			}
			if rest[i] != '\n' {
				s.write(rest[i : i+1])
			}
		default:
			s.write(rest[i : i+1])
		}
	}
	return errors.New("a quote is not closed")
}
