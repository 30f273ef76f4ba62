package contract

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/webhooks"
)

// taken are the events that mean something to the bot.
var taken = []string{"check_run", "membership", "organization", "ping", "pull_request", "pull_request_review", "push", "team"}

// woken is a bot that only notes what it is woken for.
type woken struct {
	webhooks.Bot // nil: a webhook may ask for nothing else
	pulls        []int
	mains        int
	alls         int
}

func (w *woken) WakePull(number int) { w.pulls = append(w.pulls, number) }
func (w *woken) WakeMain()           { w.mains++ }
func (w *woken) WakeAll()            { w.alls++ }

type nobody struct{}

func (nobody) User(context.Context, world.Secret) (grants.Principal, error) {
	return grants.Principal{}, fmt.Errorf("nobody signs in here")
}
func (nobody) Recent(world.Secret) (grants.Principal, bool) { return grants.Principal{}, false }

const hookSecret = "a secret of this test"

// handler is the product's own, for the repository that a payload is about:
// events of any other it would not look at.
func handler(t *testing.T, bot webhooks.Bot, repository, branch string) http.Handler {
	t.Helper()
	h, err := webhooks.New(webhooks.Config{
		Bot: bot, Identity: nobody{}, IsRefused: func(error) bool { return true },
		WebhookSecret: world.NewSecret(hookSecret), Repository: repository, Branch: branch,
		BotID:    func() int64 { return 1 },
		ClientID: "Iv1.0000000000000000", GitHubURL: "https://github.com",
		Ready: func() error { return nil }, Metrics: prometheus.NewRegistry(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// about is what an example says of itself.
type about struct {
	Action      string
	Ref         string
	Number      int
	PullRequest struct{ Number int } `json:"pull_request"`
	Repository  struct {
		FullName      string `json:"full_name"`
		DefaultBranch string `json:"default_branch"`
	}
	Organization struct{ Login string }
}

// deliver posts a payload as GitHub does, correctly signed.
func deliver(t *testing.T, h http.Handler, e Example) (status int, result string) {
	t.Helper()
	mac := hmac.New(sha256.New, []byte(hookSecret))
	mac.Write(e.Payload)
	r := httptest.NewRequest(http.MethodPost, "/webhooks/github", bytes.NewReader(e.Payload))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", e.Event)
	r.Header.Set("X-GitHub-Delivery", "72d3162e-cc78-11e3-81ab-4c9367dc0958")
	r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	var answer struct{ Result string }
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
		t.Errorf("%s: the answer %d is not JSON: %v", e.Event, w.Code, err)
	}
	return w.Code, answer.Result
}

func TestRealPayloadsAreTaken(t *testing.T) {
	examples, err := LoadExamples(packages(t))
	if err != nil {
		t.Fatal(err)
	}
	figures.examples = len(examples)
	tried := map[string]int{}
	for i, e := range examples {
		var a about
		if err := json.Unmarshal(e.Payload, &a); err != nil {
			t.Fatalf("example %d of %s: %v", i, e.Event, err)
		}
		if a.Repository.FullName == "" { // of an organisation or an App, then
			a.Repository.FullName, a.Repository.DefaultBranch = cmp.Or(a.Organization.Login, "acme")+"/grants", "main"
		}
		bot := &woken{}
		status, result := deliver(t, handler(t, bot, a.Repository.FullName, a.Repository.DefaultBranch), e)
		if status < 200 || status > 299 {
			t.Errorf("example %d of %s is answered with %d", i, e.Event, status)
		}
		if slices.Contains(taken, e.Event) {
			tried[e.Event]++
			means(t, e.Event, a, bot, result)
		} else if len(bot.pulls)+bot.mains+bot.alls > 0 {
			t.Errorf("example %d of %s wakes the bot: %+v", i, e.Event, bot)
		}
	}
	for _, event := range taken {
		if tried[event] == 0 {
			t.Errorf("there is no example of %s", event)
		}
	}
}

// means checks that an example was not only taken but understood.
func means(t *testing.T, event string, a about, bot *woken, result string) {
	t.Helper()
	switch event {
	case "ping":
		if result != "pong" {
			t.Errorf("a ping is answered with %q", result)
		}
	case "push":
		if onMain := a.Ref == "refs/heads/"+a.Repository.DefaultBranch; onMain != (bot.mains == 1) {
			t.Errorf("a push to %s of %s wakes main %d times", a.Ref, a.Repository.FullName, bot.mains)
		}
	case "membership", "organization", "team":
		owner, _, _ := strings.Cut(a.Repository.FullName, "/")
		counts := a.Organization.Login == owner && slices.Contains([]string{"added", "removed", "member_added", "member_removed", "created", "deleted", "edited"}, a.Action)
		if counts != (bot.alls == 1) {
			t.Errorf("%s %s of %s wakes everything %d times", event, a.Action, a.Repository.FullName, bot.alls)
		}
	case "pull_request", "pull_request_review":
		if want := max(a.Number, a.PullRequest.Number); !slices.Equal(bot.pulls, []int{want}) {
			t.Errorf("a %s about #%d wakes %v", event, want, bot.pulls)
		}
	}
}

func TestARealPayloadWithoutOurSignatureIsRefused(t *testing.T) {
	examples, err := LoadExamples(packages(t))
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(examples, func(e Example) bool { return e.Event == "push" })
	if i < 0 {
		t.Fatal("there is no example of push")
	}
	bot := &woken{}
	h := handler(t, bot, "acme/grants", "main")
	r := httptest.NewRequest(http.MethodPost, "/webhooks/github", bytes.NewReader(examples[i].Payload))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", "push")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusUnauthorized || bot.mains > 0 {
		t.Errorf("answered with %d, and the bot was woken %d times", w.Code, bot.mains)
	}
}
