package redisdial

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/sallyport-dev/sallyport/ratelimit/storetest"
)

// A client that is given sentinels ends up at the server that they call the master.
func TestSentinelsLeadToTheMaster(t *testing.T) {
	master := storetest.StartValkey(t)
	sentinel := startSentinel(t, "main", master)
	c, err := New(Options{URL: "redis+sentinel://main@" + sentinel + "/1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Set(t.Context(), "k", "v", 0).Err(); err != nil {
		t.Fatal(err)
	}
	direct, err := New(Options{URL: "redis://" + master + "/1"})
	if err != nil {
		t.Fatal(err)
	}
	defer direct.Close()
	if got, err := direct.Get(t.Context(), "k").Result(); err != nil || got != "v" {
		t.Errorf("the master holds %q, %v; want what was written through the sentinels", got, err)
	}
	stranger, err := New(Options{URL: "redis+sentinel://other@" + sentinel})
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	if err := stranger.Ping(t.Context()).Err(); err == nil {
		t.Error("a name that the sentinels do not know leads somewhere")
	}
}

// startSentinel speaks as much of a sentinel's protocol as finding a master takes.
func startSentinel(t *testing.T, name, master string) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(master)
	if err != nil {
		t.Fatal(err)
	}
	found := fmt.Sprintf("*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(host), host, len(port), port)
	var mu sync.Mutex
	var open []net.Conn
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			mu.Lock()
			open = append(open, c)
			mu.Unlock()
			go answerAsSentinel(c, name, found)
		}
	}()
	t.Cleanup(func() {
		l.Close()
		mu.Lock()
		defer mu.Unlock()
		for _, c := range open {
			c.Close()
		}
	})
	return l.Addr().String()
}

func answerAsSentinel(c net.Conn, name, found string) {
	in := bufio.NewReader(c)
	for {
		words, err := readWords(in)
		if err != nil {
			return
		}
		answer := "-ERR unknown command\r\n"
		switch said := strings.ToLower(strings.Join(words, " ")); {
		case said == "sentinel get-master-addr-by-name "+name:
			answer = found
		case strings.HasPrefix(said, "sentinel get-master-addr-by-name"):
			answer = "*-1\r\n"
		case strings.HasPrefix(said, "sentinel sentinels"):
			answer = "*0\r\n"
		case strings.HasPrefix(said, "subscribe"):
			answer = ""
		}
		if _, err := io.WriteString(c, answer); err != nil {
			return
		}
	}
}

// readWords reads a command: an array of bulk strings.
func readWords(in *bufio.Reader) ([]string, error) {
	line, err := in.ReadString('\n')
	if err != nil {
		return nil, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(line, "*")))
	if err != nil {
		return nil, err
	}
	words := make([]string, n)
	for i := range words {
		if _, err := in.ReadString('\n'); err != nil { // the length: no word of these holds a newline
			return nil, err
		}
		word, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		words[i] = strings.TrimSuffix(word, "\r\n")
	}
	return words, nil
}
