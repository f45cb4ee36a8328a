package policy

// Body says what a rule reads of a request's body, all of it in one pass.
type Body struct {
	// Source is SourceBody, SourceForm or SourceGRPC: a rule reads one kind of body.
	Source Source
	// References are what is read, in the order of their Index.
	References []Reference
}
