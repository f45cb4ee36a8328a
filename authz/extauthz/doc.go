// Package extauthz is the edge between Envoy's ext_authz gRPC service and [authz]: it turns a CheckRequest into an authz.Request and
// a decision into a CheckResponse, and judges nothing itself. It is the only importer of Envoy's authorization API, because that API
// has traps (an empty response allows, an unset append action adds a second header) which one place can avoid for everybody.
package extauthz

// ServiceName is the service's full gRPC name, for health reports and access lists.
const ServiceName = "envoy.service.auth.v3.Authorization"
