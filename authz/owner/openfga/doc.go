// Package openfga asks OpenFGA whether a user has a relation to an object. It is a room of its own because of OpenFGA's client, and
// because names of users and objects are made here, which a careless encoding would turn into everybody ("user:*") or a group.
//
// It knows nothing of other stores of relations. SpiceDB would be a room beside it, authz/owner/spicedb, with the same three methods:
// CheckBulkPermissions for Check and batch-check, and names of its own, since its object ids have another alphabet. What the two share
// is owner/secrets.
package openfga
