package webhooks

import (
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"sync"
	"testing"
)

func sign(newHash func() hash.Hash, secret, body string) string {
	mac := hmac.New(newHash, []byte(secret))
	mac.Write([]byte(body))
	return hex.EncodeToString(mac.Sum(nil))
}

// delivery is a delivery as GitHub sends it.
func delivery(kind, guid, body string) *http.Request {
	r := httptest.NewRequest("POST", "/webhooks/github", strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-GitHub-Event", kind)
	r.Header.Set("X-GitHub-Delivery", guid)
	r.Header.Set("X-Hub-Signature-256", "sha256="+sign(sha256.New, secretText, body))
	return r
}

func pullEvent(action string, number int, sender int64) string {
	return fmt.Sprintf(`{"action":%q,"number":%d,"pull_request":{"number":%d},"repository":{"full_name":"acme/grants"},"sender":{"id":%d}}`,
		action, number, number, sender)
}

func reviewEvent(number int, sender int64) string {
	return fmt.Sprintf(`{"action":"submitted","pull_request":{"number":%d},"repository":{"full_name":"acme/grants"},"sender":{"id":%d}}`, number, sender)
}

func pushEvent(branch string) string {
	return fmt.Sprintf(`{"ref":"refs/heads/%s","repository":{"full_name":"acme/grants"},"sender":{"id":%d}}`, branch, botUser)
}

func checkEvent(action string, sender int64, numbers string) string {
	return fmt.Sprintf(`{"action":%q,"check_run":{"pull_requests":[%s]},"repository":{"full_name":"acme/grants"},"sender":{"id":%d}}`, action, numbers, sender)
}

// The body is not even JSON: had anything read it before the signature, the
// answer would be 400.
func TestNothingIsReadOfADeliveryWithoutOurSignature(t *testing.T) {
	const body = `{"number": 7, not JSON`
	good := sign(sha256.New, secretText, body)
	for _, tc := range []struct{ claim, header, value string }{
		{"no signature at all", "X-Other", "1"},
		{"an empty one", "X-Hub-Signature-256", ""},
		{"SHA-1 in its own header", "X-Hub-Signature", "sha1=" + sign(sha1.New, secretText, body)},
		{"SHA-1 in the other's header", "X-Hub-Signature-256", "sha1=" + sign(sha1.New, secretText, body)},
		{"SHA-1 that says SHA-256", "X-Hub-Signature-256", "sha256=" + sign(sha1.New, secretText, body)},
		{"another secret", "X-Hub-Signature-256", "sha256=" + sign(sha256.New, "other", body)},
		{"the empty secret", "X-Hub-Signature-256", "sha256=" + sign(sha256.New, "", body)},
		{"another body", "X-Hub-Signature-256", "sha256=" + sign(sha256.New, secretText, body+" ")},
		{"half of it", "X-Hub-Signature-256", "sha256=" + good[:32]},
		{"more than it", "X-Hub-Signature-256", "sha256=" + good + "00"},
		{"no prefix", "X-Hub-Signature-256", good},
		{"not hexadecimal", "X-Hub-Signature-256", "sha256=" + strings.Repeat("z", 64)},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			h := newHarness(t)
			r := delivery("pull_request", "1", body)
			r.Header.Del("X-Hub-Signature-256")
			r.Header.Set(tc.header, tc.value)
			w := h.do(r)
			if got := read[problem](t, w); w.Code != 401 || got.Code != codeUnauthenticated {
				t.Errorf("answers %d %+v", w.Code, got)
			}
			if len(h.bot.pulls)+h.bot.mains > 0 {
				t.Error("somebody was woken")
			}
		})
	}
	h := newHarness(t)
	if w := h.do(delivery("pull_request", "1", body)); w.Code != 400 {
		t.Errorf("with our signature the same body answers %d, not that it is unreadable", w.Code)
	}
}

func TestEventsOnlyWake(t *testing.T) {
	const person = 1001
	for _, tc := range []struct {
		claim, kind, body string
		status            int
		result            string
		pulls             []int
		mains             int
	}{
		{"a pull request", "pull_request", pullEvent("opened", 7, person), 202, resultWoke, []int{7}, 0},
		{"a pull request edited by a person", "pull_request", pullEvent("edited", 7, person), 202, resultWoke, []int{7}, 0},
		{"a pull request of our own", "pull_request", pullEvent("opened", 7, botUser), 202, resultOwn, nil, 0},
		{"our own, in a way that we do not act", "pull_request", pullEvent("reopened", 7, botUser), 202, resultWoke, []int{7}, 0},
		{"a review", "pull_request_review", reviewEvent(8, person), 202, resultWoke, []int{8}, 0},
		{"a review, whoever is said to have sent it", "pull_request_review", reviewEvent(8, botUser), 202, resultWoke, []int{8}, 0},
		{"a check to be run again", "check_run", checkEvent("rerequested", person, `{"number":9},{"number":10}`), 202, resultWoke, []int{9, 10}, 0},
		{"a check of our own", "check_run", checkEvent("completed", botUser, `{"number":9}`), 202, resultOwn, nil, 0},
		{"a check of no pull request", "check_run", checkEvent("completed", person, ``), 202, resultIgnored, nil, 0},
		{"a push to the default branch, ours too", "push", pushEvent("main"), 202, resultWoke, nil, 1},
		{"a push elsewhere", "push", pushEvent("grant/20261122-k3v9q2m4tz"), 202, resultIgnored, nil, 0},
		{"a push to a branch that ends alike", "push", pushEvent("x/main"), 202, resultIgnored, nil, 0},
		{"a tag named like the branch", "push", strings.Replace(pushEvent("main"), "heads", "tags", 1), 202, resultIgnored, nil, 0},
		{"a ping", "ping", `{"zen":"..."}`, 200, resultPong, nil, 0},
		{"what we did not subscribe to", "issues", pullEvent("opened", 7, person), 202, resultIgnored, nil, 0},
		{"another repository", "push", strings.Replace(pushEvent("main"), "acme/grants", "mallory/grants", 1), 202, resultForeign, nil, 0},
		{"the repository in other letters", "push", strings.Replace(pushEvent("main"), "acme/grants", "Acme/Grants", 1), 202, resultWoke, nil, 1},
		{"a number that cannot be", "pull_request", pullEvent("opened", -1, person), 202, resultIgnored, nil, 0},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			h := newHarness(t)
			w := h.do(delivery(tc.kind, "1", tc.body))
			got := read[map[string]string](t, w)
			if w.Code != tc.status || got["result"] != tc.result {
				t.Errorf("answers %d %v, wanted %d %s", w.Code, got, tc.status, tc.result)
			}
			if !reflect.DeepEqual(h.bot.pulls, tc.pulls) || h.bot.mains != tc.mains {
				t.Errorf("woke pull requests %v and the branch %d times", h.bot.pulls, h.bot.mains)
			}
		})
	}
}

// Whoever leaves holds nothing within a minute: these events are about no
// repository, and wake everything.
func TestEventsOfPeopleWakeEverything(t *testing.T) {
	event := func(action, organization string) string {
		return fmt.Sprintf(`{"action":%q,"membership":{"user":{"id":1002}},"organization":{"login":%q},"sender":{"id":%d}}`, action, organization, botUser)
	}
	for _, tc := range []struct {
		claim, kind, body, result string
		alls                      int
	}{
		{"somebody left the organisation", "organization", event("member_removed", "acme"), resultWoke, 1},
		{"in other letters", "organization", event("member_removed", "Acme"), resultWoke, 1},
		{"somebody joined it", "organization", event("member_added", "acme"), resultWoke, 1},
		{"somebody was invited", "organization", event("member_invited", "acme"), resultIgnored, 0},
		{"somebody left a team", "membership", event("removed", "acme"), resultWoke, 1},
		{"somebody joined a team", "membership", event("added", "acme"), resultWoke, 1},
		{"a team was deleted", "team", event("deleted", "acme"), resultWoke, 1},
		{"a team was renamed", "team", event("edited", "acme"), resultWoke, 1},
		{"a team was given a repository", "team", event("added_to_repository", "acme"), resultIgnored, 0},
		{"another organisation", "organization", event("member_removed", "mallory"), resultForeign, 0},
		{"no organisation", "membership", event("removed", ""), resultForeign, 0},
	} {
		t.Run(tc.claim, func(t *testing.T) {
			h := newHarness(t)
			w := h.do(delivery(tc.kind, "1", tc.body))
			got := read[map[string]string](t, w)
			if w.Code != 202 || got["result"] != tc.result || h.bot.alls != tc.alls || len(h.bot.pulls)+h.bot.mains > 0 {
				t.Errorf("answers %d %v, having woken everything %d times", w.Code, got, h.bot.alls)
			}
		})
	}
}

func TestEventsOfOthersAreIgnoredWhileWeDoNotKnowWhoWeAre(t *testing.T) {
	h := newHarness(t)
	c := h.config()
	c.BotID = func() int64 { return 0 }
	e := &edge{Config: c}
	if e.ownDoing("pull_request", event{Action: "opened"}) {
		t.Error("an event without a sender passed for our own")
	}
}

func TestRepetitionsAreNoOps(t *testing.T) {
	h := newHarness(t)
	body := pullEvent("opened", 7, 1)
	for range 3 {
		if w := h.do(delivery("pull_request", "guid-1", body)); w.Code != 202 {
			t.Fatalf("answers %d", w.Code)
		}
	}
	if len(h.bot.pulls) != 1 {
		t.Errorf("one delivery, sent three times, woke %d times", len(h.bot.pulls))
	}
	// Headers are not signed. Under the id of another delivery an old body
	// may cost a look, and must not hide that other one.
	h.do(delivery("pull_request", "guid-2", body))
	h.do(delivery("pull_request", "guid-2", pullEvent("closed", 8, 1)))
	if want := []int{7, 7, 8}; !reflect.DeepEqual(h.bot.pulls, want) {
		t.Errorf("woke %v, wanted %v", h.bot.pulls, want)
	}
}

func TestOneOfManyAtTheSameTimeWakes(t *testing.T) {
	h := newHarness(t)
	var senders sync.WaitGroup
	for range 16 {
		senders.Go(func() { h.do(delivery("pull_request", "guid-1", pullEvent("opened", 7, 1))) })
	}
	senders.Wait()
	if len(h.bot.pulls) != 1 {
		t.Errorf("woke %v", h.bot.pulls)
	}
}

func TestTheOldestDeliveriesAreForgotten(t *testing.T) {
	d := newDeliveries(2)
	key := func(i byte) [sha256.Size]byte { return [sha256.Size]byte{i} }
	for _, step := range []struct {
		key  byte
		want bool
	}{{1, false}, {2, false}, {1, true}, {3, false}, {1, true}, {2, false}} {
		if got := d.again(key(step.key)); got != step.want {
			t.Errorf("delivery %d was here before: %v", step.key, got)
		}
	}
	if len(d.known) != 2 || d.order.Len() != 2 {
		t.Errorf("%d and %d deliveries are remembered, not 2", len(d.known), d.order.Len())
	}
}

func TestDeliveriesThatAreTooLargeAreNotReadToTheEnd(t *testing.T) {
	for claim, known := range map[string]bool{"of known length": true, "of unknown length": false} {
		t.Run(claim, func(t *testing.T) {
			h := newHarness(t)
			body := &counted{Reader: strings.NewReader(strings.Repeat(" ", mostEvent*3))}
			r := delivery("push", "1", "")
			r.Body, r.ContentLength = io.NopCloser(body), -1
			if known {
				r.ContentLength = mostEvent * 3
			}
			w := h.do(r)
			if got := read[problem](t, w); w.Code != 413 || got.Code != codeTooLarge {
				t.Errorf("answers %d %+v", w.Code, got)
			}
			if body.n > mostEvent*2 {
				t.Errorf("%d bytes were read", body.n)
			}
		})
	}
}

type counted struct {
	io.Reader
	n int
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += n
	return n, err
}

func TestFormsAreToldWhichContentTypeToSet(t *testing.T) {
	h := newHarness(t)
	r := delivery("push", "1", "payload=%7B%7D")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	w := h.do(r)
	if got := read[problem](t, w); w.Code != 415 || !strings.Contains(got.Message, "application/json") {
		t.Errorf("answers %d %+v", w.Code, got)
	}
}

func FuzzSignedDeliveriesNeverBreakAnything(f *testing.F) {
	for _, seed := range []string{`{"action":"member_removed","organization":{"login":"acme"}}`, pullEvent("opened", 7, 1), reviewEvent(8, 1), pushEvent("main"), checkEvent("created", 1, `{"number":9}`), `{`, `null`, `[]`, ``} {
		for _, kind := range append(eventKinds, "", "x") {
			f.Add(kind, seed)
		}
	}
	f.Fuzz(func(t *testing.T, kind, body string) {
		h := newHarness(t)
		if w := h.do(delivery(kind, "1", body)); w.Code >= 500 {
			t.Errorf("%q %q answers %d", kind, body, w.Code)
		}
	})
}
