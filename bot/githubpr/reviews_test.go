package githubpr

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// signedIn is what GitHub gave a person when they signed in to our App.
func (f *forge) signedIn(login string) world.Secret {
	f.t.Helper()
	token, err := f.UserToken(login, f.app)
	must(f.t, err)
	return world.NewSecret(token)
}

func (f *forge) reviews(number int) []policies.Review {
	f.t.Helper()
	list, err := f.client().Reviews(f.t.Context(), number)
	must(f.t, err)
	return list
}

func TestAReviewIsTheHumansOwnAndOnThatHeadOnly(t *testing.T) {
	f := newForge(t)
	c := f.client()
	number, head := f.pull("mine") // by alice
	bob, carol := f.signedIn("bob"), f.signedIn("carol")
	approved, err := c.Review(t.Context(), bob, world.NewReview{Pull: number, Head: head, Approve: true})
	must(t, err)
	denied, err := c.Review(t.Context(), carol, world.NewReview{Pull: number, Head: head, Body: "Not during the freeze."})
	must(t, err)
	want := []policies.Review{
		{ID: approved, User: person("bob"), UserType: "User", State: policies.ReviewApproved, CommitID: head, SubmittedAt: noon},
		{ID: denied, User: person("carol"), UserType: "User", State: policies.ReviewChangesRequested, CommitID: head, SubmittedAt: noon},
	}
	if got := f.reviews(number); !slices.Equal(got, want) {
		t.Errorf("got %+v\nwant %+v", got, want)
	}
	f.push("mine")
	if got := f.reviews(number); !slices.Equal(got, want) {
		t.Errorf("after a push: %+v", got)
	}
}

func TestAMovedHeadIsLostAndNothingIsSubmitted(t *testing.T) {
	for name, move := range map[string]func(f *forge, number int){
		"somebody pushed": func(f *forge, _ int) { f.push("mine") },
		"it was closed":   func(f *forge, number int) { must(f.t, f.ClosePull(repo, number, "alice")) },
		"it was merged": func(f *forge, number int) {
			_, err := f.Merge(repo, number, "bob")
			must(f.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			number, head := f.pull("mine")
			move(f, number)
			id, err := f.client().Review(t.Context(), f.signedIn("bob"), world.NewReview{Pull: number, Head: head, Approve: true})
			if !errors.Is(err, world.ErrLost) || id != 0 || errors.Is(err, world.ErrNotOurs) {
				t.Errorf("%d, %v", id, err)
			}
			if f.count("POST", "/reviews") != 0 || len(f.reviews(number)) != 0 {
				t.Error("something was submitted")
			}
		})
	}
}

// TestAHeadThatMovesUnderTheReviewIsNotReviewed pins the commit: what was not
// seen is not approved, even where the push comes between looking and saying.
func TestAHeadThatMovesUnderTheReviewIsNotReviewed(t *testing.T) {
	f := newForge(t)
	number, head := f.pull("mine")
	moved := ""
	c := f.between(func(r *http.Request) {
		if r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/reviews") {
			moved = f.push("mine")
		}
	})
	id, err := c.Review(t.Context(), f.signedIn("bob"), world.NewReview{Pull: number, Head: head, Approve: true})
	must(t, err)
	if got := f.reviews(number); len(got) != 1 || got[0].ID != id || got[0].CommitID != head || moved == "" || moved == head {
		t.Errorf("the head is %q, the reviews are %+v", moved, got)
	}
}

// between is a client whose calls somebody looks at before they leave.
func (f *forge) between(look func(*http.Request)) *Client {
	f.t.Helper()
	c := f.client()
	c.tokens.next, c.people = &looking{look, c.tokens.next}, &looking{look, c.people}
	return c
}

type looking struct {
	look func(*http.Request)
	next http.RoundTripper
}

func (l *looking) RoundTrip(req *http.Request) (*http.Response, error) {
	l.look(req)
	return l.next.RoundTrip(req)
}

func TestWhomGitHubDoesNotLetReview(t *testing.T) {
	refusal := func(status int, body string) *sandbox.Fault {
		return &sandbox.Fault{Method: "POST", Path: "/reviews", When: sandbox.Answer, Status: status, Body: body}
	}
	tests := map[string]struct {
		token func(f *forge) world.Secret
		fault *sandbox.Fault
		asked int   // how often a review was submitted
		want  error // errAny: none that callers branch on
		words string
	}{
		"the author":                                {token: func(f *forge) world.Secret { return f.signedIn("alice") }, asked: 1, want: world.ErrNotOurs, words: "your own pull request"},
		"somebody without access":                   {token: func(f *forge) world.Secret { return f.signedIn("mallory") }, asked: 1, want: world.ErrNotOurs, words: "Not Found"},
		"a token that was revoked":                  {token: func(f *forge) world.Secret { return world.NewSecret("ghu_0123456789") }, want: world.ErrNotOurs},
		"a token that dies after it was seen":       {fault: refusal(401, `{"message":"Bad credentials"}`), asked: 1, want: world.ErrNotOurs, words: "Bad credentials"},
		"an organisation that wants single sign-on": {fault: refusal(403, `{"message":"Resource protected by organization SAML enforcement."}`), asked: 1, want: world.ErrNotOurs, words: "SAML"},
		"a personal access token": {want: world.ErrNotOurs, token: func(f *forge) world.Secret {
			token, err := f.PAT("bob")
			must(f.t, err)
			return world.NewSecret(token)
		}},
		"another app's token": {want: world.ErrNotOurs, token: func(f *forge) world.Secret {
			other, err := f.AddApp("other", 4712)
			must(f.t, err)
			_, err = f.Install(other, "acme", 78)
			must(f.t, err)
			token, err := f.UserToken("bob", other)
			must(f.t, err)
			return world.NewSecret(token)
		}},
		"our App's own token": {want: world.ErrNotOurs, token: func(f *forge) world.Secret {
			token, err := f.client().Token(f.t.Context())
			must(f.t, err)
			return token
		}},
		"no token": {token: func(*forge) world.Secret { return world.Secret{} }, want: world.ErrNotOurs},
		"somebody who has begun a review": {asked: 1, want: world.ErrNotOurs, words: "one pending review", token: func(f *forge) world.Secret {
			_, err := f.ReviewLines(repo, 1, "bob", "", "", "")
			must(f.t, err)
			return f.signedIn("bob")
		}},
		"a commit that is gone by then": {fault: refusal(422, `{"message":"Unprocessable Entity","errors":["The commit_id is not part of the pull request"]}`), asked: 1, want: world.ErrLost},
		"a person's limit is used up":   {fault: refusal(429, ""), asked: 1, want: errAny, words: "rate limit"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			c := f.client()
			number, head := f.pull("mine")
			if test.token == nil {
				test.token = func(f *forge) world.Secret { return f.signedIn("bob") }
			}
			token := test.token(f)
			if test.fault != nil {
				f.Order(*test.fault)
			}
			id, err := c.Review(t.Context(), token, world.NewReview{Pull: number, Head: head, Approve: true})
			if err == nil || id != 0 || !strings.Contains(err.Error(), test.words) {
				t.Fatalf("%d, %v", id, err)
			}
			for _, kind := range []error{world.ErrLost, world.ErrNotOurs, world.ErrAmbiguous} {
				if errors.Is(err, kind) != (test.want == kind) {
					t.Errorf("got %v; is it %q?", err, kind)
				}
			}
			if n := f.count("POST", "/reviews"); n != test.asked {
				t.Errorf("submitted %d times", n)
			}
			if _, err := c.Pull(t.Context(), number); err != nil {
				t.Errorf("the App cannot go on: %v", err)
			}
			if text := token.Reveal(); text != "" && strings.Contains(err.Error(), text) {
				t.Errorf("the token is in %q", err)
			}
		})
	}
}

func TestAReviewIsSaidOnce(t *testing.T) {
	f := newForge(t)
	c := f.client()
	number, head := f.pull("mine")
	bob := f.signedIn("bob")
	say := func(approve bool, body string) int64 {
		t.Helper()
		id, err := c.Review(t.Context(), bob, world.NewReview{Pull: number, Head: head, Approve: approve, Body: body})
		must(t, err)
		return id
	}
	first := say(true, "Go ahead.\n")
	if again := say(true, "Go ahead."); again != first {
		t.Errorf("said again as %d, it was %d", again, first)
	}
	other, err := c.Review(t.Context(), f.signedIn("carol"), world.NewReview{Pull: number, Head: head, Approve: true, Body: "Go ahead."})
	if err != nil || other == first {
		t.Errorf("carol says the same, and bob's review %d stands for hers: %v", first, err)
	}
	denied := say(false, "No, wait.")
	if again := say(true, "Go ahead."); again == first || again == denied {
		t.Errorf("after a denial the old approval %d stands for a new one", again)
	}
	must(t, f.Dismiss(repo, number, f.reviews(number)[3].ID, "carol", "No."))
	if again := say(true, "Go ahead."); again == f.reviews(number)[3].ID || len(f.reviews(number)) != 5 {
		t.Errorf("an approval that was dismissed stands: %+v", f.reviews(number))
	}
}

func TestWhatBecomesOfAReviewWhoseAnswerWasLost(t *testing.T) {
	for name, test := range map[string]struct {
		fault sandbox.Fault
		blind bool
		want  error // nil: it is found
	}{
		"after the work":             {fault: sandbox.Fault{When: sandbox.LostReply}},
		"a 502 after the work":       {fault: sandbox.Fault{When: sandbox.AnswerAfter, Status: 502}},
		"an answer of nothing":       {fault: sandbox.Fault{When: sandbox.AnswerAfter, Status: 200, Body: "{}"}},
		"before the work":            {fault: sandbox.Fault{When: sandbox.Before}, want: world.ErrAmbiguous},
		"a 503 instead of the work":  {fault: sandbox.Fault{When: sandbox.Answer, Status: 503}, want: world.ErrAmbiguous},
		"after, and nobody can tell": {fault: sandbox.Fault{When: sandbox.LostReply}, blind: true, want: world.ErrAmbiguous},
	} {
		t.Run(name, func(t *testing.T) {
			f := newForge(t)
			number, head := f.pull("mine")
			test.fault.Method, test.fault.Path = "POST", "/reviews"
			f.Order(test.fault)
			c := f.client()
			if test.blind {
				c = f.between(func(r *http.Request) {
					if r.Method == "POST" && strings.HasSuffix(r.URL.Path, "/reviews") {
						f.Order(sandbox.Fault{Method: "GET", Path: "/reviews", When: sandbox.Answer, Status: 500, Times: 1})
					}
				})
			}
			bob := f.signedIn("bob")
			ask := world.NewReview{Pull: number, Head: head, Approve: true, Body: "ok"}
			id, err := c.Review(t.Context(), bob, ask)
			if !errors.Is(err, test.want) || (err == nil) != (id > 0) {
				t.Fatalf("%d, %v; want %v", id, err, test.want)
			}
			again, err := c.Review(t.Context(), bob, ask)
			if err != nil || id > 0 && again != id {
				t.Errorf("again: %d, %v", again, err)
			}
			if got := f.reviews(number); len(got) != 1 || got[0].ID != again {
				t.Errorf("there are %+v", got)
			}
		})
	}
}

func TestAReviewNeedsAHeadAndADenialAReason(t *testing.T) {
	f := newForge(t)
	number, head := f.pull("mine")
	for name, r := range map[string]world.NewReview{
		"no head":              {Pull: number, Approve: true},
		"a branch":             {Pull: number, Approve: true, Head: "mine"},
		"no pull request":      {Approve: true, Head: head},
		"a denial without why": {Pull: number, Head: head, Body: " \n"},
	} {
		if id, err := f.client().Review(t.Context(), f.signedIn("bob"), r); err == nil {
			t.Errorf("%s: %d", name, id)
		}
	}
	if f.count("POST", "/reviews") != 0 {
		t.Error("GitHub was asked")
	}
}

// TestNobodysTokenIsEchoed pins that not even a proxy that repeats what it
// was sent gets a token into an error, in whatever form.
func TestNobodysTokenIsEchoed(t *testing.T) {
	f := newForge(t)
	number, head := f.pull("mine")
	bob := f.signedIn("bob")
	for _, body := range []string{
		`{"message":"what is ` + bob.Reveal() + `?"}`, `{"message":"x` + bob.Reveal() + `x"}`, "<html>Authorization: Bearer " + bob.Reveal(),
	} {
		for _, status := range []int{401, 403, 422, 500, 502} {
			f.Order(sandbox.Fault{Method: "POST", Path: "/reviews", When: sandbox.Answer, Status: status, Body: body})
			_, err := f.client().Review(t.Context(), bob, world.NewReview{Pull: number, Head: head, Approve: true})
			if err == nil || strings.Contains(err.Error(), bob.Reveal()[4:]) {
				t.Errorf("%d: %v", status, err)
			}
		}
	}
}
