package policy

// ResponseHeader is a header that an allow puts into the upstream's answer.
type ResponseHeader struct {
	// Name is lower case.
	Name, Value string
	Mode        ResponseMode
}

// ResponseMode says what becomes of a header of the same name that the upstream has set itself.
type ResponseMode uint8

const (
	// ResponseOverwrite replaces the upstream's: for what must hold. It is the zero value.
	ResponseOverwrite ResponseMode = iota
	// ResponseIfAbsent leaves the upstream's: for what an app knows better.
	ResponseIfAbsent
	// ResponseAppend adds a second: for what an app can only narrow, because readers hold themselves to both.
	ResponseAppend
)
