package policies

import (
	"testing"
	"time"
)

// A typing mistake in a test must not deny everybody everything; a
// restriction that somebody put among the tests must not be overlooked.
func TestWhatIsWrongWithATestStopsNobody(t *testing.T) {
	for claim, tt := range map[string]struct {
		text  string
		loads bool
		told  string
	}{
		"no YAML":                {"kind: [\n", true, "policies/tests/x.yaml:1:1: this is not YAML: did not find expected node content"},
		"no kind":                {"metadata: {name: x}\n", true, "policies/tests/x.yaml:1:1: the key kind is missing; expected PolicyTest"},
		"an unknown kind":        {"kind: PolicyTset\n", true, `policies/tests/x.yaml:1:7: policies/tests/ holds PolicyTest documents and nothing else does; found "PolicyTset" here; did you mean PolicyTest?`},
		"no source":              {"kind: PolicyTest\nmetadata: {name: x}\nspec:\n  when: {requester: alice, resource: postgres-prod, duration: 1h}\n  given: {at: 2026-11-24T10:00:00Z, silent: [jria]}\n  cases: [{name: n, then: {decision: deny}}]\n", true, `policies/tests/x.yaml:5:46: given.silent[0]: "jria" is no source; did you mean jira?`},
		"a time that is none":    {"kind: PolicyTest\nmetadata: {name: x}\nspec:\n  when: {requester: alice, resource: postgres-prod, duration: 1h}\n  given: {at: 2026-11-24T10:00:00Z, uses: [{person: bob, resource: postgres-prod, approved: x, until: 2026-11-24T10:00:00Z}]}\n  cases: [{name: n, then: {decision: deny}}]\n", true, `policies/tests/x.yaml:5:93: given.uses[0].approved: "x" is not a time; write it as 2026-11-24T10:00:00 Europe/Berlin, or as 2026-11-24T09:00:00Z`},
		"an unknown key":         {"kind: PolicyTest\nmetadata: {name: x}\nspec: {case: []}\n", true, "policies/tests/x.yaml:3:8: spec: unknown key \"case\"; did you mean cases?"},
		"a guardrail among them": {"kind: Guardrail\nmetadata: {name: x}\nspec: {resources: ['*'], never_auto_approve: true}\n", false, `policies/tests/x.yaml:1:7: policies/tests/ holds PolicyTest documents and nothing else does; found "Guardrail" here`},
	} {
		files := append(readDir(t, "acme"), File{Path: "policies/tests/x.yaml", Data: []byte(tt.text)})
		set, faults := Load(files, time.LoadLocation)
		if loads := set.Err() == nil; loads != tt.loads {
			t.Errorf("%s: loads is %t: %v", claim, loads, faults)
		}
		_, wrong := ReadTests(files, set, time.LoadLocation)
		if told := append(faults, wrong...); len(told) != 1 || told[0].place() != tt.told {
			t.Errorf("%s: told %v\nwant %s", claim, told, tt.told)
		}
	}
}
