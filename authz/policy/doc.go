// Package policy turns policy files into an immutable [Policy]: who issues tokens, which services there are, and the rule for each
// request. Everything that can be wrong is found at load and shown with file, line and column; nothing is compiled, looked up by
// name or allocated per rule when a request comes. It is pure: bytes in, values out.
package policy
