// Package bot makes grants happen. It keeps no database: what it knows it
// reads from the grants repository, from pull requests and from Vault, and a
// pure function (grants.Next) names the one step that comes next. The bot
// does that step and looks again.
//
//	ports.go     what the bot needs of the world
//	mainline.go  the default branch: what landed, what must go
//	observe.go   gather all evidence about one grant into one value
//	judge.go     ask policy: at the request, at the gate, at a claim
//	hold.go      give nothing new while the set-up is wrong
//	act.go       one function for each step
//	ask.go       what people ask for; claim.go and end.go: taking and ending it
//	answer.go    what people answer: approve, deny; narrow.go: give less
//	asking.go    whom tac asks for a review, and who hears that nobody has to
//	limits.go    how much may be asked for; bookings.go: how that is counted
//	usertokens.go, link.go: what people leave with us, and who they are in chat
//	extend.go    more time, by a grant that extends another
//	aftermath.go what follows a break-glass grant
//	usertokens.go  what people leave with us to review in their name; link.go:
//	             whose Slack account it is
//	view.go      what people may see
//	words.go     what stands in git and on pull requests
//	phrases.go   what people are told when they ask, answer, extend and end
//
// Webhooks, chat and the clock carry no truth. They put a grant's id on a
// queue, and a sweep looks at everything anyway, so a lost event costs time
// and nothing else. Every effect is idempotent or a compare-and-swap: the bot
// may be killed anywhere, and any number of replicas may run.
package bot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/robfig/cron/v3"
	"k8s.io/client-go/util/workqueue"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// Config is what a Bot is made of. Chat, Steps and Alert may be left out.
type Config struct {
	Repository Repository
	Forge      Forge
	Vault      Vault
	Chat       Chat
	Pagers     Pagers  // nil: none is set up
	Tickets    Tickets // nil: none is set up
	Tokens     Tokens  // nil: nobody leaves tokens with us
	// Workspace returns the id of the chat workspace whose people are ours;
	// nil: there is no chat.
	Workspace func(ctx context.Context) (id string, err error)

	// Site is the grants repository's own page, as in
	// https://github.com/acme/access; empty: people are shown no links.
	Site string
	// Branch is the default branch: no pull request to another one is ours.
	Branch string

	Zones func(name string) (*time.Location, error) // time.LoadLocation
	Now   func() time.Time
	Log   *slog.Logger

	// Resync is when everything is looked at without being asked; a cron
	// expression such as "@every 1m".
	Resync string
	// RemoveEvery is the least time between two removal commits; forges
	// recommend few pushes to one repository.
	RemoveEvery time.Duration
	// Workers is how many grants are worked on at once.
	Workers int
	// Channel is where grants that were not asked for in chat are told;
	// empty: nowhere.
	Channel string
	// Limits bounds how much may be asked for. It never bounds what ends
	// access.
	Limits Limits
	// AlarmChannels are told at once of every break-glass grant.
	AlarmChannels []string

	// Hold says in a sentence for people why nobody gets new access to a
	// resource now, by what a credential would be for (the zero Target: the
	// policies do not say); nil: they do. It is asked often, and must not
	// wait. What ends access never asks. Who holds nothing has to say so:
	// one that was forgotten must not give access.
	Hold func(resource string, target grants.Target) error
	// Steps hears of every step done, for metrics and for tests.
	Steps func(id grants.ID, step grants.Step, err error)
	// Alert hears of what somebody should be woken for.
	Alert func(id grants.ID, why string)
}

// Bot is the reconciler.
type Bot struct {
	Config
	schedule cron.Schedule
	queue    workqueue.TypedRateLimitingInterface[item]
	main     mainline
	facts    factCache
	given    useLog
	pulls    pullCache
	index    index
	locks    keyedLocks
	removals removals
	counting counting
}

// item is one thing to look at.
type item struct {
	grant   grants.ID
	pull    int
	flush   bool // commit the removals that are due
	sweep   bool // everything
	present bool // the default branch
}

// New returns a bot that is not running yet. A Config that cannot work is an
// error that names all that is wrong with it.
func New(c Config) (*Bot, error) {
	var problems []error
	missing := func(what string, is bool) {
		if is {
			problems = append(problems, fmt.Errorf("%s is missing", what))
		}
	}
	missing("the repository", c.Repository == nil)
	missing("the forge", c.Forge == nil)
	missing("the vault", c.Vault == nil)
	missing("the default branch's name", c.Branch == "")
	missing("the clock", c.Now == nil)
	missing("the log", c.Log == nil)
	missing("the source of time zones", c.Zones == nil)
	missing("what holds new access back", c.Hold == nil)
	schedule, err := cron.ParseStandard(c.Resync)
	if err != nil {
		problems = append(problems, fmt.Errorf("resync %q is not a schedule such as \"@every 1m\": %w", c.Resync, err))
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("configure the bot: %w", errors.Join(problems...))
	}
	c.Workers = max(c.Workers, 1)
	if c.Steps == nil {
		c.Steps = func(grants.ID, grants.Step, error) {}
	}
	heard := c.Alert
	c.Alert = func(id grants.ID, why string) {
		c.Log.Error("alert", "grant", id, "why", why)
		if heard != nil {
			heard(id, why)
		}
	}
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[item](time.Second, time.Minute)
	return &Bot{
		Config:   c,
		schedule: schedule,
		queue:    workqueue.NewTypedRateLimitingQueue(limiter),
		main:     newMainline(),
		facts:    newFactCache(),
		pulls:    pullCache{pulls: map[int]cachedPull{}, branches: map[int]string{}},
		index:    index{views: map[grants.ID]View{}, over: map[grants.ID]bool{}},
		removals: removals{due: map[string]removal{}},
	}, nil
}

// Wake asks for a look at one grant, soon.
func (b *Bot) Wake(id grants.ID) { b.queue.Add(item{grant: id}) }

// WakePull asks for a look at one pull request, which somebody else may have
// changed.
func (b *Bot) WakePull(number int) {
	b.pulls.forget(number)
	b.queue.Add(item{pull: number})
}

// WakeMain asks for a look at the default branch.
func (b *Bot) WakeMain() { b.queue.Add(item{present: true}) }

// WakeAll asks for a look at everything: after a start, or when the clock
// was moved.
func (b *Bot) WakeAll() { b.queue.Add(item{sweep: true}) }

// Run works until ctx ends, then finishes what is under way. It starts with
// a sweep, so nothing depends on what happened while no bot was running.
func (b *Bot) Run(ctx context.Context) {
	var workers sync.WaitGroup
	for range b.Workers {
		workers.Go(func() {
			for b.work(ctx) {
			}
		})
	}
	b.WakeAll()
	b.resync(ctx)
	b.queue.ShutDown()
	workers.Wait()
}

// resync wakes everything whenever the schedule says so. The schedule is read
// against the injected clock, and looked at often, so that a clock that jumps
// is noticed.
func (b *Bot) resync(ctx context.Context) {
	const look = 250 * time.Millisecond
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	next := b.schedule.Next(b.Now())
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			now := b.Now()
			upcoming := b.schedule.Next(now)
			if now.Before(next) {
				if upcoming.Before(next) { // the clock stepped back
					next = upcoming
				}
				continue
			}
			next = upcoming
			b.WakeAll()
		}
	}
}

func (b *Bot) work(ctx context.Context) bool {
	it, shutdown := b.queue.Get()
	if shutdown {
		return false
	}
	defer b.queue.Done(it)
	again, err := b.look(ctx, it)
	switch {
	case ctx.Err() != nil:
		// The next start sweeps everything.
	case errors.Is(err, world.ErrLost):
		b.queue.AddAfter(it, time.Second)
	case err != nil:
		b.Log.Warn("will try again", "item", it.String(), "error", err)
		b.queue.AddRateLimited(it)
		return true
	case !again.IsZero():
		b.queue.AddAfter(it, b.later(again))
	}
	b.queue.Forget(it)
	return true
}

func (it item) String() string {
	switch {
	case it.grant != "":
		return "grant " + string(it.grant)
	case it.pull != 0:
		return fmt.Sprintf("pull request %d", it.pull)
	case it.flush:
		return "removals"
	case it.present:
		return "default branch"
	}
	return "sweep"
}

func (b *Bot) look(ctx context.Context, it item) (again time.Time, err error) {
	defer b.survive(it.grant, &err)
	switch {
	case it.grant != "":
		return b.Reconcile(ctx, it.grant)
	case it.pull != 0:
		_, err := b.reconcilePull(ctx, it.pull)
		return time.Time{}, err
	case it.flush:
		return b.flushRemovals(ctx)
	case it.present:
		return time.Time{}, b.reconcileMain(ctx)
	}
	return time.Time{}, b.Sync(ctx)
}

// survive turns a panic into an error: whatever one grant or pull request makes
// a library do, all the others still have to end on time.
func (b *Bot) survive(id grants.ID, err *error) {
	if p := recover(); p != nil {
		b.Log.Error("panic", "grant", id, "panic", p, "stack", string(debug.Stack()))
		b.Alert(id, "tac met a panic; the log has it")
		*err = fmt.Errorf("panic: %v", p)
	}
}

// later returns how long to wait until a moment. One that is past by our own
// clock, while another clock lags, is not asked for again and again.
func (b *Bot) later(t time.Time) time.Duration {
	if wait := t.Sub(b.Now()); wait > 0 {
		return max(wait, 50*time.Millisecond)
	}
	return 5 * time.Second
}

// mostSteps bounds one visit to one grant: a life has fewer steps, so more
// mean that something does not take effect.
const mostSteps = 40

// Reconcile does whatever one grant needs now, one step at a time, and
// returns when to look again (zero: when something changes).
func (b *Bot) Reconcile(ctx context.Context, id grants.ID) (again time.Time, err error) {
	defer b.survive(id, &err)
	unlock, err := b.locks.lock(ctx, string(id))
	if err != nil {
		return time.Time{}, err
	}
	defer unlock()
	for range mostSteps {
		seen, err := b.observe(ctx, id, nil)
		if err != nil {
			return time.Time{}, fmt.Errorf("observe %s: %w", id, err)
		}
		phase, step := grants.Next(seen.Observed)
		step = b.held(step, seen)
		b.index.put(b.view(id, phase, seen), step.Kind == grants.Rest)
		if step.Alert {
			b.Alert(id, step.Why)
		}
		if step.Kind == grants.Rest || step.Kind == grants.Wait {
			return b.settledAt(ctx, id, phase, step, seen), nil
		}
		done, err := b.step(ctx, id, step, seen)
		if err != nil {
			return time.Time{}, err
		}
		if done {
			return time.Time{}, nil
		}
		if step.Kind == grants.Merge && seen.moved {
			return b.Now().Add(5 * time.Second), nil // GitHub needs a moment, and limits are scarce
		}
	}
	return time.Time{}, fmt.Errorf("grant %s: still not settled after %d steps", id, mostSteps)
}

// settledAt tells chat where the grant has come to rest for now, and returns
// when to look again. Chat comes last: nothing ever waits for it.
func (b *Bot) settledAt(ctx context.Context, id grants.ID, phase grants.Phase, step grants.Step, seen *sight) time.Time {
	telling, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	if err := b.tell(telling, id, phase, seen); err != nil {
		b.Log.Warn("chat was not told", "grant", id, "error", err)
		if step.Kind == grants.Rest && b.stillNews(seen) {
			b.index.reopen(id)
			return b.Now().Add(time.Minute)
		}
	}
	if step.Kind == grants.Rest {
		return time.Time{}
	}
	return step.Until
}

// tellWithin bounds what chat may take of one look.
const tellWithin = 10 * time.Second

// stillNews reports whether an end is so recent that chat should hear of it
// even if it has to be told again and again.
func (b *Bot) stillNews(s *sight) bool {
	return s.Record != nil && b.Now().Sub(s.Record.EndedAt) < time.Hour
}

// step does one step and reports whether the rest is up to somebody else.
func (b *Bot) step(ctx context.Context, id grants.ID, step grants.Step, seen *sight) (done bool, err error) {
	err = b.act(ctx, id, step, seen)
	seen.moved = errors.Is(err, world.ErrLost)
	b.Steps(id, step, err)
	if errors.Is(err, errLater) {
		return true, nil
	}
	if err != nil && !errors.Is(err, world.ErrLost) {
		return false, fmt.Errorf("%s %s: %w", step.Kind, id, err)
	}
	b.Log.Info("step", "grant", id, "step", step.Kind, "why", step.Why, "lost", err != nil)
	return false, nil
}

// errLater says that a step was handed to somebody who will finish it.
var errLater = errors.New("later")

// Sync looks at everything once: every open pull request, every grant file,
// every record that is not known to be over. It alone makes the state
// converge; events only make it quicker.
func (b *Bot) Sync(ctx context.Context) error {
	var problems []error
	note := func(what string, err error) {
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", what, err))
		}
	}
	// Whatever cannot be read must not keep the others from being looked
	// at: with GitHub down, grants still end.
	b.main.expire()
	b.facts.forgetMembers()
	due, err := b.everything(ctx)
	note("list grants", err)
	open, err := b.Forge.OpenPulls(ctx)
	note("list pull requests", err)
	if err == nil {
		b.pulls.replace(open, b.Now())
	}
	seen := map[grants.ID]bool{}
	for _, p := range open {
		id, err := b.reconcilePull(ctx, p.Number)
		if errors.Is(err, world.ErrLost) {
			b.queue.AddAfter(item{pull: p.Number}, time.Second) // somebody else is at it this moment
			continue
		}
		seen[id] = err == nil
		note(fmt.Sprintf("pull request %d", p.Number), err)
	}
	slices.Reverse(due) // the newest first: they are the ones that live
	for _, id := range due {
		if !seen[id] {
			note("grant "+string(id), b.reconcileNow(ctx, id))
		}
	}
	note("high water", b.raiseHighWater(ctx))
	if _, err = b.flushRemovals(ctx); errors.Is(err, world.ErrLost) {
		b.queue.AddAfter(item{flush: true}, time.Second)
		err = nil
	}
	note("removals", err)
	return errors.Join(problems...)
}

// reconcileMain looks at what the default branch changed lately.
func (b *Bot) reconcileMain(ctx context.Context) error {
	b.main.expire()
	seen, err := b.mainNow(ctx)
	if err != nil {
		return err
	}
	for _, id := range seen.touched() {
		b.Wake(id)
	}
	if err := b.raiseHighWater(ctx); err != nil {
		return err
	}
	_, err = b.flushRemovals(ctx)
	return err
}

// keyedLocks keeps two workers of one replica off the same grant: they would
// only lose compare-and-swaps to each other. Between replicas nothing else
// than those compare-and-swaps is needed, and whoever ends access needs no
// lock at all: nobody may make a revocation wait.
type keyedLocks struct {
	mu   sync.Mutex
	held map[string]*keyedLock
}

type keyedLock struct {
	token chan struct{} // holds one element while somebody has the lock
	users int
}

func (k *keyedLocks) join(key string) *keyedLock {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.held == nil {
		k.held = map[string]*keyedLock{}
	}
	l := k.held[key]
	if l == nil {
		l = &keyedLock{token: make(chan struct{}, 1)}
		k.held[key] = l
	}
	l.users++
	return l
}

func (k *keyedLocks) leave(key string, l *keyedLock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.users--; l.users == 0 {
		delete(k.held, key)
	}
}

// lock waits for the lock, as long as the context lasts.
func (k *keyedLocks) lock(ctx context.Context, key string) (unlock func(), err error) {
	l := k.join(key)
	select {
	case l.token <- struct{}{}:
		return func() { <-l.token; k.leave(key, l) }, nil
	case <-ctx.Done():
		k.leave(key, l)
		return nil, fmt.Errorf("wait for %s: %w", key, ctx.Err())
	}
}

// tryLock takes the lock if nobody has it.
func (k *keyedLocks) tryLock(key string) (unlock func(), free bool) {
	l := k.join(key)
	select {
	case l.token <- struct{}{}:
		return func() { <-l.token; k.leave(key, l) }, true
	default:
		k.leave(key, l)
		return nil, false
	}
}
