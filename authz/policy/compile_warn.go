package policy

import (
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
)

// warn notes a doubt about a place of a file, which does not keep the policy from loading.
func (c *compiler) warn(src *source, at strictyaml.Pos, hint, format string, args ...any) {
	d := strictyaml.NewDecoder(src.doc)
	d.ErrorAt(at, hint, format, args...)
	c.warnings = append(c.warnings, d.Errors()...)
}
