package rivals

import (
	"bytes"
	"context"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
	"github.com/open-policy-agent/opa/v1/util"

	"github.com/tigeraccess/tac/policies"
)

// loading is what has to happen before the first question can be asked.
type loading struct {
	name string
	load func(tb testing.TB)
	best time.Duration
}

// TestLoadingTheWorld reports how long each engine takes from bytes to ready.
// What is read differs more than in decisions: tac reads a grants repository
// as people write it, checks everything in it and remembers the place of
// every word for its messages, the Vault paths of a thousand resources among
// them. OPA is given only what its rules need, as JSON; and, to compare like
// with like, once the same YAML documents, parsed by its own loader.
func TestLoadingTheWorld(t *testing.T) {
	w := newWorld(t)
	files, data := w.documents(), w.dataJSON(t)
	all := []loading{
		{name: "tac, Load of the documents in YAML", load: func(tb testing.TB) { loadTac(tb, files) }},
		{name: "OPA, prepare with the same documents in YAML", load: func(tb testing.TB) { prepareOPAFromYAML(tb, files) }},
		{name: "OPA, prepare with what the rules need, in JSON", load: func(tb testing.TB) { prepareOPA(tb, data) }},
		{name: "OPA, a query for each policy", load: func(tb testing.TB) { prepareChosenOPA(tb, w) }},
		{name: "cedar-go, policies and entities", load: func(tb testing.TB) { parseCedar(tb, w.cedarText()); w.cedarEntities() }},
		{name: "CEL, a program for each policy", load: func(tb testing.TB) {
			env := newCELEnv(tb)
			for i := range w.policies {
				compileCEL(tb, env, w.policies[i].celText())
			}
		}},
		{name: "expr, a program for each policy", load: func(tb testing.TB) {
			for i := range w.policies {
				compileExpr(tb, either(w.policies[i].exprFields()))
			}
		}},
	}
	for range 8 {
		for i := range all {
			runtime.GC()
			begin := time.Now()
			all[i].load(t)
			if d := time.Since(begin); all[i].best == 0 || d < all[i].best {
				all[i].best = d
			}
		}
	}
	var out strings.Builder
	fmt.Fprintf(&out, "| %-47s | %8s | %6s |\n|%s|%s:|%s:|\n", "loading", "ms", "x tac", strings.Repeat("-", 49), strings.Repeat("-", 9), strings.Repeat("-", 7))
	for _, l := range all {
		fmt.Fprintf(&out, "| %-47s | %8.1f | %6.2f |\n", l.name, float64(l.best.Microseconds())/1000, float64(l.best)/float64(all[0].best))
	}
	t.Log("\n" + out.String())
}

// prepareOPAFromYAML reads tac's own documents the way OPA reads data.yaml.
func prepareOPAFromYAML(tb testing.TB, files []policies.File) {
	data := map[string]any{}
	for _, f := range files {
		for _, text := range bytes.Split(f.Data, []byte("---\n")) {
			var document map[string]any
			if len(text) == 0 {
				continue
			}
			if err := util.Unmarshal(text, &document); err != nil {
				tb.Fatalf("opa: %s: %v", f.Path, err)
			}
			kind, metadata := document["kind"].(string), document["metadata"].(map[string]any)
			named, ok := data[kind].(map[string]any)
			if !ok {
				named = map[string]any{}
				data[kind] = named
			}
			named[metadata["name"].(string)] = document["spec"]
		}
	}
	store := inmem.NewFromObjectWithOpts(data, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
	if _, err := rego.New(rego.Query("data.tac.allow"), rego.Module("tac.rego", byData), rego.Store(store)).PrepareForEval(context.Background()); err != nil {
		tb.Fatal("opa:", err)
	}
}
