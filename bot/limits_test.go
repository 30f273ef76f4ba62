package bot_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/cmd/tac/demo"
	"github.com/tigeraccess/tac/cmd/tac/server"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// limited starts a replica with these limits.
func limited(l bot.Limits) func(*server.Config, *server.Options) {
	return func(c *server.Config, _ *server.Options) { c.Limits = l }
}

// crowd is n people beside those of the starter, all of whom get the
// production database at once, longer, and in an emergency.
func crowd(n int) (files map[string]string, who []grants.Principal) {
	files = map[string]string{"policies/production-database.yaml": `kind: AccessPolicy
metadata: {name: production-database}
spec:
  resource: postgres-prod
  auto_approve:
    conditions: [{role: [anybody], max_duration: 4h}]
  approval: {approver_roles: [team-lead, security]}
  extensions: {max: 2, each: 1h}
  break_glass: {roles: [anybody], max_duration: 1h, require_ticket: false, review_within: 72h}
`}
	people, members := "kind: People\nmetadata: {name: the-crowd}\nspec:\n  people:\n", "alice, bob, carol"
	for i := range n {
		p := grants.Principal{GitHub: fmt.Sprintf("user%d", i), ID: int64(3000 + i)}
		who = append(who, p)
		people += fmt.Sprintf("    - {github: %s, id: %d}\n", p.GitHub, p.ID)
		members += ", " + p.GitHub
	}
	if n > 0 {
		files["policies/crowd.yaml"] = people
	}
	files["policies/anybody.yaml"] = "kind: Role\nmetadata: {name: anybody}\nspec: {members: [" + members + "]}\n"
	return files, who
}

// crowded is a town with n more people in it, and a replica.
func crowded(t *testing.T, n int, l bot.Limits) (*town, *demo.Replica, []grants.Principal) {
	t.Helper()
	t.Parallel()
	files, who := crowd(n)
	tn := newTown(t, files)
	for _, p := range who {
		tn.GitHub.AddUser(p.GitHub, p.ID)
		tn.must(tn.GitHub.AddMember("acme", p.GitHub))
	}
	r := tn.replica("one", limited(l))
	tn.must(tn.sync(r))
	return tn, r, who
}

// wants asks for an hour of the production database.
func (tn *town) wants(r *demo.Replica, who grants.Principal, change ...func(*bot.Ask)) (grants.ID, error) {
	a := bot.Ask{Requester: who, Resource: "postgres-prod", Duration: time.Hour, Reason: "a good reason", Via: grants.ViaCLI, Key: rand.Text()}
	for _, c := range change {
		c(&a)
	}
	answer, err := r.Bot.Request(context.WithoutCancel(tn.t.Context()), a)
	return answer.ID, err
}

// limitedIn fails the test unless an ask was one too many, in these words.
func (tn *town) limitedIn(err error, words string) {
	tn.t.Helper()
	var refusal *bot.Error
	if !errors.As(err, &refusal) || refusal.Code != bot.CodeLimited || refusal.Message != words {
		tn.t.Errorf("refused: %v\nwant: %s", err, words)
	}
}

func breakingGlass(a *bot.Ask) { a.BreakGlass = true }

// TestEachLimitSaysWhichItIsAndWhenItWorksAgain reaches every limit, asks once
// more, and asks again at the moment that the refusal names.
func TestEachLimitSaysWhichItIsAndWhenItWorksAgain(t *testing.T) {
	t.Parallel()
	always := bot.Limits{OpenPerPerson: 90, DailyPerPerson: 90, OpenPerResource: 90, Hourly: 90}
	for name, c := range map[string]struct {
		limit func(*bot.Limits)
		each  time.Duration // between two asks
		ask   func(*bot.Ask)
		words string
		wait  time.Duration
	}{
		"open of one person": {
			limit: func(l *bot.Limits) { l.OpenPerPerson = 3 }, each: time.Minute, wait: 58 * time.Minute,
			words: "you have 3 requests and grants open, and 3 at a time is the most: give one back with `tac access drop ID`, or ask again at 2026-11-24 15:00 UTC, when the next of them is over",
		},
		"in a day": {
			limit: func(l *bot.Limits) { l.DailyPerPerson = 3 }, each: 2 * time.Hour, wait: 20 * time.Hour,
			words: "you asked 3 times within 24 hours, and 3 is the most: ask again at 2026-11-25 14:00 UTC",
		},
		"open of one resource": {
			limit: func(l *bot.Limits) { l.OpenPerResource = 3 }, each: time.Minute, wait: 58 * time.Minute,
			words: "people have 3 requests and grants open for postgres-prod, and 3 at a time is the most: ask again at 2026-11-24 15:00 UTC, when the next of them is over",
		},
		"in an hour": {
			limit: func(l *bot.Limits) { l.Hourly = 3 }, each: 10 * time.Minute, wait: 40 * time.Minute,
			words: "people asked tac 3 times within the hour, and 3 is the most, so that ending access always has room: ask again at 2026-11-24 15:00 UTC",
		},
		"emergencies": {
			limit: func(*bot.Limits) {}, each: 10 * time.Minute, wait: 23*time.Hour + 40*time.Minute, ask: breakingGlass,
			words: "you asked 3 times as an emergency within 24 hours, and 3 is the most: ask again at 2026-11-25 14:00 UTC, or without --break-glass",
		},
	} {
		t.Run(name, func(t *testing.T) {
			limits := always
			c.limit(&limits)
			tn, r, _ := crowded(t, 0, limits)
			how := func(a *bot.Ask) {
				if c.ask != nil {
					c.ask(a)
				}
			}
			for i := range 3 {
				if i > 0 {
					tn.Clock.Advance(c.each)
				}
				_, err := tn.wants(r, person("alice"), how)
				tn.must(err)
				tn.must(tn.sync(r))
			}
			stored, err := r.Bot.Vault.Requests(t.Context())
			tn.must(err)
			tn.GitHub.ResetCalls()
			tn.Vault.ResetCalls()
			for range 3 {
				_, err = tn.wants(r, person("alice"), how)
				tn.limitedIn(err, c.words)
			}
			for _, call := range append(tn.GitHub.Calls(), tn.Vault.Calls()...) {
				if call.Method != http.MethodGet && !strings.Contains(call.Path, "git-upload-pack") && !strings.HasPrefix(call.Path, "/v1/auth/") {
					t.Errorf("a refusal cost %s %s", call.Method, call.Path)
				}
			}
			if after, err := r.Bot.Vault.Requests(t.Context()); err != nil || len(after) != len(stored) {
				t.Errorf("%d requests after %d, %v", len(after), len(stored), err)
			}
			tn.Clock.Advance(c.wait - time.Second)
			tn.must(tn.sync(r))
			if _, err = tn.wants(r, person("alice"), how); err == nil {
				t.Error("it worked before it was to")
			}
			tn.Clock.Advance(time.Second)
			tn.must(tn.sync(r))
			if _, err = tn.wants(r, person("alice"), how); err != nil {
				t.Errorf("it does not work when it was to: %v", err)
			}
		})
	}
}

// TestWhatIsOverFreesItsPlaceAtOnce, however it came to be over, and also for
// another replica than the one that ended it.
func TestWhatIsOverFreesItsPlaceAtOnce(t *testing.T) {
	t.Parallel()
	alice := person("alice")
	for name, end := range map[string]func(tn *town, r *demo.Replica, id grants.ID) error{
		"dropped": func(tn *town, r *demo.Replica, id grants.ID) error {
			_, err := r.Bot.Drop(tn.t.Context(), alice, id)
			return err
		},
		"revoked": func(tn *town, r *demo.Replica, id grants.ID) error {
			_, err := r.Bot.Revoke(tn.t.Context(), person("eve"), id, "stop this")
			return err
		},
		"dropped while its credential cannot be ended": func(tn *town, r *demo.Replica, id grants.ID) error {
			tn.takes(r, id, "alice")
			tn.Vault.Order(sandbox.Fault{Path: "/sys/leases/revoke", When: sandbox.Answer, Status: http.StatusInternalServerError, Times: -1})
			_, err := r.Bot.Drop(tn.t.Context(), alice, id)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			tn, r, _ := crowded(t, 0, bot.Limits{OpenPerPerson: 2})
			two := tn.replica("two", limited(bot.Limits{OpenPerPerson: 2}))
			_, err := tn.wants(r, alice)
			tn.must(err)
			id, err := tn.wants(two, alice)
			tn.must(err)
			tn.settle(r)
			for _, replica := range []*demo.Replica{r, two} {
				if _, err := tn.wants(replica, alice); err == nil {
					t.Fatal("a third was accepted")
				}
			}
			tn.must(end(tn, r, id))
			if _, err := tn.wants(r, alice); err != nil {
				t.Errorf("its place is not free: %v", err)
			}
		})
	}
	t.Run("as another replica has it, a moment later", func(t *testing.T) {
		tn, r, _ := crowded(t, 0, bot.Limits{OpenPerPerson: 1})
		two := tn.replica("two", limited(bot.Limits{OpenPerPerson: 1}))
		id, err := tn.wants(r, alice)
		tn.must(err)
		tn.must(tn.sync(r))
		tn.must(tn.sync(two))
		if _, err := tn.wants(two, alice); err == nil {
			t.Fatal("a second was accepted")
		}
		_, err = r.Bot.Drop(t.Context(), alice, id)
		tn.must(err)
		tn.Clock.Advance(5 * time.Second)
		if _, err := tn.wants(two, alice); err != nil {
			t.Error(err)
		}
	})
}

// TestReplicasThatAreAskedAtOnceAgree has two replicas asked for the last
// places by many at the same time.
func TestReplicasThatAreAskedAtOnceAgree(t *testing.T) {
	limits := bot.Limits{OpenPerPerson: 3, Hourly: 7}
	tn, r, who := crowded(t, 4, limits)
	two := tn.replica("two", limited(limits))
	tn.must(tn.sync(two))
	var mu sync.Mutex
	var asking sync.WaitGroup
	accepted := map[string]int{}
	for i := range 48 {
		asking.Go(func() {
			replica, p := r, who[i%4]
			if i%2 == i/4%2 {
				replica = two
			}
			if _, err := tn.wants(replica, p); err == nil {
				mu.Lock()
				accepted[p.GitHub]++
				mu.Unlock()
			}
		})
	}
	asking.Wait()
	total := 0
	for login, n := range accepted {
		total += n
		if n > 3 {
			t.Errorf("%s was given %d places of 3", login, n)
		}
	}
	if stored, err := r.Bot.Vault.Requests(t.Context()); total != 7 || len(stored) != 7 || err != nil {
		t.Errorf("%d were accepted (%v), %d are stored, %v; want 7", total, accepted, len(stored), err)
	}
}

func TestTheSameKeyTakesOnePlace(t *testing.T) {
	tn, r, _ := crowded(t, 0, bot.Limits{OpenPerPerson: 2, DailyPerPerson: 2, Hourly: 2, OpenPerResource: 2})
	same := func(a *bot.Ask) { a.Key = "the very same" }
	first, err := tn.wants(r, person("alice"), same)
	tn.must(err)
	for range 5 {
		again, err := tn.wants(r, person("alice"), same)
		if err != nil || again != first {
			t.Errorf("%s, %v; want %s", again, err, first)
		}
	}
	if _, err := tn.wants(r, person("alice")); err != nil {
		t.Errorf("one place of two is taken: %v", err)
	}
}

// dyingVault loses every new request after its booking, as a process does that
// is killed in between.
type dyingVault struct {
	bot.Vault
	dies bool
}

func (v *dyingVault) PutRequest(ctx context.Context, r *grants.Request) error {
	if v.dies && r.Version == 0 {
		return errors.New("killed")
	}
	return v.Vault.PutRequest(ctx, r)
}

func TestACrashBeforeTheRequestLocksNobodyOut(t *testing.T) {
	tn, r, _ := crowded(t, 0, bot.Limits{OpenPerPerson: 2, DailyPerPerson: 2, OpenPerResource: 2})
	dying := &dyingVault{Vault: r.Bot.Vault, dies: true}
	r.Bot.Vault = dying
	same := func(a *bot.Ask) { a.Key = "the very same" }
	for range 3 {
		if _, err := tn.wants(r, person("alice"), same); err == nil {
			t.Fatal("nothing was lost, so nothing is tested")
		}
	}
	_, err := tn.wants(r, person("alice"))
	var refusal *bot.Error
	if !errors.As(err, &refusal) || refusal.Code != bot.CodeUnavailable {
		t.Fatalf("%v", err)
	}
	dying.dies = false
	if _, err := tn.wants(r, person("alice"), same); err != nil {
		t.Errorf("the same wish once more: %v", err)
	}
	if _, err := tn.wants(r, person("alice")); err == nil {
		t.Error("what may be under way did not count")
	}
	tn.Clock.Advance(2 * time.Minute)
	if _, err := tn.wants(r, person("alice")); err != nil {
		t.Errorf("what never came still counts: %v", err)
	}
}

// TestALostNoteLetsNobodyHaveMore: what is open is known without it. One that
// nobody can read is as good as lost.
func TestALostNoteLetsNobodyHaveMore(t *testing.T) {
	tn, r, _ := crowded(t, 0, bot.Limits{OpenPerPerson: 2, OpenPerResource: 3})
	for range 2 {
		_, err := tn.wants(r, person("alice"))
		tn.must(err)
	}
	tn.must(tn.sync(r))
	for _, key := range []string{"limits/person/1001", "limits/resource/postgres-prod", "limits/hour"} {
		note, err := r.Bot.Vault.Note(t.Context(), key)
		tn.must(err)
		if note.Version == 0 {
			t.Fatalf("there is no note %s", key)
		}
		tn.must(r.Bot.Vault.PutNote(t.Context(), key, &world.Note{Version: note.Version, Data: []byte("no list")}))
	}
	if _, err := tn.wants(r, person("alice")); err == nil {
		t.Error("alice has a third")
	}
	_, err := tn.wants(r, person("bob"))
	tn.must(err)
	if _, err := tn.wants(r, person("carol")); err == nil {
		t.Error("the resource has a fourth")
	}
	tn.Clock.Advance(time.Hour)
	tn.settle(r)
	if _, err := tn.wants(r, person("alice")); err != nil {
		t.Errorf("it does not recover: %v", err)
	}
}

func TestAClockThatWasAheadLocksNobodyOut(t *testing.T) {
	tn, r, _ := crowded(t, 0, bot.Limits{DailyPerPerson: 1, Hourly: 1})
	booked := []byte(`[{"key":"0123456789","at":"2031-01-01T00:00:00Z","over":true}]`)
	for _, key := range []string{"limits/person/1001", "limits/hour"} {
		tn.must(r.Bot.Vault.PutNote(t.Context(), key, &world.Note{Data: booked}))
	}
	if _, err := tn.wants(r, person("alice")); err != nil {
		t.Error(err)
	}
}

// TestEmergenciesAndExtensionsTakeNobodysPlace: no flood closes the emergency
// door, and who has all they may have can still ask to keep it.
func TestEmergenciesAndExtensionsTakeNobodysPlace(t *testing.T) {
	tn, r, who := crowded(t, 1, bot.Limits{OpenPerPerson: 2, OpenPerResource: 3, DailyPerPerson: 4, Hourly: 5})
	alice := person("alice")
	first, err := tn.wants(r, alice)
	tn.must(err)
	for _, p := range []grants.Principal{alice, who[0]} {
		_, err := tn.wants(r, p)
		tn.must(err)
	}
	tn.settle(r)
	if _, err := tn.wants(r, who[0]); err == nil {
		t.Fatal("the resource is not full, so nothing is tested")
	}
	for range 2 { // two more within the hour
		_, err = r.Bot.Extend(t.Context(), alice, first, bot.ExtendAsk{Duration: time.Minute, Via: grants.ViaCLI, Key: rand.Text()})
		tn.must(err)
	}
	_, err = r.Bot.Extend(t.Context(), alice, first, bot.ExtendAsk{Duration: time.Minute, Via: grants.ViaCLI, Key: rand.Text()})
	tn.limitedIn(err, "you asked 4 times within 24 hours, and 4 is the most: ask again at 2026-11-25 14:00 UTC")
	for range 3 {
		_, err := tn.wants(r, alice, breakingGlass)
		tn.must(err)
	}
	if _, err := tn.wants(r, alice, breakingGlass); err == nil {
		t.Error("a fourth emergency in one day")
	}
	if _, err := tn.wants(r, who[0], breakingGlass); err != nil {
		t.Errorf("others' emergencies count against somebody: %v", err)
	}
}

// TestAHandWrittenGrantThatIsOneTooManyWaits, and is never closed for it. What
// others ask for does not keep it waiting.
func TestAHandWrittenGrantThatIsOneTooManyWaits(t *testing.T) {
	tn, r, who := crowded(t, 3, bot.Limits{OpenPerPerson: 2, OpenPerResource: 2, Hourly: 2})
	for _, p := range who[:2] {
		_, err := tn.wants(r, p)
		tn.must(err)
	}
	if _, err := tn.wants(r, who[2]); err == nil {
		t.Fatal("the resource is not full, so nothing is tested")
	}
	byHand := func() hand {
		h := tn.writes("bob", tn.newHand("bob", time.Hour))
		tn.settle(r)
		return h
	}
	first := byHand()
	tn.phase(r, first.ID, grants.PhaseApproved)
	tn.phase(r, byHand().ID, grants.PhaseApproved)
	third := byHand()
	waits := func() {
		t.Helper()
		if a := tn.told(third.pull); !a.open || a.conclusion != "" || a.title != "waiting: bob has 2 requests and grants open, and 2 at a time is the most" || a.comments != "" {
			t.Errorf("it was told %+v", a)
		}
	}
	waits()
	tn.GitHub.ResetCalls()
	tn.must(tn.sync(r))
	waits()
	for _, c := range tn.GitHub.RESTCalls() {
		if strings.Contains(fmt.Sprint(c), fmt.Sprintf("/pulls/%d/", third.pull)) || strings.Contains(fmt.Sprint(c), "check-runs") && !strings.Contains(fmt.Sprint(c), "GET") {
			t.Errorf("to wait cost %v", c)
		}
	}
	if stored, err := r.Bot.Vault.Request(t.Context(), third.ID.Key()); stored != nil || err != nil {
		t.Errorf("it was remembered: %+v, %v", stored, err)
	}
	_, err := r.Bot.Drop(t.Context(), person("bob"), first.ID)
	tn.must(err)
	tn.settle(r)
	tn.phase(r, third.ID, grants.PhaseApproved)
}

// TestE15_AFloodOfTenTimesTheLimitsDelaysNoEnd has a crowd ask ten times as
// often as all limits together allow while grants are dropped, revoked and
// expire. GitHub is asked to write no more than what was accepted costs, and
// what ends access asks for no place at all: it ends with every note out of
// reach.
func TestE15_AFloodOfTenTimesTheLimitsDelaysNoEnd(t *testing.T) {
	const hourly = 12
	tn, r, who := crowded(t, 40, bot.Limits{OpenPerPerson: 2, OpenPerResource: hourly, Hourly: hourly})
	ids := map[string]grants.ID{}
	for _, login := range []string{"alice", "bob", "carol"} { // their end takes no place, their asking did
		ids[login] = tn.active(r, login, time.Hour)
	}
	tn.Clock.Advance(55 * time.Minute) // those three leave the hour at its end
	tn.GitHub.ResetCalls()
	tn.Run(t.Context(), r)
	var asking sync.WaitGroup
	var mu sync.Mutex
	accepted := 0
	for i := range 10 * hourly {
		asking.Go(func() {
			if _, err := tn.wants(r, who[i%len(who)]); err == nil {
				mu.Lock()
				accepted++
				mu.Unlock()
			}
		})
	}
	const within = 30 * time.Second // of this machine, which is busy with the flood
	patience, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err := r.Bot.Drop(patience, person("alice"), ids["alice"])
	tn.must(err)
	_, err = r.Bot.Revoke(patience, person("eve"), ids["bob"], "stop this")
	tn.must(err)
	asking.Wait()
	if accepted != hourly-3 {
		t.Errorf("%d were accepted, want %d", accepted, hourly-3)
	}
	tn.Vault.Order(sandbox.Fault{Path: "/notes/", When: sandbox.Answer, Status: http.StatusInternalServerError, Times: -1})
	tn.Clock.Advance(5 * time.Minute)
	tn.until("carol's is over", func() bool { return tn.recorded(r, ids["carol"]).State == grants.Revoked })
	for login, id := range ids {
		if state := tn.recorded(r, id).State; state != grants.Revoked {
			t.Errorf("%s's is %s", login, state)
		}
	}
	tn.until("their files are gone", func() bool { return !tn.onMain(ids["alice"]) && !tn.onMain(ids["bob"]) && !tn.onMain(ids["carol"]) })
	writes := 0
	for _, c := range tn.GitHub.Calls() {
		if c.Method != http.MethodGet && strings.HasPrefix(c.Path, "/repos/") {
			writes++
		}
	}
	if most := accepted * 5; writes > most {
		t.Errorf("the flood made GitHub write %d times, want at most %d", writes, most)
	}
}
