package body_test

import (
	"encoding/binary"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"

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
	tBytes   = descriptorpb.FieldDescriptorProto_TYPE_BYTES
	tBool    = descriptorpb.FieldDescriptorProto_TYPE_BOOL
	tMessage = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE
)

// shop is the descriptor set of a service with one of everything:
//
//	message Owner { string id = 1; }
//	message Item { string id = 1; int64 number = 2; repeated int64 parts = 3; }
//	message Cancel { string id = 1; Owner owner = 2; repeated Item items = 3; repeated string ids = 4; int64 number = 5; repeated int64 numbers = 6;
//	  bytes raw = 7; bool flag = 8; oneof who { string user = 9; string group = 10; } sint64 delta = 11; fixed64 fixed = 12; int32 small = 13;
//	  uint64 large = 14; string note = 15; }
//	service Orders { rpc Cancel(Cancel) returns (Cancel); rpc Feed(stream Cancel) returns (Cancel); }
func shop(t testing.TB) *descriptorpb.FileDescriptorSet {
	t.Helper()
	cancel := &descriptorpb.DescriptorProto{Name: proto.String("Cancel"), OneofDecl: []*descriptorpb.OneofDescriptorProto{{Name: proto.String("who")}}, Field: []*descriptorpb.FieldDescriptorProto{
		fd("id", 1, tString, false, ""), fd("owner", 2, tMessage, false, "Owner"), fd("items", 3, tMessage, true, "Item"), fd("ids", 4, tString, true, ""),
		fd("number", 5, tInt64, false, ""), fd("numbers", 6, tInt64, true, ""), fd("raw", 7, tBytes, false, ""), fd("flag", 8, tBool, false, ""),
		fd("user", 9, tString, false, ""), fd("group", 10, tString, false, ""), fd("delta", 11, tSint64, false, ""), fd("fixed", 12, tFixed64, false, ""),
		fd("small", 13, tInt32, false, ""), fd("large", 14, tUint64, false, ""), fd("note", 15, tString, false, ""),
	}}
	cancel.Field[8].OneofIndex, cancel.Field[9].OneofIndex = proto.Int32(0), proto.Int32(0)
	method := func(name string, streams bool) *descriptorpb.MethodDescriptorProto {
		return &descriptorpb.MethodDescriptorProto{Name: &name, InputType: proto.String(".shop.Cancel"), OutputType: proto.String(".shop.Cancel"), ClientStreaming: &streams}
	}
	return &descriptorpb.FileDescriptorSet{File: []*descriptorpb.FileDescriptorProto{{
		Name: proto.String("shop.proto"), Package: proto.String("shop"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			{Name: proto.String("Owner"), Field: []*descriptorpb.FieldDescriptorProto{fd("id", 1, tString, false, "")}},
			{Name: proto.String("Item"), Field: []*descriptorpb.FieldDescriptorProto{fd("id", 1, tString, false, ""), fd("number", 2, tInt64, false, ""), fd("parts", 3, tInt64, true, "")}},
			cancel,
		},
		Service: []*descriptorpb.ServiceDescriptorProto{{Name: proto.String("Orders"), Method: []*descriptorpb.MethodDescriptorProto{method("Cancel", false), method("Feed", true)}}},
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
		"a text":                           {"id", text(1, "alice"), "one string:alice"},
		"a text among others":              {"id", join(text(15, "note"), text(1, "alice"), varint(8, 1)), "one string:alice"},
		"none":                             {"id", text(15, "note"), "missing"},
		"no field at all":                  {"id", nil, "missing"},
		"twice":                            {"id", join(text(1, "alice"), text(1, "bob")), "ambiguous"},
		"another field twice":              {"id", join(text(1, "alice"), text(15, "a"), text(15, "b")), "ambiguous"},
		"a field nobody knows":             {"id", join(text(1, "alice"), text(99, "bob")), "ambiguous"},
		"of another wire type":             {"id", varint(1, 7), "malformed"},
		"no UTF-8":                         {"id", text(1, "al\xffice"), "malformed"},
		"cut":                              {"id", text(1, "alice")[:4], "malformed"},
		"field number zero":                {"id", []byte{0x02, 0x00}, "malformed"},
		"an end without its group":         {"id", []byte{0x0c}, "malformed"},
		"in a message":                     {"owner.id", nested(2, text(1, "alice")), "one string:alice"},
		"the message is absent":            {"owner.id", text(1, "alice"), "missing"},
		"the message is empty":             {"owner.id", nested(2), "missing"},
		"the message twice, to be merged":  {"owner.id", join(nested(2, text(1, "alice")), nested(2, text(1, "bob"))), "ambiguous"},
		"the message twice, once empty":    {"owner.id", join(nested(2, text(1, "alice")), nested(2)), "ambiguous"},
		"unknown in the message":           {"owner.id", nested(2, text(1, "alice"), text(7, "x")), "ambiguous"},
		"the message is a number":          {"owner.id", varint(2, 1), "malformed"},
		"a list":                           {"ids[*]", join(text(4, "a"), text(1, "x"), text(4, "b")), "many string:a string:b"},
		"an empty list is none":            {"ids[*]", nil, "missing"},
		"messages of a list":               {"items[*].id", join(nested(3, text(1, "a")), nested(3, text(1, "b"))), "many string:a string:b"},
		"one of them without an id":        {"items[*].id", join(nested(3, text(1, "a")), nested(3, varint(2, 7))), "many string:a none:"},
		"one of them with two ids":         {"items[*].id", join(nested(3, text(1, "a"), text(1, "b"))), "ambiguous"},
		"lists in a list":                  {"items[*].parts[*]", join(nested(3, packed(3, 1, 2)), nested(3, packed(3, 3))), "many number:1 number:2 number:3"},
		"an absent list in a list":         {"items[*].parts[*]", join(nested(3, packed(3, 1)), nested(3)), "many number:1 none:"},
		"an empty list in a list":          {"items[*].parts[*]", join(nested(3, packed(3, 1)), nested(3, packed(3))), "many number:1 none:"},
		"a number":                         {"number", varint(5, 7), "one number:7"},
		"a negative number":                {"number", varint(5, 1<<64-1), "one number:-1"},
		"a number of another wire type":    {"number", text(5, "7"), "malformed"},
		"numbers, packed":                  {"numbers[*]", packed(6, 1, 2), "many number:1 number:2"},
		"numbers, one by one":              {"numbers[*]", join(varint(6, 1), varint(6, 2)), "many number:1 number:2"},
		"numbers, both ways":               {"numbers[*]", join(packed(6, 1), varint(6, 2)), "many number:1 number:2"},
		"numbers, packed and cut":          {"numbers[*]", protowire.AppendBytes(protowire.AppendTag(nil, 6, protowire.BytesType), []byte{0x80}), "malformed"},
		"zigzag":                           {"delta", varint(11, 3), "one number:-2"},
		"fixed":                            {"fixed", protowire.AppendFixed64(protowire.AppendTag(nil, 12, protowire.Fixed64Type), 1<<63), "one number:9223372036854775808"},
		"more bits than the type has":      {"small", varint(13, 1<<32+7), "ambiguous"},
		"large":                            {"large", varint(14, 1<<64-1), "one number:18446744073709551615"},
		"one of a oneof":                   {"user", text(9, "alice"), "one string:alice"},
		"two of a oneof":                   {"user", join(text(9, "alice"), text(10, "staff")), "ambiguous"},
		"the other of a oneof":             {"user", text(10, "staff"), "missing"},
		"more values than may be read":     {"ids[*]", []byte(strings.Repeat(string(text(4, "a")), 1001)), "too large"},
		"a message of messages, too large": {"id", text(15, strings.Repeat("a", body.MaxBytes)), "too large"},
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
		{"/shop.Orders/Cancel", "id.x", "id is no message"},
		{"/shop.Orders/Feed", "id", "takes a stream"},
		{"/shop.Orders/Nope", "id", "shop.Orders has no method Nope: it has Cancel, Feed"},
		{"/shop.Nope/Cancel", "id", "the descriptor set has no service shop.Nope"},
		{"/shop.Cancel/Cancel", "id", "shop.Cancel is no service"},
	} {
		_, err := body.GRPC(set(t), test.method, []string{test.path})
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s %s: %v, want %s", test.method, test.path, err, test.want)
		}
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

// What we read of a message that is unambiguous is what protobuf's own decoder reads.
func FuzzGRPC(f *testing.F) {
	for _, seed := range [][]byte{text(1, "alice"), nested(2, text(1, "a")), join(nested(3, text(1, "a")), nested(3, varint(2, 7))), varint(5, 1<<63), {0x08, 0x01}} {
		f.Add(frame(seed))
	}
	paths := []string{"id", "owner.id", "items[*].id", "ids[*]", "number", "numbers[*]", "small"}
	plan := grpcPlan(f, paths...)
	files, err := protodesc.NewFiles(shop(f))
	if err != nil {
		f.Fatal(err)
	}
	found, err := files.FindDescriptorByName("shop.Cancel")
	if err != nil {
		f.Fatal(err)
	}
	descriptor := found.(protoreflect.MessageDescriptor)
	f.Fuzz(func(t *testing.T, data []byte) {
		values, err := plan.Read(data)
		if err != nil {
			return
		}
		message := dynamicpb.NewMessage(descriptor)
		if err := proto.Unmarshal(data[5:], message); err != nil {
			return // stricter than we are about fields that nobody reads
		}
		fields := descriptor.Fields()
		if got, want := values.At(0), message.Get(fields.ByName("id")).String(); got.State == body.One && got.Values[0].Text != want || got.State == body.Missing && want != "" {
			t.Errorf("id: %s, want %q", show(got), want)
		}
		owner := message.Get(fields.ByName("owner")).Message()
		if got, want := values.At(1), owner.Get(owner.Descriptor().Fields().ByName("id")).String(); got.State == body.One && got.Values[0].Text != want || got.State == body.Missing && want != "" {
			t.Errorf("owner.id: %s, want %q", show(got), want)
		}
		if got, want := len(values.At(2).Values), message.Get(fields.ByName("items")).List().Len(); got != want {
			t.Errorf("%d items, want %d", got, want)
		}
		ids := message.Get(fields.ByName("ids")).List()
		if len(values.At(3).Values) != ids.Len() {
			t.Fatalf("%d ids, want %d", len(values.At(3).Values), ids.Len())
		}
		for i := range ids.Len() {
			if values.At(3).Values[i].Text != ids.Get(i).String() {
				t.Errorf("id %d: %q, want %q", i, values.At(3).Values[i].Text, ids.Get(i).String())
			}
		}
		if got, want := values.At(4), message.Get(fields.ByName("number")).String(); got.State == body.One && got.Values[0].Text != want {
			t.Errorf("number: %s, want %s", show(got), want)
		}
		if got, want := len(values.At(5).Values), message.Get(fields.ByName("numbers")).List().Len(); got != want {
			t.Errorf("%d numbers, want %d", got, want)
		}
	})
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
