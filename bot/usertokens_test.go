package bot_test

import (
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants/world"
)

// pairOf is a pair of tokens that login got from GitHub for our App.
func (tn *town) pairOf(login string) world.UserToken {
	tn.t.Helper()
	access, refresh, err := tn.GitHub.UserTokens(login, tn.App)
	tn.must(err)
	return world.UserToken{Person: person(login), Access: world.NewSecret(access), Refresh: world.NewSecret(refresh)}
}

// leaves leaves a token with tac, as `tac login --slack` does.
func (tn *town) leaves(r *demo.Replica, login string) world.UserToken {
	tn.t.Helper()
	pair := tn.pairOf(login)
	tn.must(r.Bot.KeepToken(tn.t.Context(), person(login), pair))
	return pair
}

// lives reports whether GitHub still takes a token.
func (tn *town) lives(token world.Secret) bool { return tn.GitHub.TokenLives(token.Reveal()) }

// denied fails the test unless err is a refusal with the code and the words.
func denied(t *testing.T, err error, code bot.Code, words string) {
	t.Helper()
	var refusal *bot.Error
	if !errors.As(err, &refusal) || refusal.Code != code || !strings.Contains(refusal.Message, words) {
		t.Errorf("got %v, want %s with %q", err, code, words)
	}
	if strings.Contains(fmt.Sprintf("%v %+v", err, errors.Unwrap(err)), "ghu_") {
		t.Errorf("a token stands in %v", err)
	}
}

func TestATokenThatIsLeftServesItsOwnerAndNothingSeenOnTheWayIsOfUse(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one")
	_, err := r.Bot.TokenOf(t.Context(), person("dana"))
	denied(t, err, bot.CodeDenied, "run `tac login --slack`")
	sent := tn.leaves(r, "dana")
	if tn.lives(sent.Access) || tn.lives(sent.Refresh) {
		t.Error("what was sent is still good")
	}
	got, err := r.Bot.TokenOf(t.Context(), person("dana"))
	tn.must(err)
	if !tn.lives(got) || tn.GitHub.LiveUserTokens("dana") != 1 {
		t.Error("what is kept is not good, or something is left over")
	}
	if _, err := r.Bot.TokenOf(t.Context(), person("alice")); err == nil {
		t.Error("it serves somebody else")
	}
	again := tn.leaves(r, "dana") // on another machine, say
	if tn.lives(got) || tn.lives(again.Access) || tn.GitHub.LiveUserTokens("dana") != 1 {
		t.Error("what was left before is still good")
	}
}

func TestE14_OnlyOnesOwnTokenOfOurAppCanBeLeft(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one")
	other, err := tn.GitHub.AddApp("other", 4799)
	tn.must(err)
	theirs, err := tn.GitHub.UserToken("mallory", other)
	tn.must(err)
	pat, err := tn.GitHub.PAT("dana")
	tn.must(err)
	dana := tn.pairOf("dana")
	own := tn.pairOf("alice")
	own.Refresh = dana.Refresh // her access token, and the refresh token of an approver
	for name, tc := range map[string]struct {
		login string
		token world.UserToken
	}{
		"another person's":                 {"alice", tn.pairOf("dana")},
		"one's own with another's refresh": {"alice", own},
		"another App's":                    {"dana", world.UserToken{Access: world.NewSecret(theirs)}},
		"a personal access token":          {"dana", world.UserToken{Access: world.NewSecret(pat)}},
		"one made up":                      {"dana", world.UserToken{Access: world.NewSecret("ghu_0123")}},
		"none":                             {"dana", world.UserToken{}},
		"of somebody who is not among us":  {"mallory", tn.pairOf("mallory")},
	} {
		t.Run(name, func(t *testing.T) {
			words := "made by you"
			if tc.login == "mallory" {
				words = "not among the people"
			}
			denied(t, r.Bot.KeepToken(t.Context(), person(tc.login), tc.token), bot.CodeDenied, words)
			if _, err := r.Bot.TokenOf(t.Context(), person(tc.login)); err == nil {
				t.Error("it was kept nevertheless")
			}
		})
	}
	if tn.lives(dana.Refresh) {
		t.Error("a refresh token that somebody else had is still good")
	}
}

func TestAStaleTokenIsRefreshedAndStored(t *testing.T) {
	tn := newTown(t, nil)
	one, two := tn.replica("one"), tn.replica("two")
	tn.leaves(one, "dana")
	first, err := one.Bot.TokenOf(t.Context(), person("dana"))
	tn.must(err)
	tn.Clock.Advance(9 * time.Hour)
	second, err := one.Bot.TokenOf(t.Context(), person("dana"))
	tn.must(err)
	same, err := two.Bot.TokenOf(t.Context(), person("dana"))
	tn.must(err)
	if tn.lives(first) || !tn.lives(second) || same.Reveal() != second.Reveal() {
		t.Error("the other replica has another token than the one that was refreshed")
	}
	tn.GitHub.ExpireUserTokens("dana") // before its time, say by hand
	tn.Clock.Advance(2 * time.Minute)  // what was proved a moment ago is believed for a minute
	third, err := two.Bot.TokenOf(t.Context(), person("dana"))
	tn.must(err)
	if !tn.lives(third) {
		t.Error("the token that was refreshed is not good")
	}
}

func TestTwoReplicasThatRefreshAtOnceLoseNoToken(t *testing.T) {
	tn := newTown(t, nil)
	var log lockedBuffer
	loud := func(_ *server.Config, o *server.Options) {
		o.Log = slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	replicas := []*demo.Replica{tn.replica("one", loud), tn.replica("two", loud), tn.replica("three", loud)}
	tn.leaves(replicas[0], "dana")
	for range 3 {
		tn.Clock.Advance(9 * time.Hour)
		var wg sync.WaitGroup
		got := make([]world.Secret, len(replicas))
		for i, r := range replicas {
			wg.Go(func() {
				var err error
				if got[i], err = r.Bot.TokenOf(t.Context(), person("dana")); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		for _, token := range got {
			if !tn.lives(token) || token.Reveal() != got[0].Reveal() {
				t.Fatal("a replica has a token that is not the one")
			}
		}
	}
	if n := tn.GitHub.LiveUserTokens("dana"); n != 1 {
		t.Errorf("%d tokens live", n)
	}
	if strings.Contains(log.String(), "ghu_") || strings.Contains(log.String(), "ghr_") {
		t.Error("a token stands in the log")
	}
}

func TestATokenThatIsTakenBackIsDeadAtGitHubToo(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one")
	if was, err := r.Bot.ForgetToken(t.Context(), person("dana")); was || err != nil {
		t.Errorf("nothing was left: %v, %v", was, err)
	}
	tn.leaves(r, "dana")
	got, err := r.Bot.TokenOf(t.Context(), person("dana"))
	tn.must(err)

	// GitHub is down: nothing is forgotten, or it could never be revoked.
	tn.GitHub.Order(sandbox.Fault{Method: "DELETE", Path: "/applications/", When: sandbox.Answer, Status: 503})
	_, err = r.Bot.ForgetToken(t.Context(), person("dana"))
	denied(t, err, bot.CodeUnavailable, "not revoked and forgotten yet")

	if was, err := r.Bot.ForgetToken(t.Context(), person("dana")); !was || err != nil {
		t.Fatalf("taken back: %v, %v", was, err)
	}
	if tn.lives(got) || tn.GitHub.LiveUserTokens("dana") != 0 {
		t.Error("GitHub still takes a token of hers")
	}
	_, err = r.Bot.TokenOf(t.Context(), person("dana"))
	denied(t, err, bot.CodeDenied, "run `tac login --slack`")
	admin, err := tn.VaultAdmin()
	tn.must(err)
	for version := 0; version <= 3; version++ { // 0 is the newest; Vault keeps the old ones too
		kept, err := admin.Logical().ReadWithData("tac/data/users/1004", map[string][]string{"version": {strconv.Itoa(version)}})
		tn.must(err)
		tokens := regexp.MustCompile(`gh[ur]_[0-9a-f]+`).FindAllString(fmt.Sprint(kept.Data["data"]), -1)
		if version == 0 && len(tokens) > 0 || version == 1 && len(tokens) != 2 {
			t.Errorf("version %d holds %d tokens", version, len(tokens))
		}
		for _, token := range tokens {
			if tn.GitHub.TokenLives(token) {
				t.Errorf("version %d holds a token that still works", version)
			}
		}
	}
	tn.leaves(r, "dana") // and it can be left again
	if _, err := r.Bot.TokenOf(t.Context(), person("dana")); err != nil {
		t.Error(err)
	}
}

func TestWhoeverRevokesItAtGitHubIsToldHowToLeaveANewOne(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one")
	pair := tn.pairOf("dana")
	pair.Refresh = world.Secret{} // an App whose tokens do not end
	tn.must(r.Bot.KeepToken(t.Context(), person("dana"), pair))
	tn.GitHub.ExpireUserTokens("dana")
	tn.Clock.Advance(2 * time.Minute)
	_, err := r.Bot.TokenOf(t.Context(), person("dana"))
	denied(t, err, bot.CodeDenied, "run `tac login --slack`")
}

func TestSigningOutRevokesThatTokenAndNoOther(t *testing.T) {
	tn := newTown(t, nil)
	r := tn.replica("one")
	tn.leaves(r, "dana")
	here, there := tn.pairOf("dana"), tn.pairOf("dana")
	tn.must(r.Bot.EndLogin(t.Context(), person("dana"), here.Access))
	if tn.lives(here.Access) || !tn.lives(there.Access) {
		t.Error("another token went, or this one did not")
	}
	if _, err := r.Bot.TokenOf(t.Context(), person("dana")); err != nil {
		t.Errorf("what she left for Slack went too: %v", err)
	}
}
