package main

import (
	"encoding/json"
	"testing"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// A schema is printed as it is, so that it can be written into a file.
func TestSchemas(t *testing.T) {
	for kind, want := range map[string]string{"policy": policy.Schema(), "limits": limits.Schema()} {
		code, out, errs := command(t, nil, kind, "schema")
		if code != 0 || out != want || errs != "" || !json.Valid([]byte(out)) {
			t.Errorf("%s schema: exit %d, %q, %d bytes of %d", kind, code, errs, len(out), len(want))
		}
		if code, _, _ := command(t, nil, kind, "schema", "x"); code != 2 {
			t.Errorf("%s schema x: exit %d", kind, code)
		}
	}
}
