package jwt

import (
	"errors"

	"github.com/sallyport-dev/sallyport/authz"
	"github.com/sallyport-dev/sallyport/authz/strictjson"
)

var errNoObject = errors.New("jwt: not a JSON object")

// object decodes one part of a token: canonical base64url, then strict JSON, and an object.
func object(part string) (strictjson.Value, error) {
	data, err := decode(part)
	if err != nil {
		return strictjson.Value{}, err
	}
	root, err := strictjson.Parse(data, limits)
	if err == nil && root.Kind() != strictjson.Object {
		err = errNoObject
	}
	if err != nil {
		return strictjson.Value{}, refuseFor(authz.DetailMalformed, err)
	}
	return root, nil
}

func has(v strictjson.Value, name string) bool {
	_, ok := v.Member(name)
	return ok
}

func text(v strictjson.Value, name string) (string, bool) {
	member, ok := v.Member(name)
	if !ok {
		return "", false
	}
	return member.Text()
}
