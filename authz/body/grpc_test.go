package body_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"pgregory.net/rapid"

	"github.com/sallyport-dev/sallyport/authz/body"
)

// fd is a field of the test's messages.
func fd(name string, number int32, kind descriptorpb.FieldDescriptorProto_Type, repeated bool, message string) *descriptorpb.FieldDescriptorProto {
	label := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
	if repeated {
		label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
	}
	f := &descriptorpb.FieldDescriptorProto{Name: &name, Number: &number, Type: &kind, Label: &label}
	if message != "" {
		f.TypeName = proto.String(".shop." + message)
	}
	return f
}

const (
	tString  = descriptorpb.FieldDescriptorProto_TYPE_STRING
	tInt32   = descriptorpb.FieldDescriptorProto_TYPE_INT32
	tInt64   = descriptorpb.FieldDescriptorProto_TYPE_INT64
	tSint64  = descriptorpb.FieldDescriptorProto_TYPE_SINT64
	tUint64  = descriptorpb.FieldDescriptorProto_TYPE_UINT64
	tFixed64 = descriptorpb.FieldDescriptorProto_TYPE_FIXED64
	tDouble  = descriptorpb.FieldDescriptorProto_TYPE_DOUBLE
	tEnum    = descriptorpb.FieldDescriptorProto_TYPE_ENUM
	tGroup   = descriptorpb.FieldDescriptorProto_TYPE_GROUP
	tBytes   = descriptorpb.FieldDescriptorProto_TYPE_BYTES
	tBool    = descriptorpb.FieldDescriptorProto_TYPE_BOOL
	tMessage = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
)

// shop is the descriptor set of a service with one of everything:
//
//	message Owner { string id = 1; }
//	message Item { string id = 1; int64 number = 2; repeated int64 parts = 3; Owner owner = 4; }
//	message Cancel { string id = 1; Owner owner = 2; repeated Item items = 3; repeated string ids = 4; int64 number = 5; repeated int64 numbers = 6;
//	  bytes raw = 7; bool flag = 8; oneof who { string user = 9; string group = 10; } sint64 delta = 11; fixed64 fixed = 12; int32 small = 13;
//	  uint64 large = 14; string note = 15; double price = 16; Kind kind = 17; map<string, Owner> labels = 18; repeated Cancel more = 19; }
//	enum Kind { NONE = 0; }
//	service Orders { rpc Cancel(Cancel) returns (Cancel); rpc Feed(stream Cancel) returns (Cancel); }
func shop(t testing.TB) *descriptorpb.FileDescriptorSet {
	t.Helper()
	cancel := &descriptorpb.DescriptorProto{Name: proto.String("Cancel"), OneofDecl: []*descriptorpb.OneofDescriptorProto{{Name: proto.String("who")}}, Field: []*descriptorpb.FieldDescriptorProto{
		fd("id", 1, tString, false, ""), fd("owner", 2, tMessage, false, "Owner"), fd("items", 3, tMessage, true, "Item"), fd("ids", 4, tString, true, ""),
		fd("number", 5, tInt64, false, ""), fd("numbers", 6, tInt64, true, ""), fd("raw", 7, tBytes, false, ""), fd("flag", 8, tBool, false, ""),
		fd("user", 9, tString, false, ""), fd("group", 10, tString, false, ""), fd("delta", 11, tSint64, false, ""), fd("fixed", 12, tFixed64, false, ""),
		fd("small", 13, tInt32, false, ""), fd("large", 14, tUint64, false, ""), fd("note", 15, tString, false, ""),
		fd("price", 16, tDouble, false, ""), fd("kind", 17, tEnum, false, "Kind"), fd("labels", 18, tMessage, true, "Cancel.LabelsEntry"),
		fd("more", 19, tMessage, true, "Cancel"),
	}}
	cancel.Field[8].OneofIndex, cancel.Field[9].OneofIndex = proto.Int32(0), proto.Int32(0)
	cancel.NestedType = []*descriptorpb.DescriptorProto{{
		Name: proto.String("LabelsEntry"), Options: &descriptorpb.MessageOptions{MapEntry: proto.Bool(true)},
		Field: []*descriptorpb.FieldDescriptorProto{fd("key", 1, tString, false, ""), fd("value", 2, tMessage, false, "Owner")},
	}}
	method := func(name string, streams bool) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{Name: &name, InputType: proto.String(".shop.Cancel"), OutputType: proto.String(".shop.Cancel"), ClientStreaming: &streams}
	}
	return &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("shop.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Owner"), Field: []*descriptorpb.FieldDescriptorProto{fd("id", 1, tString, false, "")}},
			{Name: proto.String("Item"), Field: []*descriptorpb.FieldDescriptorProto{fd("id", 1, tString, false, ""), fd("number", 2, tInt64, false, ""), fd("parts", 3, tInt64, true, ""), fd("owner", 4, tMessage, false, "Owner")}},
			cancel,
		},
		EnumType: []*descriptorpb.EnumDescriptorProto{{Name: proto.String("Kind"), Value: []*descriptorpb.EnumValueDescriptorProto{{Name: proto.String("NONE"), Number: proto.Int32(0)}}}},
		Service:  []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Orders"), Method: []*descriptorpb.MethodDescriptorProto{method("Cancel", false), method("Feed", true)}}},
	}}}
}

func set(t testing.TB) []byte {
	t.Helper()
	data, err := proto.Marshal(shop(t))
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func grpcPlan(t testing.TB, paths ...string) *body.GRPCPlan {
	t.Helper()
	plan, err := body.GRPC(set(t), "/shop.Orders/Cancel", paths)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// frame puts a message into the one frame of a unary call.
func frame(message []byte) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
}

func text(number protowire.Number, s string) []byte {
	return protowire.AppendString(protowire.AppendTag(nil, number, protowire.BytesType), s)
}

func varint(number protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), v)
}

func join(parts ...[]byte) []byte {
	var all []byte
	for _, part := range parts {
		all = append(all, part...)
	}
	return all
}

func nested(number protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), join(parts...))
}

// An id in a message is the one that every decoder finds, or none is found.
func TestGRPC(t *testing.T) {
	packed := func(number protowire.Number, values ...uint64) []byte {
		var content []byte
		for _, v := range values {
			content = protowire.AppendVarint(content, v)
		}
		return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), content)
	}
	for name, test := range map[string]struct {
		path    string
		message []byte
		want    string
	}{
		"a text":                            {"id", text(1, "alice"), "one string:alice"},
		"a text among others":               {"id", join(text(15, "note"), text(1, "alice"), varint(8, 1)), "one string:alice"},
		"none":                              {"id", text(15, "note"), "missing"},
		"no field at all":                   {"id", nil, "missing"},
		"twice":                             {"id", join(text(1, "alice"), text(1, "bob")), "ambiguous"},
		"another field twice":               {"id", join(text(1, "alice"), text(15, "a"), text(15, "b")), "ambiguous"},
		"a field nobody knows":              {"id", join(text(1, "alice"), text(99, "bob")), "ambiguous"},
		"of another wire type":              {"id", varint(1, 7), "malformed"},
		"another field of another type":     {"id", join(text(1, "alice"), varint(15, 7)), "malformed"},
		"a group":                           {"id", join(text(1, "alice"), []byte{15<<3 | 3, 15<<3 | 4}), "malformed"},
		"a group nobody knows":              {"id", join(text(1, "alice"), []byte{14<<3 | 3, 14<<3 | 4}), "malformed"},
		"written as nothing":                {"id", text(1, ""), "one string:"},
		"a map beside it, a key twice":      {"id", join(nested(18, text(1, "a")), nested(18, text(1, "a")), text(1, "alice")), "one string:alice"},
		"an unknown field where none reads": {"id", join(nested(2, text(7, "x")), text(1, "alice")), "one string:alice"},
		"no UTF-8":                          {"id", text(1, "al\xffice"), "malformed"},
		"cut":                               {"id", text(1, "alice")[:4], "malformed"},
		"field number zero":                 {"id", []byte{0x02, 0x00}, "malformed"},
		"an end without its group":          {"id", []byte{0x0c}, "malformed"},
		"in a message":                      {"owner.id", nested(2, text(1, "alice")), "one string:alice"},
		"the message is absent":             {"owner.id", text(1, "alice"), "missing"},
		"the message is empty":              {"owner.id", nested(2), "missing"},
		"the message twice, to be merged":   {"owner.id", join(nested(2, text(1, "alice")), nested(2, text(1, "bob"))), "ambiguous"},
		"the message twice, once empty":     {"owner.id", join(nested(2, text(1, "alice")), nested(2)), "ambiguous"},
		"unknown in the message":            {"owner.id", nested(2, text(1, "alice"), text(7, "x")), "ambiguous"},
		"the message is a number":           {"owner.id", varint(2, 1), "malformed"},
		"a list":                            {"ids[*]", join(text(4, "a"), text(1, "x"), text(4, "b")), "many string:a string:b"},
		"an empty list is none":             {"ids[*]", nil, "missing"},
		"messages of a list":                {"items[*].id", join(nested(3, text(1, "a")), nested(3, text(1, "b"))), "many string:a string:b"},
		"one of them without an id":         {"items[*].id", join(nested(3, text(1, "a")), nested(3, varint(2, 7))), "many string:a none:"},
		"one of them with two ids":          {"items[*].id", join(nested(3, text(1, "a"), text(1, "b"))), "ambiguous"},
		"one of them without an owner":      {"items[*].owner.id", join(nested(3, nested(4, text(1, "a"))), nested(3)), "many string:a none:"},
		"one of them, the owner empty":      {"items[*].owner.id", join(nested(3, nested(4, text(1, "a"))), nested(3, nested(4))), "many string:a none:"},
		"one of them with two owners":       {"items[*].owner.id", nested(3, nested(4, text(1, "a")), nested(4, text(1, "b"))), "ambiguous"},
		"two lists at once":                 {"items[*].id", join(nested(3, text(1, "a")), text(4, "x"), nested(3, text(1, "b"))), "many string:a string:b"},
		"lists in a list":                   {"items[*].parts[*]", join(nested(3, packed(3, 1, 2)), nested(3, packed(3, 3))), "many number:1 number:2 number:3"},
		"an absent list in a list":          {"items[*].parts[*]", join(nested(3, packed(3, 1)), nested(3)), "many number:1 none:"},
		"an empty list in a list":           {"items[*].parts[*]", join(nested(3, packed(3, 1)), nested(3, packed(3))), "many number:1 none:"},
		"a number":                          {"number", varint(5, 7), "one number:7"},
		"a negative number":                 {"number", varint(5, 1<<64-1), "one number:-1"},
		"a number of another wire type":     {"number", text(5, "7"), "malformed"},
		"numbers, packed":                   {"numbers[*]", packed(6, 1, 2), "many number:1 number:2"},
		"numbers, one by one":               {"numbers[*]", join(varint(6, 1), varint(6, 2)), "many number:1 number:2"},
		"numbers, both ways":                {"numbers[*]", join(packed(6, 1), varint(6, 2)), "many number:1 number:2"},
		"numbers, packed and cut":           {"numbers[*]", protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), []byte{0x80}), "malformed"},
		"zigzag":                            {"delta", varint(11, 3), "one number:-2"},
		"fixed":                             {"fixed", protowire.AppendFixed64(protowire.AppendTag(nil, 12, protowire.Fixed64Type), 1<<63), "one number:9223372036854775808"},
		"more bits than the type has":       {"small", varint(13, 1<<32+7), "ambiguous"},
		"large":                             {"large", varint(14, 1<<64-1), "one number:18446744073709551615"},
		"one of a oneof":                    {"user", text(9, "alice"), "one string:alice"},
		"two of a oneof":                    {"user", join(text(9, "alice"), text(10, "staff")), "ambiguous"},
		"the other of a oneof":              {"user", text(10, "staff"), "missing"},
		"a number written as zero":          {"number", varint(5, 0), "one number:0"},
		"numbers, packed, with none":        {"numbers[*]", packed(6), "missing"},
		"a text, packed":                    {"number", packed(5, 7), "malformed"},
		"more values than may be read":      {"ids[*]", []byte(strings.Repeat(string(text(4, "a")), 1001)), "too large"},
		"more, packed":                      {"numbers[*]", packed(6, make([]uint64, 1001)...), "too large"},
		"more, where nothing stands":        {"items[*].id", []byte(strings.Repeat(string(nested(3)), 1001)), "too large"},
		"a message of messages, too large":  {"id", text(15, strings.Repeat("a", body.MaxBytes)), "too large"},
	} {
		t.Run(name, func(t *testing.T) {
			values, err := grpcPlan(t, test.path).Read(frame(test.message))
			got := show(values.At(0))
			if err != nil {
				got = kindOf(t, err)
			}
			if got != test.want {
				t.Errorf("%s, want %s (%v)", got, test.want, err)
			}
		})
	}
}

// The body of a unary call is one frame, uncompressed and whole.
func TestFrame(t *testing.T) {
	good := frame(text(1, "alice"))
	compressed := append([]byte{1}, good[1:]...)
	flag := append([]byte{2}, good[1:]...)
	for name, test := range map[string]struct {
		data []byte
		want string
	}{
		"one frame":             {good, "one string:alice"},
		"compressed":            {compressed, "ambiguous"},
		"a flag of its own":     {flag, "malformed"},
		"two frames":            {join(good, good), "malformed"},
		"a byte too many":       {join(good, []byte{0}), "malformed"},
		"a byte too few":        {good[:len(good)-1], "malformed"},
		"a head and no more":    {good[:5], "malformed"},
		"half a head":           {good[:3], "malformed"},
		"nothing":               {nil, "malformed"},
		"a frame that is empty": {frame(nil), "missing"},
	} {
		values, err := grpcPlan(t, "id").Read(test.data)
		got := show(values.At(0))
		if err != nil {
			got = kindOf(t, err)
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestGRPCRefusesPaths(t *testing.T) {
	for _, test := range []struct{ method, path, want string }{
		{"/shop.Orders/Cancel", "ids", "ids is repeated: write ids[*]"},
		{"/shop.Orders/Cancel", "id[*]", "id is not repeated"},
		{"/shop.Orders/Cancel", "nope", `shop.Cancel has no field "nope": it has id, owner, items`},
		{"/shop.Orders/Cancel", "owner", "an id is a string or a whole number, and owner is a message"},
		{"/shop.Orders/Cancel", "raw", "raw is a bytes"},
		{"/shop.Orders/Cancel", "flag", "flag is a bool"},
		{"/shop.Orders/Cancel", "price", "price is a double"},
		{"/shop.Orders/Cancel", "kind", "kind is a enum"},
		{"/shop.Orders/Cancel", "labels[*].value.id", "labels is a map, in which a key may stand twice"},
		{"/shop.Orders/Cancel", "", `shop.Cancel has no field ""`},
		{"/shop.Orders/Cancel", "owner..id", `shop.Owner has no field ""`},
		{"/shop.Orders/Cancel", "ids[0]", `has no field "ids[0]"`},
		{"/shop.Orders/Cancel", "id.x", "id is no message"},
		{"/shop.Orders/Feed", "id", "takes a stream"},
		{"/shop.Orders/Nope", "id", "shop.Orders has no method Nope: it has Cancel, Feed"},
		{"/shop.Nope/Cancel", "id", "the descriptor set has no service shop.Nope: it has shop.Orders"},
		{"", "id", "the descriptor set has no service : it has shop.Orders"},
		{"/shop.Cancel/Cancel", "id", "shop.Cancel is no service"},
	} {
		_, err := body.GRPC(set(t), test.method, []string{test.path})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: %v, want %s", test.method, test.path, err, test.want)
		}
	}
	if _, err := body.GRPC(set(t), "/shop.Orders/Cancel", []string{"id", "owner.id", "id"}); err == nil || !strings.Contains(err.Error(), `"id" is read twice`) {
		t.Errorf("a field is read twice: %v", err)
	}
	for name, data := range map[string][]byte{"nothing": nil, "no protobuf": []byte("service Orders {}"), "text": []byte("\xff\xff")} {
		if err := body.CheckDescriptors(data); err == nil {
			t.Errorf("%s passes for a descriptor set", name)
		}
	}
	lacking := shop(t)
	lacking.File[0].Dependency = []string{"google/protobuf/timestamp.proto"}
	data, err := proto.Marshal(lacking)
	if err != nil {
		t.Fatal(err)
	}
	if err := body.CheckDescriptors(data); err == nil || !strings.Contains(err.Error(), "are the imports in it") {
		t.Errorf("a set without its imports: %v", err)
	}
}

// Groups, which proto2 has, are merged like messages and end by a tag of their own: none is read, and one beside what is read is passed over.
func TestGroups(t *testing.T) {
	old := shop(t)
	file := old.File[0]
	file.Syntax = proto.String("proto2")
	cancel := file.MessageType[2]
	cancel.NestedType = append(cancel.NestedType, &descriptorpb.DescriptorProto{Name: proto.String("Batch"), Field: []*descriptorpb.FieldDescriptorProto{fd("id", 1, tString, false, "")}})
	cancel.Field = append(cancel.Field, fd("batch", 20, tGroup, false, "Cancel.Batch"))
	data, err := proto.Marshal(old)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := body.GRPC(data, "/shop.Orders/Cancel", []string{"batch.id"}); err == nil || !strings.Contains(err.Error(), "batch is a group") {
		t.Errorf("a group is read: %v", err)
	}
	plan, err := body.GRPC(data, "/shop.Orders/Cancel", []string{"id"})
	if err != nil {
		t.Fatal(err)
	}
	group := join(protowire.AppendTag(nil, 20, protowire.StartGroupType), text(1, "bob"), protowire.AppendTag(nil, 20, protowire.EndGroupType))
	if values, err := plan.Read(frame(join(group, text(1, "alice")))); err != nil || show(values.At(0)) != "one string:alice" {
		t.Errorf("beside a group: %s, %v", show(values.At(0)), err)
	}
	if _, err := plan.Read(frame(join(group, group))); err == nil {
		t.Error("a group stands twice")
	}
}

// Two places are counted and told apart, however many fields they have in common.
func TestGRPCSeveral(t *testing.T) {
	item := func(id string, owner string) []byte { return nested(3, text(1, id), nested(4, text(1, owner))) }
	var many []byte
	for range 1000 {
		many = join(many, item("a", "b"), text(4, "c"))
	}
	values, err := grpcPlan(t, "items[*].owner.id", "ids[*]", "items[*].id").Read(frame(many))
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"b", "c", "a"} {
		if got := values.At(i); len(got.Values) != 1000 || got.Values[999].Text != want {
			t.Errorf("place %d: %d values", i, len(got.Values))
		}
	}
}

// naive reads a message that protobuf's own decoder has read: the definition.
func naive(m protoreflect.Message, path []string, many bool, into *body.List) {
	name, each := strings.CutSuffix(path[0], "[*]")
	fd := m.Descriptor().Fields().ByName(protoreflect.Name(name))
	add := func(v body.Value) {
		into.State = body.One
		if many {
			into.State = body.Many
		}
		into.Values = append(into.Values, v)
	}
	value := func(v protoreflect.Value) {
		switch {
		case fd.Kind() == protoreflect.MessageKind:
			naive(v.Message(), path[1:], many, into)
		case fd.Kind() == protoreflect.StringKind:
			add(body.Value{Kind: body.String, Text: v.String()})
		default:
			add(body.Value{Kind: body.Number, Text: v.String()})
		}
	}
	switch {
	case !m.Has(fd) && many:
		add(body.Value{})
	case !m.Has(fd):
	case each:
		many = true
		for i := range m.Get(fd).List().Len() {
			value(m.Get(fd).List().Get(i))
		}
	default:
		value(m.Get(fd))
	}
}

var twinPaths = []string{"id", "owner.id", "items[*].id", "ids[*]", "number", "numbers[*]", "small", "items[*].parts[*]", "items[*].owner.id", "more[*].items[*].number",
	"more[*].more[*].ids[*]", "user", "delta", "fixed", "large"}

// cancelType is the descriptor of the test's request.
func cancelType(t testing.TB) protoreflect.MessageDescriptor {
	t.Helper()
	files, err := protodesc.NewFiles(shop(t))
	if err != nil {
		t.Fatal(err)
	}
	found, err := files.FindDescriptorByName("shop.Cancel")
	if err != nil {
		t.Fatal(err)
	}
	descriptor, ok := found.(protoreflect.MessageDescriptor)
	if !ok {
		t.Fatal("shop.Cancel is no message")
	}
	return descriptor
}

// drawMessage fills a message as chance will.
func drawMessage(t *rapid.T, m protoreflect.Message, depth int) {
	value := func(fd protoreflect.FieldDescriptor, empty protoreflect.Value) protoreflect.Value {
		switch fd.Kind() {
		case protoreflect.StringKind:
			return protoreflect.ValueOfString(rapid.SampledFrom([]string{"", "a", "bob", "é"}).Draw(t, "text"))
		case protoreflect.MessageKind:
			drawMessage(t, empty.Message(), depth+1)
			return empty
		case protoreflect.Int32Kind:
			return protoreflect.ValueOfInt32(rapid.Int32().Draw(t, "int32"))
		case protoreflect.Int64Kind, protoreflect.Sint64Kind:
			return protoreflect.ValueOfInt64(rapid.Int64().Draw(t, "int64"))
		case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
			return protoreflect.ValueOfUint64(rapid.Uint64().Draw(t, "uint64"))
		}
		return fd.Default()
	}
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		fd := fields.Get(i)
		if fd.IsMap() || fd.Kind() == protoreflect.MessageKind && depth > 2 || rapid.IntRange(0, 2).Draw(t, "absent") == 0 {
			continue
		}
		if fd.IsList() {
			list := m.Mutable(fd).List()
			for range rapid.IntRange(0, 3).Draw(t, "length") {
				list.Append(value(fd, list.NewElement()))
			}
			continue
		}
		m.Set(fd, value(fd, m.NewField(fd)))
	}
}

// fieldsOf parts a message into its fields as they travel.
func fieldsOf(message []byte) [][]byte {
	var fields [][]byte
	for len(message) > 0 {
		_, _, n := protowire.ConsumeField(message)
		fields = append(fields, message[:n])
		message = message[n:]
	}
	return fields
}

// Of a message in which nothing stands twice we read what protobuf's own decoder reads, whatever the order of its fields; with anything
// twice, or anything unknown, it is refused.
func TestGRPCAgreesWithProto(t *testing.T) {
	plan, descriptor := grpcPlan(t, twinPaths...), cancelType(t)
	rapid.Check(t, func(t *rapid.T) {
		message := dynamicpb.NewMessage(descriptor)
		drawMessage(t, message, 0)
		encoded, err := proto.Marshal(message)
		if err != nil {
			t.Fatal(err)
		}
		fields := fieldsOf(encoded)
		if len(fields) > 1 {
			fields = rapid.Permutation(fields).Draw(t, "order")
		}
		data := join(fields...)
		decoded := dynamicpb.NewMessage(descriptor)
		if err := proto.Unmarshal(data, decoded); err != nil {
			t.Fatal(err)
		}
		values, err := plan.Read(frame(data))
		if err != nil {
			t.Fatalf("%x is refused: %v", data, err)
		}
		for i, path := range twinPaths {
			var want body.List
			naive(decoded, strings.Split(path, "."), false, &want)
			if diff := cmp.Diff(want, values.At(i)); diff != "" {
				t.Fatalf("%s of %x: %s", path, data, diff)
			}
		}
		for _, field := range fields {
			number, _, _ := protowire.ConsumeTag(field)
			if _, err := plan.Read(frame(join(data, field))); (err == nil) != descriptor.Fields().ByNumber(number).IsList() {
				t.Fatalf("field %d twice: %v", number, err)
			}
		}
		if _, err := plan.Read(frame(join(data, text(99, "x")))); err == nil {
			t.Fatal("a field that nobody knows is passed over")
		}
	})
}

// What is read of any bytes that are read at all is what protobuf's own decoder reads.
func FuzzGRPC(f *testing.F) {
	for _, seed := range [][]byte{text(1, "alice"), nested(2, text(1, "a")), join(nested(3, text(1, "a")), nested(3, varint(2, 7))), varint(5, 1<<63), {0x08, 0x01},
		nested(19, nested(19, text(4, "a")), nested(3, varint(2, 7))), join(text(9, "a"), text(10, "b")), join(text(1, "a"), text(1, "b")), nested(6, []byte{1, 2, 3})} {
		f.Add(frame(seed))
	}
	f.Add([]byte{1, 0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 0, 9, 1})
	plan, descriptor := grpcPlan(f, twinPaths...), cancelType(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := plan.Read(data)
		if err != nil {
			kindOf(t, err)
			return
		}
		message := dynamicpb.NewMessage(descriptor)
		if err := proto.Unmarshal(data[5:], message); err != nil {
			return // stricter than we are about fields that nobody reads
		}
		for i, path := range twinPaths {
			var want body.List
			naive(message, strings.Split(path, "."), false, &want)
			got := values.At(i)
			if diff := cmp.Diff(want, got); diff != "" && !emptied(want, got) {
				t.Errorf("%s of %x: %s", path, data, diff)
			}
		}
	})
}

// emptied tells the two ways in which we see what a decoder does not tell: a zero that is written, and a list that is written empty.
func emptied(want, got body.List) bool {
	if want.State == body.Missing {
		return got.State == body.One && (got.Values[0].Text == "" || got.Values[0].Text == "0")
	}
	if len(got.Values) < len(want.Values) {
		return false
	}
	i := 0
	for _, v := range got.Values {
		switch {
		case i < len(want.Values) && (v == want.Values[i] || want.Values[i].Kind == body.None && (v.Text == "" || v.Text == "0")):
			i++
		case v.Kind != body.None:
			return false
		}
	}
	return i == len(want.Values)
}

// What is allocated depends on what is found, not on how long the message is.
func TestGRPCAllocates(t *testing.T) {
	plan := grpcPlan(t, "id", "items[*].id")
	items := func(n int) []byte { return []byte(strings.Repeat(string(nested(3, text(1, ""), varint(2, 7))), n)) }
	for what, test := range map[string]struct {
		message []byte
		most    float64
	}{
		"short":        {text(1, "alice"), 5},
		"long":         {join(text(15, strings.Repeat("a", 1<<19)), []byte(strings.Repeat(string(text(4, "a")), 100_000)), text(1, "alice")), 5},
		"of many":      {join(items(1000), text(1, "alice")), 20},
		"of many more": {join(items(1000), []byte(strings.Repeat(string(text(4, "a")), 100_000)), text(1, "alice")), 20},
	} {
		data := frame(test.message)
		if n := testing.AllocsPerRun(50, func() {
			if _, err := plan.Read(data); err != nil {
				t.Fatal(err)
			}
		}); n > test.most {
			t.Errorf("%s: %v allocations, want %v at most", what, n, test.most)
		}
	}
}

func BenchmarkGRPC(b *testing.B) {
	plan := grpcPlan(b, "id", "items[*].id")
	var message []byte
	for range 20 {
		message = join(message, nested(3, text(1, "a3c6b1de-0f3e-4f7e-9d0e-000000000000"), varint(2, 7)))
	}
	data := frame(join(message, text(1, "alice")))
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := plan.Read(data); err != nil {
			b.Fatal(err)
		}
	}
}
