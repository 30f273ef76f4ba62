package webhooks

import (
	"container/list"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/gin-gonic/gin"

	"github.com/tigeraccess/tac/bot"
)

// event is all that is read of a delivery: where to look, and nothing that
// anything is decided by.
type event struct {
	Action      string `json:"action"`
	Ref         string `json:"ref"`
	Number      int    `json:"number"`
	PullRequest struct {
		Number int `json:"number"`
	} `json:"pull_request"`
	CheckRun struct {
		PullRequests []struct {
			Number int `json:"number"`
		} `json:"pull_requests"`
	} `json:"check_run"`
	Repository struct {
		FullName string `json:"full_name"`
	} `json:"repository"`
	Organization struct {
		Login string `json:"login"`
	} `json:"organization"`
	Sender struct {
		ID int64 `json:"id"`
	} `json:"sender"`
}

// What comes of a delivery, as the metrics name it.
const (
	resultForged     = "forged"
	resultTooLarge   = "too_large"
	resultUnreadable = "unreadable"
	resultDuplicate  = "duplicate"
	resultForeign    = "foreign"
	resultOwn        = "own"
	resultIgnored    = "ignored"
	resultWoke       = "woke"
	resultPong       = "pong"
	resultAnswered   = "answered"
)

// eventKinds are the events that may be counted by name.
var eventKinds = slices.Concat(peopleKinds, []string{"check_run", "ping", "pull_request", "pull_request_review", "push"})

// peopleKinds are the events of who belongs to the organisation and to its
// teams. They are about no repository.
var peopleKinds = []string{"membership", "organization", "team"}

// github takes a delivery by GitHub. Only its signature is believed; what it
// says is a hint where to look, so a replay, a duplicate or one that comes
// late does nothing but cost a look (threats.md E1, E2).
func (e *edge) github(c *gin.Context) {
	kind := c.GetHeader("X-GitHub-Event")
	if !slices.Contains(eventKinds, kind) {
		kind = "other"
	}
	result, status := e.takeEvent(c, kind)
	e.metrics.event("github", kind, result)
	if c.IsAborted() {
		return
	}
	answer(c, status, gin.H{"result": result})
}

func (e *edge) takeEvent(c *gin.Context, kind string) (result string, status int) {
	signature, ok := readSignature(c.Request.Header)
	if !ok {
		e.refuse(c, codeUnauthenticated, "the delivery bears no signature in X-Hub-Signature-256")
		return resultForged, 0
	}
	body, err := io.ReadAll(c.Request.Body)
	if err != nil {
		e.fail(c, unreadable(err))
		if tooLarge(err) {
			return resultTooLarge, 0
		}
		return resultUnreadable, 0
	}
	if !e.signed(body, signature) {
		e.logger(c).Warn("a webhook was not signed with our secret", "kind", kind)
		e.refuse(c, codeUnauthenticated, "the signature is not ours: check the webhook secret")
		return resultForged, 0
	}
	// From here on GitHub is speaking, or somebody who repeats it.
	if e.seen.again(deliveryKey(c.Request.Header, signature)) {
		return resultDuplicate, http.StatusAccepted
	}
	if media, _, _ := mime.ParseMediaType(c.ContentType()); media != "application/json" {
		e.refuse(c, codeMedia, "set the webhook's content type to application/json")
		return resultUnreadable, 0
	}
	var ev event
	if err := json.Unmarshal(body, &ev); err != nil {
		e.refuse(c, bot.CodeInvalid, "the payload is not JSON of the known form")
		return resultUnreadable, 0
	}
	if kind == "ping" {
		return resultPong, http.StatusOK
	}
	return e.wake(c, kind, ev), http.StatusAccepted
}

// readSignature returns the HMAC that a delivery claims. SHA-1, which GitHub
// sends as well in another header, is not looked at.
func readSignature(h http.Header) ([]byte, bool) {
	hexed, ok := strings.CutPrefix(h.Get("X-Hub-Signature-256"), "sha256=")
	if !ok || len(hexed) != hex.EncodedLen(sha256.Size) {
		return nil, false
	}
	signature, err := hex.DecodeString(hexed)
	return signature, err == nil
}

// signed compares in constant time: how long a refusal takes must not tell
// how much of a guess was right (CVE-2022-24912).
func (e *edge) signed(body, signature []byte) bool {
	mac := hmac.New(sha256.New, []byte(e.WebhookSecret.Reveal()))
	_, _ = mac.Write(body) // never fails
	return hmac.Equal(mac.Sum(nil), signature)
}

// wake asks for a look at what an event is about.
func (e *edge) wake(c *gin.Context, kind string, ev event) (result string) {
	if slices.Contains(peopleKinds, kind) {
		return e.wakeOfPeople(c, kind, ev)
	}
	if !strings.EqualFold(ev.Repository.FullName, e.Repository) {
		e.logger(c).Info("an event of another repository was ignored", "kind", kind, "repository", cut(ev.Repository.FullName, 120))
		return resultForeign
	}
	if e.ownDoing(kind, ev) {
		return resultOwn
	}
	switch kind {
	case "push":
		if ev.Ref != "refs/heads/"+e.Branch {
			return resultIgnored
		}
		e.Bot.WakeMain()
		return resultWoke
	case "pull_request", "pull_request_review":
		return e.wakePulls(max(ev.Number, ev.PullRequest.Number))
	case "check_run":
		var numbers []int
		for _, p := range ev.CheckRun.PullRequests {
			numbers = append(numbers, p.Number)
		}
		return e.wakePulls(numbers...)
	}
	return resultIgnored
}

// wakeOfPeople has a look at everything: whoever left must hold nothing within
// a minute, and who may approve what may have changed. That invitations are
// sent, and teams given to repositories, changes neither.
func (e *edge) wakeOfPeople(c *gin.Context, kind string, ev event) (result string) {
	owner, _, _ := strings.Cut(e.Repository, "/")
	switch {
	case !strings.EqualFold(ev.Organization.Login, owner):
		e.logger(c).Info("an event of another organisation was ignored", "kind", kind, "organization", cut(ev.Organization.Login, 120))
		return resultForeign
	case kind == "organization" && !slices.Contains([]string{"member_added", "member_removed"}, ev.Action),
		kind == "team" && !slices.Contains([]string{"created", "deleted", "edited"}, ev.Action):
		return resultIgnored
	}
	e.Bot.WakeAll()
	return resultWoke
}

func (e *edge) wakePulls(numbers ...int) (result string) {
	result = resultIgnored
	for _, n := range numbers {
		if n > 0 {
			e.Bot.WakePull(n)
			result = resultWoke
		}
	}
	return result
}

// ownDoing reports that an event tells us what we did ourselves. That saves a
// look and rests on the sender, who proves nothing; so it holds for nothing
// that anybody else's consent could hang on, and the sweep looks anyway.
func (e *edge) ownDoing(kind string, ev event) bool {
	us := e.BotID()
	if us == 0 || ev.Sender.ID != us {
		return false
	}
	switch kind {
	case "pull_request":
		return slices.Contains([]string{"opened", "closed", "edited", "synchronize", "review_requested", "review_request_removed"}, ev.Action)
	case "check_run":
		return ev.Action == "created" || ev.Action == "completed"
	}
	return false
}

// mostDeliveries is how many deliveries are remembered: some hours' worth.
const mostDeliveries = 4096

// deliveries remembers the latest deliveries, so that duplicates cost no
// look. Nothing depends on it: after a restart it is empty.
type deliveries struct {
	mu    sync.Mutex
	most  int
	order *list.List // of keys, the latest first
	known map[[sha256.Size]byte]*list.Element
}

func newDeliveries(most int) *deliveries {
	return &deliveries{most: most, order: list.New(), known: map[[sha256.Size]byte]*list.Element{}}
}

// deliveryKey is what makes two deliveries the same. GitHub does not sign
// its headers: by the id alone, one who replays an old body under the id of
// another delivery could make us overlook that one.
func deliveryKey(h http.Header, signature []byte) [sha256.Size]byte {
	return sha256.Sum256(slices.Concat(signature, []byte(h.Get("X-GitHub-Event")+"\n"+h.Get("X-GitHub-Delivery"))))
}

// again reports whether the delivery was here before, and remembers it.
func (d *deliveries) again(key [sha256.Size]byte) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at, known := d.known[key]; known {
		d.order.MoveToFront(at)
		return true
	}
	d.known[key] = d.order.PushFront(key)
	if d.order.Len() > d.most {
		oldest := d.order.Remove(d.order.Back())
		if key, ok := oldest.([sha256.Size]byte); ok {
			delete(d.known, key)
		}
	}
	return false
}

// cut bounds a text that somebody else wrote.
func cut(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
