package policies

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/grants"
)

// TestLintProvesWhatGuardrailsDo compares the proof with what it is about.
// Worlds are drawn at random. Where lint finds nothing against a guardrail,
// taking the guardrail away changes no decision, on any resource that exists
// or may come; where it finds something, there is a decision that changes.
func TestLintProvesWhatGuardrailsDo(t *testing.T) {
	random := rand.New(rand.NewPCG(4, 22))
	one := func(of ...string) string { return of[random.IntN(len(of))] }
	names := []string{"a-x", "a-y", "b-x", "b-y", "a-q", "q-x", "b-q", "q-y", "q"}
	patterns := []string{"'*'", "a-*", "b-*", "'*-x'", "'*-y'", "'*a*'", "a-x", "b-y"}
	clean, faulty := 0, 0
	for i := range 400 {
		environments := map[string]string{}
		for _, n := range names {
			environments[n] = one("", "production", "staging")
		}
		var exist []string
		for _, n := range names[:4] {
			if n == "a-x" || n == "b-y" || random.IntN(2) == 0 { // patterns name these two
				exist = append(exist, n)
			}
		}
		policy := "kind: AccessPolicy\nmetadata: {name: p}\nspec:\n  resources: [" + one(patterns...) + "]\n  max_duration: 8h\n  approval: {approver_roles: [lead]}\n  auto_approve:\n    conditions:\n"
		for range 1 + random.IntN(2) {
			policy += "      - {role: [developer]" + one("", ", max_duration: 1h", ", max_duration: 2h", ", max_duration: 4h") + one("", ", environment: [production]", ", environment: [staging]") + "}\n"
		}
		byName, byEnvironment := "resources: ["+one(patterns...)+"], ", "environment: ["+one("production", "staging")+"], "
		guardrail := "kind: Guardrail\nmetadata: {name: g}\nspec: {" + one(byName, byName, byEnvironment, byName+byEnvironment) +
			one("never_auto_approve: true", "auto_approve_max_duration: 1h", "auto_approve_max_duration: 2h", "max_duration: 8h", "max_duration: 2h") + "}\n"

		world := func(resources []string) string {
			text := policy
			for _, n := range resources {
				text += "---\nkind: Resource\nmetadata: {name: " + n + "}\nspec: {owners: [lead], vault: {engine: generic, path: a/b, policy: tac-x}"
				if environments[n] != "" {
					text += ", environment: " + environments[n]
				}
				text += "}\n"
			}
			return text
		}
		linted := mustLoad(t, doc("sound.yaml", withoutResources(sound)), doc("x.yaml", world(exist)), doc("g.yaml", guardrail))
		found := slices.DeleteFunc(linted.Lint(), func(f Finding) bool {
			return !strings.HasPrefix(f.Code, "guardrail/") || f.Code == "guardrail/no-resource"
		})
		future := names
		if strings.Contains(guardrail, "environment:") {
			future = exist // of resources to come nothing is proved by environment
		}
		with := mustLoad(t, doc("sound.yaml", withoutResources(sound)), doc("x.yaml", world(future)), doc("g.yaml", guardrail))
		without := mustLoad(t, doc("sound.yaml", withoutResources(sound)), doc("x.yaml", world(future)))
		changed := ""
		for _, n := range future {
			for _, d := range []time.Duration{hour, 2 * hour, 4 * hour, 8 * hour} {
				req, f := Request{Requester: grants.Principal{GitHub: "alice", ID: 1}, Resource: n, Duration: d, Reason: "x"}, Facts{At: monday}
				if a, b := with.Evaluate(req, f).Outcome, without.Evaluate(req, f).Outcome; a != b {
					changed = fmt.Sprintf("%s for %s (%s) is %v with the guardrail and %v without", d, n, environments[n], a, b)
				}
			}
		}
		switch {
		case len(found) == 0 && changed != "":
			t.Fatalf("world %d: lint finds nothing, and %s\n%s---\n%s", i, changed, world(exist), guardrail)
		case len(found) == 0:
			clean++
		case changed == "" && !strings.Contains(fmt.Sprint(found), "such as"):
			t.Fatalf("world %d: lint finds %v, and no decision changes\n%s---\n%s", i, found, world(exist), guardrail)
		default:
			faulty++
		}
	}
	if clean < 50 || faulty < 50 {
		t.Errorf("%d clean worlds and %d faulty ones show too little", clean, faulty)
	}
}

// withoutResources leaves the people and roles of a world.
func withoutResources(world string) string {
	return strings.Join(slices.DeleteFunc(strings.Split(world, "---\n"), func(doc string) bool {
		return !strings.HasPrefix(doc, "kind: People") && !strings.HasPrefix(doc, "kind: Role")
	}), "---\n")
}
