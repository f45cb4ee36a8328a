package offline_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/sallyport-dev/sallyport/cmd/internal/offline"
)

// A curl line is the request that curl would send.
func TestCurl(t *testing.T) {
	for line, want := range map[string]string{
		"curl https://orders.internal/orders/o-1":                                             "GET orders.internal /orders/o-1 [] ",
		"$ curl -sS -v -L orders.internal/a?b=c":                                              "GET orders.internal /a?b=c [] ",
		"curl -sSL -X DELETE http://h/a":                                                      "DELETE h /a [] ",
		"curl -XPUT http://h":                                                                 "PUT h / [] ",
		"curl --url http://h:8080/a#part -I":                                                  "HEAD h:8080 /a [] ",
		"curl http://h/a -H 'X-Tenant:  acme' -H \"Host: orders.internal\"":                   "GET orders.internal /a [{x-tenant acme}] ",
		"curl http://h/a \\\n  -H 'A: it'\\''s' \\\n  -H B\\ :1":                              "GET h /a [{a it's} {b 1}] ",
		"curl http://h/a -d 'x=1' --data-raw '@y'":                                            "POST h /a [] x=1&@y application/x-www-form-urlencoded",
		"curl http://h/a --json '{\"ids\":[1]}'":                                              "POST h /a [] {\"ids\":[1]} application/json",
		"curl http://h/a -H 'content-type: application/json' --data-binary \"{\\\"a\\\":1}\"": "POST h /a [{content-type application/json}] {\"a\":1} application/x-www-form-urlencoded",
		"curl -G http://h/a?z=0 -d x=1 --data-urlencode 'y=a b'":                              "GET h /a?z=0&x=1&y=a%20b [] ",
		"curl -X PATCH http://h/a -d ''":                                                      "PATCH h /a []  application/x-www-form-urlencoded",
		"curl http://h/a -o /dev/null -w '%{http_code}'":                                      "GET h /a [] ",
		"curl --path-as-is http://h/a/../b":                                                   "GET h /a/../b [] ",
		"curl http://h/a -H 'Accept:' -H 'X-Empty;'":                                          "GET h /a [{x-empty }] ",
		"curl http://h/a -H 'Content-Type:' -d a=b":                                           "POST h /a [] a=b ",
		"curl http://h?a=b@c":                                                                 "GET h /?a=b@c [] ",
		"curl http://h/a -b a=b":                                                              "GET h /a [{cookie a=b}] ",
		"curl -G -I http://h/a -d x=1":                                                        "HEAD h /a?x=1 [] ",
	} {
		c, err := offline.ReadCurl(line)
		if err != nil || !offline.IsCurl(line) {
			t.Errorf("%s: %v", line, err)
			continue
		}
		q := c.Request
		got := fmt.Sprintf("%s %s %s %v %s", q.Method, q.Host, q.Target, q.Headers, q.Body)
		if q.Body != nil {
			got += " " + q.MediaType
		}
		if got != want {
			t.Errorf("%s\n%s\nwant %s", line, got, want)
		}
	}
}

// What could mean something else is refused, by name, and without what could be a secret.
func TestCurlRefused(t *testing.T) {
	for line, want := range map[string]string{
		"wget http://h":                       "does not begin with curl",
		"curl":                                "no http or https URL",
		"curl ftp://h/a":                      "no http or https URL",
		"curl http://h/a http://h/b":          "two URLs",
		"curl http://u:secret@h/a":            "the URL holds a user",
		"curl http://h/a -F a=secret":         "the option -F is not understood here",
		"curl http://h/a --aws-sigv4=secret":  "the option --aws-sigv4 is not understood here",
		"curl http://h/a -sT secret":          "the option -T is not understood here",
		"curl http://h/a -H":                  "the option -H has no value",
		"curl http://h/a -H secret":           "a header without a colon",
		"curl http://h/a -d @secret":          "data from a file",
		"curl -u alice:secret http://h/a":     "a user and password (-u) are no credential here",
		"curl --user alice:secret http://h/a": "a user and password (-u) are no credential here",
		"curl http://h/a -b secret.txt":       "cookies from a file",
		"curl -I http://h/a -d secret":        "curl takes -I and -d together only with -G",
		"curl 'http://h/a secret'":            "curl sends no URL with white space in it",
		"curl http://h/a -H 'A: b\nsecret'":   "a header of more than one line",
		"curl http://h/a/../b":                "curl resolves the dots",
		"curl http://h/a?b=1&c=secret":        "is the shell's",
		"curl http://h/a -H \"A: $SECRET\"":   "is the shell's",
		"curl http://h/a -H 'secret":          "a quote is not closed",
		"curl http://h/a -H \"secret":         "a quote is not closed",
		"curl http://h/a \\":                  "ends in a backslash",
		"curl http://h/a\ncurl http://secret": "a second command",
	} {
		_, err := offline.ReadCurl(line)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v; want %s", line, err, want)
		}
	}
}

// Nothing that can be typed makes the reader fall.
func FuzzCurl(f *testing.F) {
	for _, line := range []string{"curl http://h/a -H 'A: b' -d x", "curl \\\n \"a\\", "$ curl -sSLX", "curl '"} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		c, err := offline.ReadCurl(line)
		if (c == nil) == (err == nil) {
			t.Errorf("%v, %v", c, err)
		}
	})
}
