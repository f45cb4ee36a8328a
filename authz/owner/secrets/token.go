package secrets

import (
	"fmt"
	"strings"
	"sync"
)

// Token is a bearer token in a file, read again when the file changed. It is safe for concurrent use.
type Token struct {
	path     string
	password bool

	mu    sync.Mutex
	stamp stamp
	value string
}

// NewToken is the token in the file at path, which is not opened yet.
func NewToken(path string) *Token { return &Token{path: path} }

// NewPassword is the password in the file at path: all of it but a newline at its end, of any bytes that are no control characters.
func NewPassword(path string) *Token { return &Token{path: path, password: true} }

// Read is the token as the file has it now, without the space around it. While the file cannot be read, is empty or holds what no header
// can carry, it is the last good one: whether that is still worth something is for the backend to say. An error means that there was
// never one. It costs a stat(2) where nothing changed.
func (t *Token) Read() (string, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now, err := stampOf(t.path)
	if err == nil && now.same(t.stamp) {
		return t.value, nil
	}
	if err == nil {
		err = t.load(now)
	}
	if err != nil && t.value == "" {
		return "", err
	}
	return t.value, nil
}

// load takes the file's token over. Only a good one is remembered with its stamp, so that a bad file is looked at again.
func (t *Token) load(now stamp) error {
	data, err := read(t.path)
	if err != nil {
		return err
	}
	value := strings.TrimSpace(string(data))
	if t.password {
		value = strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r")
	}
	if value == "" {
		return fmt.Errorf("secrets: %s is empty", t.path)
	}
	if strings.ContainsFunc(value, func(r rune) bool { return r < ' ' || r == 0x7f || !t.password && (r == ' ' || r > '~') }) {
		return fmt.Errorf("secrets: %s holds more than one token, or what is none", t.path)
	}
	t.value, t.stamp = value, now
	return nil
}
