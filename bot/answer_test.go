package bot_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// answering is somebody's answer by the command line, with their own token, to
// the head that GitHub shows now.
func (tn *town) answering(login string, pull int) bot.AnswerAsk {
	tn.t.Helper()
	token, err := tn.GitHub.UserToken(login, tn.App)
	tn.must(err)
	return bot.AnswerAsk{Head: tn.head(pull), Token: world.NewSecret(token), From: bot.FromCLI}
}

// head is the head that GitHub shows of a pull request.
func (tn *town) head(pull int) string {
	tn.t.Helper()
	var p struct {
		Head struct {
			SHA string `json:"sha"`
		} `json:"head"`
	}
	tn.read(fmt.Sprintf("/pulls/%d", pull), &p)
	return p.Head.SHA
}

// refusal fails the test unless err refuses in words that hold want.
func (tn *town) refusal(err error, want string) {
	tn.t.Helper()
	var refused *bot.Error
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, want) {
		tn.t.Errorf("%v; want a refusal that says %q", err, want)
	}
}

// TestE14_AnApprovalIsTheHumansOwnReview: GitHub has it as theirs, on the
// commit that they were shown, and the merge names it.
func TestE14_AnApprovalIsTheHumansOwnReview(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	a := tn.answering("dana", pull)
	v, err := r.Bot.Approve(t.Context(), person("dana"), id, a)
	tn.must(err)
	if v.Phase != grants.PhaseApproved && v.Phase != grants.PhaseRequested {
		t.Errorf("the grant is %s", v.Phase)
	}
	tn.settle(r)
	if v := tn.phase(r, id, grants.PhaseApproved); strings.Join(v.Approvers, " ") != "dana" {
		t.Errorf("approved by %v", v.Approvers)
	}
	if got := trailerOf(tn.mergeOf(id).Message, "Tac-Approver"); !strings.HasPrefix(got, "1004 ") || !strings.HasSuffix(got, a.Head) {
		t.Errorf("the merge names %q", got)
	}
	var reviews []struct {
		User struct {
			Login, Type string
		}
		Commit string `json:"commit_id"`
	}
	tn.read(fmt.Sprintf("/pulls/%d/reviews", pull), &reviews)
	if len(reviews) != 1 || reviews[0].User.Login != "dana" || reviews[0].User.Type != "User" || reviews[0].Commit != a.Head {
		t.Errorf("reviews: %+v", reviews)
	}
}

func TestE14_AnAnswerIsForTheHeadOneWasShown(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	a := tn.answering("dana", pull)
	for head, want := range map[string]string{"": "which commit you were shown", strings.Repeat("b", 40): "has changed since you were shown bbbbbbb"} {
		a.Head = head
		_, err := r.Bot.Approve(t.Context(), person("dana"), id, a)
		tn.refusal(err, want)
		a.Reason = "no"
		_, err = r.Bot.Deny(t.Context(), person("dana"), id, a)
		tn.refusal(err, want)
	}
	tn.unmerged(r, id, "bob")
}

// TestE14_WhoMayNotAnswerIsToldWho: nothing is submitted in their name.
func TestE14_WhoMayNotAnswerIsToldWho(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	for login, want := range map[string]string{
		"bob":     "nobody answers their own request",
		"carol":   "no grant " + string(id) + " that you may see",
		"mallory": "no grant " + string(id) + " that you may see",
	} {
		a := tn.answering("dana", pull)
		a.Reason = "a reason"
		_, err := r.Bot.Approve(t.Context(), person(login), id, a)
		tn.refusal(err, want)
		_, err = r.Bot.Deny(t.Context(), person(login), id, a)
		tn.refusal(err, want)
	}
	if n := tn.asked("POST", "/reviews"); n != 0 {
		t.Errorf("%d reviews were submitted", n)
	}
	tn.unmerged(r, id, "bob")
}

// TestADenialByAnswerStandsUntilTheSamePersonApproves as every other does.
func TestADenialByAnswerStandsUntilTheSamePersonApproves(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	a := tn.answering("dana", pull)
	_, err := r.Bot.Deny(t.Context(), person("dana"), id, a)
	tn.refusal(err, "say why")
	a.Reason = "use the replica"
	_, err = r.Bot.Deny(t.Context(), person("dana"), id, a)
	tn.must(err)
	tn.must(tn.sync(r))
	if v := tn.see(r, id); !strings.Contains(v.Why, "@dana denied it (\"use the replica\")") {
		t.Errorf("the requester reads %q", v.Why)
	}
	e := tn.answering("eve", pull)
	_, err = r.Bot.Approve(t.Context(), person("eve"), id, e)
	tn.must(err)
	tn.unmerged(r, id, "bob")
	a.Reason = ""
	_, err = r.Bot.Approve(t.Context(), person("dana"), id, a)
	tn.must(err)
	tn.settle(r)
	tn.phase(r, id, grants.PhaseApproved)
	_, err = r.Bot.Approve(t.Context(), person("dana"), id, a)
	tn.refusal(err, "nothing waits for an answer any more")
}

// TestPolicySaysFromWhereOneMayApprove: Slack only where a policy lists it.
func TestPolicySaysFromWhereOneMayApprove(t *testing.T) {
	t.Parallel()
	tn := newTown(t, two) // which lists nothing
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	a := tn.answering("dana", pull)
	a.From = bot.FromSlack
	_, err := r.Bot.Approve(t.Context(), person("dana"), id, a)
	tn.refusal(err, "policy takes no approvals from Slack for postgres-prod")
	tn.unmerged(r, id, "bob")
}

// narrowed makes a request of bob's for 2h that dana approves for 1h.
func (tn *town) narrowed(r *demo.Replica) (id grants.ID, pull int) {
	tn.t.Helper()
	id, pull = tn.waiting(r)
	a := tn.answering("dana", pull)
	a.Duration = time.Hour
	_, err := r.Bot.Approve(tn.t.Context(), person("dana"), id, a)
	tn.must(err)
	return id, pull
}

func TestAnApproverGivesLessTimeThanWasAskedFor(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, _ := tn.narrowed(r)
	tn.settle(r)
	v := tn.phase(r, id, grants.PhaseApproved)
	if v.Duration != "1h" || v.EndsAt.Sub(*v.StartsAt) != time.Hour {
		t.Errorf("granted for %s, from %s to %s", v.Duration, v.StartsAt, v.EndsAt)
	}
	_, content := tn.file(id)
	if !strings.Contains(content, "duration: 1h\n") || !strings.Contains(content, "narrows: ") {
		t.Errorf("merged:\n%s", content)
	}
	if subject := tn.mergeOf(id).Message; !strings.HasPrefix(subject, "postgres-prod for bob, 1h, approved by dana") {
		t.Errorf("the merge says %q", subject)
	}
	tn.takes(r, id, "bob")
}

func TestNobodyGivesMoreThanWasAskedFor(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	for d, want := range map[time.Duration]string{3 * time.Hour: "can only give less", time.Second: "too short"} {
		a := tn.answering("dana", pull)
		a.Duration = d
		_, err := r.Bot.Approve(t.Context(), person("dana"), id, a)
		tn.refusal(err, want)
	}
	tn.unmerged(r, id, "bob")
}

// two demands an approval of each of two policies.
var two = map[string]string{"policies/more.yaml": "kind: AccessPolicy\nmetadata: {name: more}\nspec:\n  resource: postgres-prod\n  approval: {required_approvers: 1, approver_roles: [second]}\n---\nkind: Role\nmetadata: {name: second}\nspec: {members: [carol]}\n"}

// TestA3_NarrowingKeepsWhatOthersApproved is the one exception to "another
// commit, another consent": the bot's own commit, which gives less.
func TestA3_NarrowingKeepsWhatOthersApproved(t *testing.T) {
	t.Parallel()
	tn := newTown(t, two)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	tn.review(pull, "carol", "APPROVE") // of 2h
	wide := tn.head(pull)
	a := tn.answering("dana", pull)
	a.Duration = time.Hour
	_, err := r.Bot.Approve(t.Context(), person("dana"), id, a)
	tn.must(err)
	tn.settle(r)
	v := tn.phase(r, id, grants.PhaseApproved)
	if strings.Join(v.Approvers, " ") != "carol dana" || v.Duration != "1h" {
		t.Errorf("%s approved by %v", v.Duration, v.Approvers)
	}
	if !strings.Contains(tn.mergeOf(id).Message, wide) {
		t.Error("the merge does not name the commit that carol approved")
	}
	tn.takes(r, id, "bob")
}

// TestA3_NobodyElseNarrows: a commit on top of a narrowing, or one that brings
// the wider file back, voids everything, whoever signed the file.
func TestA3_NobodyElseNarrows(t *testing.T) {
	t.Parallel()
	for name, push := range map[string]func(tn *town, path, wide, narrow string) github.Push{
		"the wider file again": func(_ *town, path, wide, _ string) github.Push {
			return github.Push{Files: map[string]string{path: wide}}
		},
		"the same file in another commit": func(_ *town, path, _, narrow string) github.Push {
			return github.Push{Files: map[string]string{path: narrow}}
		},
		"a file nobody signed": func(_ *town, path, _, narrow string) github.Push {
			return github.Push{Files: map[string]string{path: strings.Replace(narrow, "duration: 1h", "duration: 30m", 1)}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tn := newTown(t, two)
			r := tn.replica("one")
			id, pull := tn.waiting(r)
			branch := grants.BranchPrefix + string(id)
			path := "grants/postgres-prod/" + string(id) + ".yaml"
			before, err := tn.GitHub.Files(demo.Repository, branch)
			tn.must(err)
			a := tn.answering("dana", pull)
			a.Duration = time.Hour
			_, err = r.Bot.Approve(t.Context(), person("dana"), id, a) // carol's is still missing
			tn.must(err)
			after, err := tn.GitHub.Files(demo.Repository, branch)
			tn.must(err)
			tn.must(tn.GitHub.Unprotect(demo.Repository))
			p := push(tn, path, before[path], after[path])
			p.Login, p.Branch, p.Message = "eve", branch, "nothing to see"
			_, err = tn.push(p)
			tn.must(err)
			tn.review(pull, "carol", "APPROVE")
			tn.review(pull, "dana", "APPROVE")
			tn.unmerged(r, id, "bob")
		})
	}
}

// TestANarrowingThatWasInterruptedIsFinishedBeforeAnythingIsMerged: once it is
// noted, the wider request is never merged, whoever approves it.
func TestANarrowingThatWasInterruptedIsFinishedBeforeAnythingIsMerged(t *testing.T) {
	t.Parallel()
	tn := newTown(t, nil)
	r := tn.replica("one")
	id, pull := tn.waiting(r)
	a := tn.answering("dana", pull)
	a.Duration = time.Hour
	tn.GitHub.Order(sandbox.Fault{Method: "POST", Path: "/git-receive-pack", When: sandbox.Before, Times: 1})
	_, err := r.Bot.Approve(t.Context(), person("dana"), id, a)
	if err == nil {
		t.Fatal("the push was lost, and nobody heard of it")
	}
	tn.review(pull, "eve", "APPROVE") // of 2h, or of 1h: whatever is there now
	tn.settle(r)
	v := tn.see(r, id)
	if v.Phase == grants.PhaseApproved && v.Duration != "1h" {
		t.Errorf("merged for %s", v.Duration)
	}
	if v.Duration != "1h" {
		t.Errorf("%s for %s: the narrowing was forgotten", v.Phase, v.Duration)
	}
}

// suggests has somebody review with a suggestion for the grant's duration.
func (tn *town) suggests(login string, id grants.ID, pull int, event, duration string) {
	tn.t.Helper()
	path := "grants/postgres-prod/" + string(id) + ".yaml"
	files, err := tn.GitHub.Files(demo.Repository, grants.BranchPrefix+string(id))
	tn.must(err)
	line := 1 + strings.Count(strings.Split(files[path], "  duration:")[0], "\n")
	token, err := tn.GitHub.PAT(login)
	tn.must(err)
	status := tn.request(token, http.MethodPost, fmt.Sprintf("/pulls/%d/reviews", pull), map[string]any{
		"event": event, "body": "rather", "commit_id": tn.head(pull),
		"comments": []map[string]any{{"path": path, "line": line, "side": "RIGHT", "body": "```suggestion\n  duration: " + duration + "\n```"}},
	})
	if status != http.StatusOK {
		tn.t.Fatalf("the review: %d", status)
	}
}

// TestASuggestionInAnApprovalIsWhatIsApproved where it is shorter; tac commits
// it, and the approval goes on to count. Nobody else's suggestion does anything.
func TestASuggestionInAnApprovalIsWhatIsApproved(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct{ login, event, duration, want string }{
		"shorter":                          {"dana", "APPROVE", "45m", "45m"},
		"longer":                           {"dana", "APPROVE", "3h", "2h"},
		"no duration":                      {"dana", "APPROVE", "a while", "2h"},
		"in a comment":                     {"dana", "COMMENT", "45m", "2h"},
		"by somebody who does not approve": {"carol", "APPROVE", "45m", "2h"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tn := newTown(t, nil)
			r := tn.replica("one")
			id, pull := tn.waiting(r)
			tn.suggests(tc.login, id, pull, tc.event, tc.duration)
			if tc.login != "dana" || tc.event != "APPROVE" {
				tn.review(pull, "eve", "APPROVE")
			}
			tn.settle(r)
			if v := tn.phase(r, id, grants.PhaseApproved); v.Duration != tc.want {
				t.Errorf("granted for %s, want %s", v.Duration, tc.want)
			}
		})
	}
}
