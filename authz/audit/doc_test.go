package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

const page = "../../docs/audit.md"

func readPage(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// rows are those of the table of the page whose first heading is this.
func rows(t *testing.T, text, heading string) [][]string {
	t.Helper()
	_, table, found := strings.Cut(text, "\n| "+heading+" |")
	if !found {
		t.Fatalf("%s has no table of %s", page, heading)
	}
	var all [][]string
	for line := range strings.Lines(table) {
		if all == nil || strings.HasPrefix(line, "|") {
			cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), " | ")
			for i := range cells {
				cells[i] = strings.TrimSpace(cells[i])
			}
			all = append(all, cells)
			continue
		}
		break
	}
	return all[2:] // the rest of the headings, and the rule below them
}

var quoted = regexp.MustCompile("`([^`]+)`")

// fill sets every field of a struct to something that is written.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		field := v.Field(i)
		switch field.Interface().(type) {
		case time.Time:
			field.Set(reflect.ValueOf(time.Unix(1, 0)))
		case []string:
			field.Set(reflect.ValueOf([]string{"x"}))
		default:
			switch field.Kind() {
			case reflect.String:
				field.SetString("x")
			case reflect.Bool:
				field.SetBool(true)
			case reflect.Int, reflect.Int64:
				field.SetInt(int64(time.Second))
			case reflect.Uint64:
				field.SetUint(1)
			default:
				t.Fatalf("a field of kind %s", field.Kind())
			}
		}
	}
}

// written are the keys of every kind of line with every field set.
func written(t *testing.T) []string {
	t.Helper()
	share, err := ParseShare("1%")
	if err != nil {
		t.Fatal(err)
	}
	key, err := NewKey("k1", bytes.Repeat([]byte{1}, 32))
	if err != nil {
		t.Fatal(err)
	}
	e := newEncoder(Options{Instance: "x", Run: "x", Pseudonymise: key, Allows: share})
	record := &Record{}
	exported := reflect.ValueOf(record).Elem()
	for i := range exported.NumField() {
		if exported.Type().Field(i).IsExported() {
			one := reflect.New(reflect.StructOf([]reflect.StructField{{Name: "X", Type: exported.Field(i).Type()}})).Elem()
			fill(t, one)
			exported.Field(i).Set(one.Field(0))
		}
	}
	record.sampled = true
	var event Event
	fill(t, reflect.ValueOf(&event).Elem())
	lines := e.record(nil, record, &repeats{})
	lines = e.record(lines, record, &repeats{count: 1})
	lines = e.event(lines, 1, &event)
	lines = e.gap(lines, gap{Lost: loss{count: 1}})
	keys := map[string]bool{}
	for line := range bytes.Lines(lines) {
		var m map[string]any
		if err := json.Unmarshal(line, &m); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		for k := range m {
			keys[k] = true
		}
	}
	return slices.Sorted(maps.Keys(keys))
}

// The attributes of OCSF's API Activity with the profile security_control, and ECS's field sets, as far as the page may name them.
var (
	ocsf = strings.Fields("activity_id actor api category_uid class_uid count duration http_request http_response message metadata resources severity_id " +
		"src_endpoint start_time status status_code status_detail status_id time type_uid unmapped action_id disposition_id policy")
	ecs = strings.Fields("@timestamp agent error event host http rule service source trace url user Sallyport")
	// required are the attributes of that requirement for class 6003 in the repository ocsf/ocsf-schema, version 1.9.0-dev: those of
	// events/base_event.json (at 32de09a) and of events/application/api_activity.json (at 2b1f2da), which the class application between
	// them adds nothing to. Of the profile security_control (profiles/security_control.json at 39657cf) none is required.
	required = strings.Fields("activity_id category_uid class_uid metadata severity_id time type_uid actor api src_endpoint")
	// recommended are those of the profile that a decision has something to say for.
	recommended = strings.Fields("action_id disposition_id")
)

// Every key that is written stands in the table of the page, and no other, with a place of its own in OCSF and ECS.
func TestMapping(t *testing.T) {
	text := readPage(t)
	var documented []string
	for _, row := range rows(t, text, "key") {
		if len(row) != 4 {
			t.Errorf("the row %v has no four cells", row)
			continue
		}
		key := strings.Trim(row[0], "`")
		documented = append(documented, key)
		for cell, known := range map[int][]string{2: ocsf, 3: ecs} {
			places := quoted.FindAllStringSubmatch(row[cell], -1)
			if len(places) == 0 {
				t.Errorf("%s has no place in %s", key, row[cell])
			}
			for _, place := range places {
				first, rest, _ := strings.Cut(place[1], ".")
				if !slices.Contains(known, first) {
					t.Errorf("%s: %s is no place", key, place[1])
				}
				if (first == "unmapped" || first == "Sallyport") && rest != key {
					t.Errorf("%s: %s is another key's place", key, place[1])
				}
			}
		}
	}
	keys := written(t)
	if len(keys) < 50 {
		t.Fatalf("only %d keys were written", len(keys))
	}
	for _, key := range keys {
		if !slices.Contains(documented, key) {
			t.Errorf("%s is written, and docs/audit.md does not say what it is", key)
		}
	}
	for _, key := range documented {
		if !slices.Contains(keys, key) {
			t.Errorf("docs/audit.md explains %s, which is never written", key)
		}
	}
	if len(documented) != len(slices.Compact(slices.Sorted(slices.Values(documented)))) {
		t.Error("a key stands twice in the table")
	}
}

// Whatever OCSF requires, and what its profile of security controls recommends, comes from a key that is written, or is a constant.
func TestRequiredByOCSF(t *testing.T) {
	for heading, names := range map[string][]string{"OCSF requires": required, "security_control recommends": recommended} {
		hasSources(t, heading, names)
	}
}

// hasSources checks that a table of the page has a row for each of these attributes, with a source that is written.
func hasSources(t *testing.T, heading string, names []string) {
	t.Helper()
	keys := written(t)
	found := map[string]bool{}
	for _, row := range rows(t, readPage(t), heading) {
		name := strings.Trim(row[0], "`")
		found[name] = true
		from := quoted.FindAllStringSubmatch(row[1], -1)
		constant := strings.HasPrefix(row[1], "constant")
		if !constant && len(from) == 0 {
			t.Errorf("%s comes from nowhere", name)
		}
		for _, source := range from {
			if !constant && !slices.Contains(keys, source[1]) {
				t.Errorf("%s comes from %s, which is never written", name, source[1])
			}
		}
	}
	for _, name := range names {
		if !found[name] {
			t.Errorf("%s %s, and the page has no source for it", heading, name)
		}
	}
	if len(found) != len(names) {
		t.Errorf("%s: the table has %d rows for %d attributes", heading, len(found), len(names))
	}
}

// The lines of the page are what the log writes.
func TestDocumentedLines(t *testing.T) {
	_, after, _ := strings.Cut(readPage(t), "```json\n")
	want, _, found := strings.Cut(after, "```")
	if !found {
		t.Fatal("the page has no lines")
	}
	at := time.Date(2026, 3, 1, 11, 0, 0, 123456789, time.UTC)
	var out bytes.Buffer
	l := New(&out, Options{Instance: "gate-1", Run: "R"})
	l.Event(Event{Time: at, Name: EventStart, Mode: "bounded", Allows: "all", Fold: DefaultFold})
	denial := Record{
		Time: at, DecisionID: "2Z5TNQJX7FQ3VHZ2C4YF6W3A5M", Verdict: "deny", Reason: "owner", Detail: "not_theirs", Status: 403, Service: "orders",
		Rule: "read-order", PolicyDigest: "5f1d", Method: "GET", Host: "orders.shop", Route: "GET /orders/{order_id}", Issuer: "shop", Subject: "alice",
		Kind: "person", ClientID: "web", TokenKey: "2026-11", Algorithm: "ES256", Address: "192.0.2.1", Forwarded: true, Object: "17",
		Latency: 41 * time.Microsecond,
	}
	l.Record(denial)
	l.Record(denial)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("docs/audit.md has\n%s\nand the log writes\n%s", want, out.String())
	}
}

// Every event that the code can name is explained.
func TestDocumentedEvents(t *testing.T) {
	_, text, _ := strings.Cut(readPage(t), "\n## Events")
	for _, name := range []string{EventStart, EventStop, EventConfig, EventKeys, EventRevocations, EventStore, EventPseudonyms, eventGap} {
		if !strings.Contains(text, "`"+name+"`") {
			t.Errorf("docs/audit.md does not explain the event %s", name)
		}
	}
}
