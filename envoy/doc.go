// Package envoy holds the reference configuration of Envoy and the shipped limits that go with it: a hardened edge,
// a hardened sidecar and the demo's Envoy, as plain files with named holes that [Render] fills in. It is a room of its own because the files are a
// contract between three parties (Envoy, the two gates, the limits), and its tests are where the three are held to each other.
//
// The files are the documentation too: each names its holes and their kinds in the comment at its top, and [Render]
// reads them there, so that the comment cannot be wrong.
package envoy
