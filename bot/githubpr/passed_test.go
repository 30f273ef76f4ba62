package githubpr

import (
	"strings"
	"testing"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/grants/world"
)

// said is one verdict on a head: a new check run, ours or another App's.
type said struct {
	conclusion string // empty: in progress
	theirs     bool
}

func TestPassedIsTheLatestOfOurOwnVerdicts(t *testing.T) {
	tests := map[string]struct {
		said []said
		want bool
	}{
		"nothing was said":                        {nil, false},
		"success":                                 {[]said{{conclusion: "success"}}, true},
		"failure":                                 {[]said{{conclusion: "failure"}}, false},
		"in progress":                             {[]said{{}}, false},
		"success after a failure":                 {[]said{{conclusion: "failure"}, {conclusion: "success"}}, true},
		"a failure after success":                 {[]said{{conclusion: "success"}, {conclusion: "failure"}}, false},
		"in progress after success":               {[]said{{conclusion: "success"}, {}}, false},
		"success, and then another App's failure": {[]said{{conclusion: "success"}, {conclusion: "failure", theirs: true}}, true},
		"failure, and then another App's success": {[]said{{conclusion: "failure"}, {conclusion: "success", theirs: true}}, false},
		"another App's success alone":             {[]said{{conclusion: "success", theirs: true}}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			other, err := f.AddApp("other", 4712)
			must(t, err)
			installed, err := f.Install(other, "acme", 78)
			must(t, err)
			ours, theirs := f.client(), (&forge{Server: f.Server, t: t, clock: f.clock, app: other, on: installed}).client()
			head, elsewhere := f.push("mine"), f.push("another")
			for _, s := range test.said {
				by := ours
				if s.theirs {
					by = theirs
				}
				_, err := by.Check(t.Context(), 0, world.Check{Head: head, Conclusion: s.conclusion, Title: "title"})
				must(t, err)
			}
			_, err = ours.Check(t.Context(), 0, world.Check{Head: elsewhere, Conclusion: "success", Title: "title"})
			must(t, err)
			if got, err := ours.Passed(t.Context(), head); err != nil || got != test.want {
				t.Errorf("got %t, %v; want %t", got, err, test.want)
			}
		})
	}
}

func TestNobodyPassedWhereGitHubCannotTell(t *testing.T) {
	f := newForge(t)
	head := f.push("mine")
	c := f.client()
	_, err := c.Check(t.Context(), 0, world.Check{Head: head, Conclusion: "success", Title: "title"})
	must(t, err)
	for _, none := range []string{"", "mine", "HEAD", head[:39], head + "0"} {
		if passed, err := c.Passed(t.Context(), none); passed || err == nil {
			t.Errorf("%q is no commit: %t, %v", none, passed, err)
		}
	}
	if f.count("GET", "/check-runs") != 0 {
		t.Error("GitHub was asked about what is no commit")
	}
	if passed, err := c.Passed(t.Context(), strings.Repeat("b", 40)); passed || err == nil {
		t.Errorf("a commit that GitHub does not know: %t, %v", passed, err)
	}
	for _, status := range []int{403, 404, 500, 502} {
		f.Order(sandbox.Fault{Method: "GET", Path: "/check-runs", When: sandbox.Answer, Status: status, Times: -1})
		if passed, err := c.Passed(t.Context(), head); passed || err == nil {
			t.Errorf("status %d: %t, %v", status, passed, err)
		}
		f.ClearFaults()
	}
	if passed, err := c.Passed(t.Context(), head); !passed || err != nil {
		t.Errorf("asked again: %t, %v", passed, err)
	}
}

// TestEveryVerdictThatGitHubCallsLatestMustSaySuccess: it leaves out older runs
// of one check suite only, so one name may be listed twice.
func TestEveryVerdictThatGitHubCallsLatestMustSaySuccess(t *testing.T) {
	head := strings.Repeat("a", 40)
	run := func(head, status, conclusion string) map[string]any {
		return map[string]any{"id": 5, "name": checkName, "head_sha": head, "status": status, "conclusion": conclusion}
	}
	success := run(head, "completed", "success")
	for name, test := range map[string]struct {
		answer any
		want   bool
	}{
		"two that do":                {map[string]any{"check_runs": []any{success, success}}, true},
		"a failure after success":    {map[string]any{"check_runs": []any{success, run(head, "completed", "failure")}}, false},
		"neutral":                    {map[string]any{"check_runs": []any{run(head, "completed", "neutral")}}, false},
		"success, and not completed": {map[string]any{"check_runs": []any{run(head, "in_progress", "success")}}, false},
		"success of another head":    {map[string]any{"check_runs": []any{run(strings.Repeat("b", 40), "completed", "success")}}, false},
		"an answer that has none":    {"{}", false},
	} {
		t.Run(name, func(t *testing.T) {
			c := stub(t, map[string]any{"GET /repos/acme/grants/commits/" + head + "/check-runs": test.answer})
			if got, err := c.Passed(t.Context(), head); err != nil || got != test.want {
				t.Errorf("got %t, %v; want %t", got, err, test.want)
			}
		})
	}
}
