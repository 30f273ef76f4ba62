package bot_test

import (
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
)

// Auditors have a clone and nothing else.
func TestARealCloneTellsEveryGrantAndRemovalByItsMessageAlone(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.must(tn.sync(r))
	atOnce := tn.ask(r, "alice", "postgres-prod", 2*time.Hour)
	tn.must(tn.sync(r))
	reviewed := tn.ask(r, "bob", "bastion", 4*time.Hour)
	tn.must(tn.sync(r))
	_, err := tn.GitHub.Review(demo.Repository, tn.see(r, reviewed).PullRequest, "dana", "APPROVE", "")
	tn.must(err)
	tn.settle(r)
	tn.phase(r, reviewed, grants.PhaseApproved)
	_, err = r.Bot.Drop(t.Context(), person("bob"), reviewed)
	tn.must(err)
	tn.settle(r)
	tn.Clock.Advance(2 * time.Hour)
	tn.settle(r)

	dir := t.TempDir()
	git(t, dir, "clone", "--quiet", tn.GitHub.CloneURL(demo.Repository), ".")
	git(t, dir, "fsck", "--strict")
	log := git(t, dir, "log", "--first-parent", "--format=%B%x00", "--reverse")
	claims := []struct {
		what string
		form string
	}{
		{"who, what, how long and the rule, on one line", `(?m)^postgres-prod for alice, 2h, allowed by production-database/auto_approve\[0\] \(#1\)$`},
		{"why", `(?m)^alice asked through the command line at 2026-11-24T14:00:00Z:\n\n    a good reason\n`},
		{"the grant", `(?m)^Tac-Grant: ` + string(atOnce) + `\nTac-Requester: 1001\nTac-Decision: allow\nTac-Rule: production-database/auto_approve\[0\]\nTac-Policy: [0-9a-f]{40}\nTac-Pull: 1\nTac-Head: [0-9a-f]{40}\nTac-Facts: \{"at":"2026-11-24T14:00:00Z","teams":\[\{"team":"acme/dba","id":501,"members":\[1003\],`},
		{"who approved, on the line that people read", `(?m)^bastion for bob, 4h, approved by dana under bastion/approval \(#2\)$`},
		{"which review of which commit", `(?m)^Tac-Decision: review\nTac-Rule: bastion/approval\nTac-Policy: [0-9a-f]{40}\nTac-Pull: 2\nTac-Head: ([0-9a-f]{40})\nTac-Approver: 1004 [0-9]+ [0-9a-f]{40}\n`},
		{"a drop", `(?m)^end bastion for bob, 4h: dropped by bob\n\nTac-Grant: ` + string(reviewed) + `\nTac-Ended: dropped\nTac-By: bob\nTac-Reason: dropped by the requester$`},
		{"an expiry", `(?m)^end postgres-prod for alice, 2h: expired\n\nTac-Grant: ` + string(atOnce) + `\nTac-Ended: expired\nTac-By: tac\nTac-Reason: its time is over$`},
	}
	for _, c := range claims {
		if !regexp.MustCompile(c.form).MatchString(log) {
			t.Errorf("the log does not tell %s (%s)", c.what, c.form)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
	for _, message := range strings.Split(strings.TrimSpace(log), "\x00") {
		message = strings.TrimSpace(message)
		if strings.Contains(message, "Tac-") && len(bot.Trailers(message)) == 0 {
			t.Errorf("the trailers do not stand alone in the last paragraph:\n%s", message)
		}
	}
	parsed := git(t, dir, "log", "--format=%(trailers:key=Tac-Grant,valueonly)")
	for _, id := range []grants.ID{atOnce, reviewed} {
		if n := strings.Count(parsed, string(id)); n != 2 {
			t.Errorf("git itself finds %d commits with the trailer of %s, want 2", n, id)
		}
	}
}

func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "git", args...)
	cmd.Dir = dir
	cmd.Env = append(cmd.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null", "GIT_TERMINAL_PROMPT=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
