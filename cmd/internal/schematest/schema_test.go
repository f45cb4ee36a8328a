package schematest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/sallyport-dev/sallyport/authz/policy"
	"github.com/sallyport-dev/sallyport/internal/strictyaml"
	"github.com/sallyport-dev/sallyport/ratelimit/limits"
)

// kind is a kind of file: its schema and its loader.
type kind struct {
	name    string
	text    string
	schema  *jsonschema.Schema
	options strictyaml.Options
	load    func([]byte) strictyaml.Errors
	// begins is how texts in Go and Markdown begin that could be of this kind.
	begins string
	// least is how many files the repository has of it.
	least int
}

func kinds(t *testing.T) []kind {
	t.Helper()
	descriptors := descriptorSet(t)
	return []kind{{
		name: "policy", text: policy.Schema(), schema: compile(t, policy.Schema()), begins: "version: 1\n", least: 20,
		load: func(data []byte) strictyaml.Errors {
			_, errs := policy.Parse([]policy.File{{Name: "x.yaml", Data: data}, {Name: "orders" + policy.BlobSuffix, Data: descriptors},
				{Name: "partners" + policy.NetworksSuffix, Data: []byte("10.1.0.0/16\n")}, {Name: "blocked" + policy.NetworksSuffix, Data: []byte("10.2.0.0/16\n")},
				{Name: "shop" + policy.OpenAPISuffix, Data: []byte("openapi: 3.1.0\ninfo: {title: t, version: v}\npaths: {}\n")}})
			return errs
		},
	}, {
		name: "limits", text: limits.Schema(), schema: compile(t, limits.Schema()), begins: "domain: ", least: 10, options: strictyaml.Options{Aliases: true},
		load: func(data []byte) strictyaml.Errors { _, errs := limits.Decode("x.yaml", data); return errs },
	}}
}

// compile reads a schema, which must be one by the draft that it names.
func compile(t *testing.T, text string) *jsonschema.Schema {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", document); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// descriptorSet describes shop.Orders/Read, whose message has an order with an id.
func descriptorSet(t *testing.T) []byte {
	t.Helper()
	message, text, label := descriptorpb.FieldDescriptorProto_TYPE_MESSAGE, descriptorpb.FieldDescriptorProto_TYPE_STRING, descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
	data, err := proto.Marshal(&descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("shop.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Order"), Field: []*descriptorpb.FieldDescriptorProto{{Name: proto.String("id"), Number: proto.Int32(1), Type: &text, Label: &label}}},
			{Name: proto.String("Get"), Field: []*descriptorpb.FieldDescriptorProto{{Name: proto.String("order"), Number: proto.Int32(1), Type: &message, TypeName: proto.String(".shop.Order"), Label: &label}}},
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Orders"), Method: []*descriptorpb.MethodDescriptorProto{
			{Name: proto.String("Read"), InputType: proto.String(".shop.Get"), OutputType: proto.String(".shop.Get")},
		}}},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// document is a YAML text as an editor's YAML 1.2 reads it, in the types of encoding/json. False is a text that is no YAML of ours.
func (k *kind) document(data []byte) (any, bool) {
	doc, errs := strictyaml.ParseWith("x.yaml", data, k.options)
	if len(errs) > 0 {
		return nil, false
	}
	return value(strictyaml.NewDecoder(doc), doc.Root), true
}

func value(d *strictyaml.Decoder, n *strictyaml.Node) any {
	switch n.Kind() {
	case strictyaml.Map:
		m, out := d.OpenMap(n), map[string]any{}
		for _, key := range m.Keys() {
			out[key] = value(d, m.Get(key))
		}
		return out
	case strictyaml.List:
		out := []any{}
		for _, item := range d.List(n) {
			out = append(out, value(d, item))
		}
		return out
	case strictyaml.Int, strictyaml.Float:
		return json.Number(strictyaml.SourceText(n))
	case strictyaml.Bool:
		return strings.EqualFold(strictyaml.SourceText(n), "true")
	case strictyaml.String:
		return strictyaml.SourceText(n)
	}
	return nil
}

// texts are all texts of the repository that could be of the kind, by where they stand: YAML files, and what stands in Markdown and Go.
func texts(t *testing.T, k *kind) map[string][]byte {
	t.Helper()
	found := map[string][]byte{}
	root := filepath.Join("..", "..", "..")
	fences := regexp.MustCompile("(?s)```yaml\n(.*?)\n```")
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == filepath.Join(root, "build") || path != root && strings.HasPrefix(entry.Name(), ".")):
			return fs.SkipDir
		case entry.IsDir():
			return nil
		}
		switch filepath.Ext(path) {
		case ".yaml", ".yml":
			found[path], err = os.ReadFile(path)
		case ".md":
			data, readErr := os.ReadFile(path)
			err = readErr
			for i, fence := range fences.FindAllSubmatch(data, -1) {
				found[fmt.Sprintf("%s, block %d", path, i+1)] = append(fence[1], '\n')
			}
		case ".go":
			err = literals(path, k.begins, found)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// literals gathers the texts of a Go file that begin as files of a kind do.
func literals(path, begins string, into map[string][]byte) error {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	ast.Inspect(file, func(n ast.Node) bool {
		if literal, ok := n.(*ast.BasicLit); ok && literal.Kind == token.STRING {
			if text, err := strconv.Unquote(literal.Value); err == nil && strings.HasPrefix(text, begins) {
				into[set.Position(literal.Pos()).String()] = []byte(text)
			}
		}
		return true
	})
	return nil
}

// Every file of the repository that its loader takes is valid by its schema.
func TestFilesAreValid(t *testing.T) {
	for _, k := range kinds(t) {
		taken := 0
		for path, data := range texts(t, &k) {
			document, ok := k.document(data)
			if !ok || len(k.load(data)) > 0 {
				continue
			}
			taken++
			if err := k.schema.Validate(document); err != nil {
				t.Errorf("%s loads as %s, and is not valid: %v", path, k.name, err)
			}
		}
		if taken < k.least {
			t.Errorf("only %d files of the repository are %s", taken, k.name)
		}
	}
}

// everything is a file with every key that its kind has.
func everything(t *testing.T, k *kind) any {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", k.name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if errs := k.load(data); len(errs) > 0 {
		t.Fatalf("%s does not load:\n%s", k.name, errs.Pretty())
	}
	document, _ := k.document(data)
	if err := k.schema.Validate(document); err != nil {
		t.Fatalf("%s is not valid: %v", k.name, err)
	}
	return document
}

// The file with everything has every key of the schema, so that what is bent below is everything there is.
func TestEverythingIsThere(t *testing.T) {
	for _, k := range kinds(t) {
		text, err := json.Marshal(everything(t, &k))
		if err != nil {
			t.Fatal(err)
		}
		var schema struct {
			Properties map[string]any
			Defs       map[string]struct{ Properties map[string]any } `json:"$defs"`
		}
		if err := json.Unmarshal([]byte(k.text), &schema); err != nil {
			t.Fatal(err)
		}
		objects := schema.Defs
		objects[""] = struct{ Properties map[string]any }{schema.Properties}
		for name, o := range objects {
			for key := range o.Properties {
				if !bytes.Contains(text, []byte(strconv.Quote(key)+":")) {
					t.Errorf("no %s in testdata has the key %q of %q", k.name, key, name)
				}
			}
		}
	}
}

// shape are the words of complaints about keys and types, which a schema can judge.
var shape = regexp.MustCompile(`unknown key|where .* is meant|a map is meant|missing key| is missing$|list of type other than map| is text, not `)

// Whatever one value of a file is bent to, the schema refuses it where the loader does for its shape, and takes it where the loader does.
func TestBentFiles(t *testing.T) {
	for _, k := range kinds(t) {
		var refused, taken atomic.Int64
		work := make(chan bent)
		var judges sync.WaitGroup
		for range runtime.GOMAXPROCS(0) {
			judges.Go(func() {
				for b := range work {
					switch k.judge(t, b) {
					case misshapen:
						refused.Add(1)
					case loads:
						taken.Add(1)
					}
				}
			})
		}
		for _, b := range bend(t, everything(t, &k)) {
			work <- b
		}
		close(work)
		judges.Wait()
		if refused.Load() < 200 || taken.Load() < 50 {
			t.Errorf("%s: only %d files were refused for their shape, and %d loaded", k.name, refused.Load(), taken.Load())
		}
	}
}

// bent is a file of which one value was bent.
type bent struct {
	place string
	data  []byte
}

// What a loader says of a file.
const (
	loads = iota
	misshapen
	otherwise // refused for what the whole says, which no schema knows
)

// judge has loader and schema say what they think of a file.
func (k *kind) judge(t *testing.T, b bent) int {
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(b.data))
	if err != nil {
		t.Error(err)
		return otherwise
	}
	errs, invalid := k.load(b.data), k.schema.Validate(document) // JSON is YAML
	if len(errs) == 0 {
		if invalid != nil {
			t.Errorf("%s, %s: it loads, and is not valid: %v", k.name, b.place, invalid)
		}
		return loads
	}
	if !slices.ContainsFunc(errs, func(err *strictyaml.Error) bool { return shape.MatchString(err.Msg) }) {
		return otherwise
	}
	if invalid == nil {
		t.Errorf("%s, %s: it is valid, and does not load: %v", k.name, b.place, errs)
	}
	return misshapen
}

// others are the values that a value is bent to.
var others = []any{"text", "", json.Number("7"), json.Number("1.5"), true, nil, []any{}, []any{"a", "b"}, map[string]any{}, map[string]any{"x": "y"}}

// bend makes a document with each of its values bent in turn: replaced, removed, or, a map, with one key too many.
func bend(t *testing.T, root any) []bent {
	t.Helper()
	var all []bent
	add := func(format string, args ...any) {
		data, err := json.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, bent{fmt.Sprintf(format, args...), data})
	}
	var walk func(v any, at string, set func(any))
	walk = func(v any, at string, set func(any)) {
		for _, other := range others {
			set(other)
			add("%s becomes %v", at, other)
		}
		set(v)
		switch v := v.(type) {
		case map[string]any:
			v["unknown"] = "x"
			add("%s gets a key", at)
			delete(v, "unknown")
			for key, item := range v {
				delete(v, key)
				add("%s loses %s", at, key)
				v[key] = item
			}
			for key, item := range v {
				walk(item, at+"."+key, func(other any) { v[key] = other })
			}
		case []any:
			for i, item := range v {
				walk(item, fmt.Sprintf("%s[%d]", at, i), func(other any) { v[i] = other })
			}
		}
	}
	walk(root, "", func(v any) { root = v })
	return all
}

// What only YAML can spell: the words of YAML 1.1 for true and false, which the format of limits takes, and a day without quotes.
func TestWordsOfYAML(t *testing.T) {
	all := kinds(t)
	for _, test := range []struct {
		kind kind
		text string
		want bool
	}{
		{all[1], "domain: d\ndescriptors: [{key: a, shadow_mode: yes, quota_mode: Off, rate_limit: {unlimited: ON}}]\n", true},
		{all[1], "domain: d\ndescriptors: [{key: a, quota_mode: yes, detailed_metric: Y, value_to_metric: n, metadata: }]\n", true},
		{all[1], "domain: d\ndescriptors: [{key: a, metadata: x}]\n", false},
		{all[1], "domain: d\ndescriptors: [{key: a, shadow_mode: maybe}]\n", false},
		{all[1], "domain: d\ndescriptors: [{key: a, rate_limit: {unlimited: yes, unit: day}}]\n", false},
		{all[1], "domain: d\ndescriptors: [{key: a, rate_limit: {unlimited: no}}]\n", false},
		{all[1], "domain: 012\ndescriptors: [{key: 1.10, value: 0x7, rate_limit: {unit: dAY}}]\n", true},
		{all[1], "domain: d\ndescriptors: [{key: a, rate_limits: [{requests_per_unit: 1, unit: day}], rate_limit: }]\n", true},
		{all[1], "domain: d\ndescriptors: [{key: a, rate_limits: [{requests_per_unit: 1, unit: day}], rate_limit: {unlimited: true}}]\n", false},
		{all[1], "domain: d\ndescriptors: [{key: a, algorithm: fixed_window}]\n", false},
		{all[0], "version: 1\ntrust_domain: yes\n", true}, // which the loader refuses: it is text to an editor's YAML
		{all[0], "version: 1\ntrust_domain: Example\n", false},
	} {
		document, ok := test.kind.document([]byte(test.text))
		if !ok {
			t.Errorf("%q is no YAML", test.text)
			continue
		}
		if err := test.kind.schema.Validate(document); (err == nil) != test.want {
			t.Errorf("%q: %v", test.text, err)
		}
		if loads := len(test.kind.load([]byte(test.text))) == 0; loads && !test.want {
			t.Errorf("%q loads", test.text)
		}
	}
}
