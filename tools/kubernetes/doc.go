// Package kubernetes holds the tests of k8s/ and of the Dockerfile: rendered by the kustomize library, decoded strictly
// into the API's own types, and held to what the manifests promise. A module of its own, so that the product's go.mod stays free of k8s.io.
package kubernetes
