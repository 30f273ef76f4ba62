package webhooks

import (
	"encoding/json"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/policies"
)

type document struct {
	OpenAPI    string
	Paths      map[string]map[string]json.RawMessage
	Components struct {
		Schemas map[string]struct {
			Properties map[string]json.RawMessage
			Required   []string
		}
	}
}

func readDocument(t *testing.T) document {
	t.Helper()
	h := newHarness(t)
	w := h.call("GET", "/api/v1/openapi.json", "", "Authorization", "")
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
		t.Fatalf("openapi.json answers %d %s", w.Code, w.Header().Get("Content-Type"))
	}
	return read[document](t, w)
}

func TestTheDescriptionHasExactlyTheRoutes(t *testing.T) {
	c := newHarness(t).config()
	c.Metrics = prometheus.NewRegistry()
	engine, err := newEngine(c)
	if err != nil {
		t.Fatal(err)
	}
	var served, described []string
	param := regexp.MustCompile(`:(\w+)`)
	for _, r := range engine.Routes() {
		if strings.HasPrefix(r.Path, apiPath+"/") {
			served = append(served, r.Method+" "+param.ReplaceAllString(r.Path, "{$1}"))
		}
	}
	d := readDocument(t)
	for path, item := range d.Paths {
		for member := range item {
			if member != "parameters" {
				described = append(described, strings.ToUpper(member)+" "+path)
			}
		}
	}
	slices.Sort(served)
	slices.Sort(described)
	if !slices.Equal(served, described) || !strings.HasPrefix(d.OpenAPI, "3.1.") {
		t.Errorf("served:\n%s\ndescribed as %s:\n%s", strings.Join(served, "\n"), d.OpenAPI, strings.Join(described, "\n"))
	}
}

func TestTheDescriptionRefersToWhatItHas(t *testing.T) {
	var root any
	if err := json.Unmarshal(openapi, &root); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`"\$ref": "#/([^"]+)"`).FindAllStringSubmatch(string(openapi), -1) {
		at := root
		for step := range strings.SplitSeq(m[1], "/") {
			members, _ := at.(map[string]any)
			at = members[step]
		}
		if at == nil {
			t.Errorf("#/%s leads nowhere", m[1])
		}
	}
}

// members lists the names under which encoding/json writes v's fields.
func members(v any) []string {
	var names []string
	for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
		if !f.IsExported() {
			continue
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func TestTheDescriptionHasExactlyTheFields(t *testing.T) {
	schemas := readDocument(t).Components.Schemas
	for name, v := range map[string]any{
		"Grant": bot.View{}, "Explanation": bot.Explanation{}, "Problem": problem{}, "Credential": credential{},
		"RequestAnswer": requestAnswer{}, "Reason": policies.Reason{}, "Verdict": policies.Verdict{},
	} {
		if got := slices.Sorted(maps.Keys(schemas[name].Properties)); !slices.Equal(got, members(v)) {
			t.Errorf("%s is described with %v and has %v", name, got, members(v))
		}
	}
	encoded, err := json.Marshal(policies.Decision{})
	if err != nil {
		t.Fatal(err)
	}
	var decision map[string]any
	if err := json.Unmarshal(encoded, &decision); err != nil {
		t.Fatal(err)
	}
	for name := range decision {
		if _, ok := schemas["Decision"].Properties[name]; !ok {
			t.Errorf("decisions have %s, which is not described", name)
		}
	}
	for _, name := range schemas["Decision"].Required {
		if _, ok := decision[name]; !ok {
			t.Errorf("decisions are described to have %s always", name)
		}
	}
}
