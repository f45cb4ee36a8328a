package openapi

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/sallyport-dev/sallyport/authz/pattern"
)

func TestOperation(t *testing.T) {
	d := read(t, "petstore.yaml")
	for _, tt := range []struct{ method, path, want string }{
		{"GET", "/v1/pets", "listPets"},
		{"GET", "/v1/pets/{pet_id}", "getPet"},
		{"GET", "/v1/pets/{id}", "getPet"},
		{"DELETE", "/v1/pets/{x}", "deletePet"},
		{"GET", "/pets", ""},
		{"PATCH", "/v1/pets", ""},
		{"get", "/v1/pets", ""},
		{"GET", "/v1/pets/{id}.json", ""},
		{"GET", "/v1/pets/{rest...}", ""},
		{"GET", "/v1/pets/{$}", ""},
		{"GET", "/v1/pets/7", ""},
		{"GET", "/v1/pets/{", ""},
		{"GET", "", ""},
	} {
		op, ok := d.Operation(tt.method, tt.path)
		if ok != (tt.want != "") || ok && op.ID != tt.want {
			t.Errorf("%s %s: %v %v", tt.method, tt.path, op, ok)
		}
	}
	if _, ok := new(Document).Operation("GET", "/"); ok {
		t.Error("an empty document has an operation")
	}
}

// What `policy check` lists: operations that no rule is sure to judge, and rules for what the document does not know.
func TestUnruledAndUndescribed(t *testing.T) {
	d := read(t, "petstore.yaml")
	for _, tt := range []struct {
		name        string
		patterns    []string
		unruled     string
		undescribed string
	}{
		{"each its own", []string{"GET,POST /v1/pets", "GET,DELETE /v1/pets/{id}", "PUT /v1/users/{u}/pets/{p}", "GET /v1/health"}, "", ""},
		{"all by one", []string{"GET,POST,PUT,DELETE /v1/{rest...}"}, "", ""},
		{"no rules", nil, "listPets createPet getPet deletePet PUT /v1/users/{userId}/pets/{pet-id} GET /v1/health", ""},
		{"a narrower rule judges some", []string{"GET /v1/pets/{id}.json", "GET,POST /v1/pets", "DELETE /v1/pets/{id}", "PUT /v1/users/{u}/pets/7", "GET /v1/{name}"},
			"getPet PUT /v1/users/{userId}/pets/{pet-id}", "GET of GET /v1/pets/{id}.json PUT of PUT /v1/users/{u}/pets/7"},
		{"methods that nobody described", []string{"GET,HEAD,OPTIONS,PATCH /v1/pets", "POST /v1/{rest...}", "GET,DELETE /v1/pets/{id}", "PUT /v1/users/{u}/pets/{p}", "GET /v1/health", "HEAD /v2"},
			"", "PATCH of GET,HEAD,OPTIONS,PATCH /v1/pets HEAD of HEAD /v2"},
	} {
		var patterns []pattern.Pattern
		for _, text := range tt.patterns {
			p, err := pattern.Parse(text)
			if err != nil {
				t.Fatal(err)
			}
			patterns = append(patterns, p)
		}
		var unruled, undescribed []string
		for _, op := range d.Unruled(patterns) {
			name := op.ID
			if name == "" {
				name = op.Method + " " + op.Path
			}
			unruled = append(unruled, name)
		}
		for _, u := range d.Undescribed(patterns) {
			undescribed = append(undescribed, u.Method+" of "+u.Pattern.String())
		}
		if diff := cmp.Diff([]string{tt.unruled, tt.undescribed}, []string{strings.Join(unruled, " "), strings.Join(undescribed, " ")}); diff != "" {
			t.Errorf("%s: %s", tt.name, diff)
		}
	}
}
