package postgrestest

import (
	"os"
	"testing"
)

// The server starts for whoever runs the tests; for root, who has to be somebody else, with user namespaces and, as in many containers,
// without.
func TestStarts(t *testing.T) {
	found := Find(t)
	ways := map[string]user{"as usual": who(found)}
	if os.Geteuid() == 0 {
		ways["as nobody"] = nobody()
	}
	for name, as := range ways {
		t.Run(name, func(t *testing.T) {
			s := start(t, found, as)
			s.Exec(t, "CREATE TABLE a (b text)")
			s.Kill()
		})
	}
}
