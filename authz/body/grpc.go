package body

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// CheckDescriptors reports what is wrong with a google.protobuf.FileDescriptorSet; nil if it can be read.
func CheckDescriptors(set []byte) error {
	_, err := files(set)
	return err
}

func files(set []byte) (*protoregistry.Files, error) {
	var message descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &message); err != nil || len(message.GetFile()) == 0 {
		return nil, errors.New("not a google.protobuf.FileDescriptorSet")
	}
	found, err := protodesc.NewFiles(&message)
	if err != nil {
		return nil, fmt.Errorf("a FileDescriptorSet that is not whole (are the imports in it?): %w", err)
	}
	return found, nil
}

// GRPCPlan reads fields of the one message of a unary gRPC request. It is immutable and safe for concurrent use.
type GRPCPlan struct {
	root   *message
	places int
}

// message is what is read of one message, and what else it may hold.
type message struct {
	descriptor protoreflect.MessageDescriptor
	known      map[protowire.Number]known
	reads      []*field
	marks      int // how many marks it takes to know what has stood there: one for each field and each oneof
}

// known is how a field of a message that is read may travel.
type known struct {
	wire     protowire.Type
	packable bool // a repeated one whose values may travel in one piece
	once     bool // not repeated
	mark     int  // of the field itself
	choice   int  // of the oneof it belongs to; -1 for none
	read     *field
}

// field is what is read of one field.
type field struct {
	descriptor protoreflect.FieldDescriptor
	mark       int
	below      *message // for a field that is a message
	place      int      // the place that ends here; -1 for none
	within     []int    // all places that end at or below
	each       bool     // written with [*]
}

// GRPC compiles the fields to read of a method's request ("/package.Service/Method"): names joined by dots, [*] behind a repeated field.
// The last one is a string or a whole number.
func GRPC(set []byte, method string, paths []string) (*GRPCPlan, error) {
	found, err := files(set)
	if err != nil {
		return nil, err
	}
	service, name, _ := strings.Cut(strings.TrimPrefix(method, "/"), "/")
	descriptor, err := found.FindDescriptorByName(protoreflect.FullName(service))
	if err != nil {
		return nil, fmt.Errorf("the descriptor set has no service %s: it has %s", service, services(found))
	}
	of, ok := descriptor.(protoreflect.ServiceDescriptor)
	if !ok {
		return nil, fmt.Errorf("%s is no service of the descriptor set", service)
	}
	m := of.Methods().ByName(protoreflect.Name(name))
	switch {
	case m == nil:
		return nil, fmt.Errorf("%s has no method %s: it has %s", service, name, methods(of))
	case m.IsStreamingClient():
		return nil, fmt.Errorf("%s takes a stream of messages, and only the message of a unary call can be read before the call", method)
	}
	plan := &GRPCPlan{root: newMessage(m.Input()), places: len(paths)}
	for i, path := range paths {
		if err := plan.add(path, i); err != nil {
			return nil, err
		}
	}
	return plan, nil
}

func methods(service protoreflect.ServiceDescriptor) string {
	var names []string
	for i := range service.Methods().Len() {
		names = append(names, string(service.Methods().Get(i).Name()))
	}
	return strings.Join(names, ", ")
}

func services(found *protoregistry.Files) string {
	var names []string
	found.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		for i := range file.Services().Len() {
			names = append(names, string(file.Services().Get(i).FullName()))
		}
		return true
	})
	if names == nil {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

func newMessage(descriptor protoreflect.MessageDescriptor) *message {
	fields := descriptor.Fields()
	m := &message{descriptor: descriptor, known: make(map[protowire.Number]known, fields.Len()), marks: fields.Len() + descriptor.Oneofs().Len()}
	for i := range fields.Len() {
		fd := fields.Get(i)
		k := known{wire: wireTypes[fd.Kind()], once: !fd.IsList() && !fd.IsMap(), mark: i, choice: -1}
		k.packable = fd.IsList() && k.wire != protowire.BytesType && k.wire != protowire.StartGroupType
		if of := fd.ContainingOneof(); of != nil {
			k.choice = fields.Len() + of.Index()
		}
		m.known[fd.Number()] = k
	}
	return m
}

// read is what is read of a field, made if it is nothing yet.
func (m *message) read(fd protoreflect.FieldDescriptor, each bool) *field {
	k := m.known[fd.Number()]
	if k.read == nil {
		k.read = &field{descriptor: fd, mark: k.mark, place: -1, each: each}
		if fd.Kind() == protoreflect.MessageKind {
			k.read.below = newMessage(fd.Message())
		}
		m.known[fd.Number()] = k
		m.reads = append(m.reads, k.read)
	}
	return k.read
}

func (p *GRPCPlan) add(path string, place int) error {
	at := p.root
	parts := strings.Split(path, ".")
	for i, part := range parts {
		name, each := cutSuffix(part, "[*]")
		fd := at.descriptor.Fields().ByName(protoreflect.Name(name))
		last := i == len(parts)-1
		if err := readable(at.descriptor, fd, name, path, each, last); err != nil {
			return err
		}
		f := at.read(fd, each)
		f.within = append(f.within, place)
		if last {
			if f.place >= 0 {
				return fmt.Errorf("%q is read twice", path)
			}
			f.place = place
			return nil
		}
		at = f.below
	}
	return nil
}

// readable holds one part of a path to the message's fields.
func readable(of protoreflect.MessageDescriptor, fd protoreflect.FieldDescriptor, name, path string, each, last bool) error {
	if fd == nil {
		var names []string
		for i := range of.Fields().Len() {
			names = append(names, string(of.Fields().Get(i).Name()))
		}
		return fmt.Errorf("%q: %s has no field %q: it has %s", path, of.FullName(), name, strings.Join(names, ", "))
	}
	switch {
	case fd.IsMap():
		return fmt.Errorf("%q: %s is a map, in which a key may stand twice", path, name)
	case fd.Kind() == protoreflect.GroupKind:
		return fmt.Errorf("%q: %s is a group", path, name)
	case fd.IsList() && !each:
		return fmt.Errorf("%q: %s is repeated: write %s[*]", path, name, name)
	case !fd.IsList() && each:
		return fmt.Errorf("%q: %s is not repeated: write it without [*]", path, name)
	case last && !isID(fd.Kind()):
		return fmt.Errorf("%q: an id is a string or a whole number, and %s is a %s", path, name, fd.Kind())
	case !last && fd.Kind() != protoreflect.MessageKind:
		return fmt.Errorf("%q: %s is no message", path, name)
	}
	return nil
}

// wireTypes is how a value of each kind travels.
var wireTypes = [...]protowire.Type{
	protoreflect.BoolKind: protowire.VarintType, protoreflect.EnumKind: protowire.VarintType,
	protoreflect.Int32Kind: protowire.VarintType, protoreflect.Sint32Kind: protowire.VarintType, protoreflect.Uint32Kind: protowire.VarintType,
	protoreflect.Int64Kind: protowire.VarintType, protoreflect.Sint64Kind: protowire.VarintType, protoreflect.Uint64Kind: protowire.VarintType,
	protoreflect.Fixed32Kind: protowire.Fixed32Type, protoreflect.Sfixed32Kind: protowire.Fixed32Type, protoreflect.FloatKind: protowire.Fixed32Type,
	protoreflect.Fixed64Kind: protowire.Fixed64Type, protoreflect.Sfixed64Kind: protowire.Fixed64Type, protoreflect.DoubleKind: protowire.Fixed64Type,
	protoreflect.StringKind: protowire.BytesType, protoreflect.BytesKind: protowire.BytesType, protoreflect.MessageKind: protowire.BytesType,
	protoreflect.GroupKind: protowire.StartGroupType,
}

// isID reports whether a value of a kind can be an id: a text or a whole number. A float is rounded, bytes have no one spelling, and an
// enum's name and number are two.
func isID(kind protoreflect.Kind) bool {
	switch kind {
	case protoreflect.StringKind,
		protoreflect.Int32Kind, protoreflect.Sint32Kind, protoreflect.Sfixed32Kind, protoreflect.Uint32Kind, protoreflect.Fixed32Kind,
		protoreflect.Int64Kind, protoreflect.Sint64Kind, protoreflect.Sfixed64Kind, protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return true
	}
	return false
}

// Read reads a request's body: one frame (a flag that says "not compressed", four bytes of length, the message) and nothing behind it.
// The error is an *Error.
//
// The message is walked as it travels, not decoded: a decoder takes the last of two fields, merges two messages, and keeps what it does
// not know, which another version of the upstream may.
func (p *GRPCPlan) Read(data []byte) (Values, error) {
	const head = 5
	switch {
	case len(data) > MaxBytes:
		return Values{}, refuse(TooLarge, "the message is too long")
	case len(data) < head:
		return Values{}, refuse(Malformed, "the frame ends in its head")
	case data[0] == 1:
		return Values{}, refuse(Ambiguous, "the message is compressed")
	case data[0] != 0:
		return Values{}, refuse(Malformed, "the frame's flag is none")
	case uint64(binary.BigEndian.Uint32(data[1:head])) != uint64(len(data)-head):
		return Values{}, refuse(Malformed, "the frame is not the whole body")
	}
	r := &reader{places: make([]List, p.places)}
	if err := r.message(p.root, data[head:], false, 0); err != nil {
		return Values{}, err
	}
	return Values{places: r.places}, nil
}

type reader struct {
	places []List
	// marks are those of the messages that are open, the innermost last: what has stood in each.
	marks []bool
}

func (r *reader) put(place int, many bool, v Value) error {
	list := &r.places[place]
	list.State = One
	if many {
		list.State = Many
		if len(list.Values) >= maxValues {
			return refuse(TooLarge, "more values than may be read")
		}
	}
	list.Values = append(list.Values, v)
	return nil
}

// message walks one message; many says that it is in a list.
func (r *reader) message(m *message, data []byte, many bool, depth int) error {
	if depth > MaxDepth {
		return refuse(TooLarge, "the message is nested too deeply")
	}
	outer := len(r.marks)
	r.marks = append(r.marks, make([]bool, m.marks)...)
	for len(data) > 0 {
		number, wire, n := protowire.ConsumeTag(data)
		if n < 0 {
			return refuse(Malformed, "not a protobuf message")
		}
		data = data[n:]
		size := protowire.ConsumeFieldValue(number, wire, data)
		if size < 0 {
			return refuse(Malformed, "not a protobuf message")
		}
		k, ok := m.known[number]
		if !ok {
			return refuse(Ambiguous, "a field that the descriptor does not know")
		}
		if err := k.admit(wire, r.marks[outer:]); err != nil {
			return err
		}
		if k.read != nil {
			if err := r.field(k.read, wire, data[:size], many, depth); err != nil {
				return err
			}
		}
		data = data[size:]
	}
	if many {
		if err := r.absent(m, r.marks[outer:]); err != nil {
			return err
		}
	}
	r.marks = r.marks[:outer]
	return nil
}

// admit holds one occurrence of a field to the descriptor and to what stood in the message before. A field of another wire type is one
// that decoders do not know, or cannot read.
func (k *known) admit(wire protowire.Type, marks []bool) error {
	if wire != k.wire && (!k.packable || wire != protowire.BytesType) {
		return refuse(Malformed, "a field of another type than the descriptor's")
	}
	if k.once && marks[k.mark] {
		return refuse(Ambiguous, "a field that is not repeated stands twice")
	}
	marks[k.mark] = true
	if k.choice >= 0 {
		if marks[k.choice] {
			return refuse(Ambiguous, "two of a oneof are set")
		}
		marks[k.choice] = true
	}
	return nil
}

// absent notes what a message of a list does not hold. Elsewhere nothing is Missing by itself.
func (r *reader) absent(m *message, marks []bool) error {
	for _, f := range m.reads {
		if marks[f.mark] {
			continue
		}
		for _, place := range f.within {
			if err := r.put(place, true, Value{}); err != nil {
				return err
			}
		}
	}
	return nil
}

// field takes one occurrence of a field, of a wire type that the descriptor admits.
func (r *reader) field(f *field, wire protowire.Type, value []byte, many bool, depth int) error {
	within := many
	many = many || f.each
	if f.below != nil {
		content, n := protowire.ConsumeBytes(value)
		if n < 0 {
			return refuse(Malformed, "not a protobuf message")
		}
		return r.message(f.below, content, many, depth+1)
	}
	kind := f.descriptor.Kind()
	if want := wireTypes[kind]; wire != want {
		return r.packed(f, want, value, within)
	}
	v, err := scalar(kind, value)
	if err != nil {
		return err
	}
	return r.put(f.place, many, v)
}

// packed takes the values of a repeated field that travel in one piece; within says that the field is in a message of a list.
func (r *reader) packed(f *field, want protowire.Type, value []byte, within bool) error {
	content, n := protowire.ConsumeBytes(value)
	if n < 0 {
		return refuse(Malformed, "not a protobuf message")
	}
	if len(content) == 0 && within {
		return r.put(f.place, true, Value{})
	}
	for len(content) > 0 {
		size := protowire.ConsumeFieldValue(f.descriptor.Number(), want, content)
		if size < 0 {
			return refuse(Malformed, "not a protobuf message")
		}
		v, err := scalar(f.descriptor.Kind(), content[:size])
		if err != nil {
			return err
		}
		if err := r.put(f.place, true, v); err != nil {
			return err
		}
		content = content[size:]
	}
	return nil
}

// scalar reads one value of a kind.
func scalar(kind protoreflect.Kind, value []byte) (Value, error) {
	var number uint64
	var n int
	switch wireTypes[kind] {
	case protowire.BytesType:
		content, n := protowire.ConsumeBytes(value)
		if n < 0 || !utf8.Valid(content) {
			return Value{}, refuse(Malformed, "a string that is not UTF-8")
		}
		return Value{String, string(content)}, nil
	case protowire.Fixed32Type:
		var short uint32
		short, n = protowire.ConsumeFixed32(value)
		number = uint64(short)
	case protowire.Fixed64Type:
		number, n = protowire.ConsumeFixed64(value)
	default:
		number, n = protowire.ConsumeVarint(value)
	}
	if n < 0 {
		return Value{}, refuse(Malformed, "not a protobuf message")
	}
	text, ok := decimal(kind, number)
	if !ok {
		return Value{}, refuse(Ambiguous, "a number that does not fit its type, of which readers keep different bits")
	}
	return Value{Number, text}, nil
}

// decimal writes a number of a kind; false where it has bits that the kind does not hold.
func decimal(kind protoreflect.Kind, number uint64) (string, bool) {
	switch kind {
	case protoreflect.Uint32Kind, protoreflect.Fixed32Kind:
		return strconv.FormatUint(number, 10), number <= 1<<32-1
	case protoreflect.Uint64Kind, protoreflect.Fixed64Kind:
		return strconv.FormatUint(number, 10), true
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		signed := protowire.DecodeZigZag(number)
		return strconv.FormatInt(signed, 10), kind == protoreflect.Sint64Kind || signed == int64(int32(signed))
	case protoreflect.Sfixed32Kind:
		return strconv.FormatInt(int64(int32(number)), 10), true
	case protoreflect.Int32Kind:
		return strconv.FormatInt(int64(number), 10), int64(number) == int64(int32(number))
	}
	return strconv.FormatInt(int64(number), 10), true
}
