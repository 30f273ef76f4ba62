package bot

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// This file bounds how much may be asked for (threats.md E15), so that nobody
// takes all of what GitHub lets tac write. Only asking is bounded: whatever
// ends access never comes here, and the hourly limit leaves it the rest.
//
// What was asked is booked in notes that all replicas share, one for each
// person, each resource and the hour, each written by compare-and-swap before
// anything of the request is. A booking is no counter: when a limit is reached,
// every one is held against the request and the record that it stands for, so
// that one whose request never came, or is over, counts no more. A crash can
// cost somebody a place for two minutes, and no longer.

// CodeLimited is the refusal of a request that is one too many for now.
const CodeLimited Code = "limited"

// Limits is how much may be asked for. A zero value means the default that
// stands beside it. Asking as an emergency counts against none of them, and
// is limited by itself.
type Limits struct {
	// OpenPerPerson is how many requests and grants one person may have
	// open at a time. Default: 5.
	OpenPerPerson int
	// DailyPerPerson is how often one person may ask within 24 hours,
	// whatever became of it; what policy refused does not count. Default: 20.
	DailyPerPerson int
	// OpenPerResource is how many requests and grants there may be for one
	// resource at a time. Default: 50.
	OpenPerResource int
	// Hourly is how often all people together may ask within an hour. The
	// default, 60, is three fifths of what GitHub lets an App write, at the
	// five calls that one grant costs.
	Hourly int
}

func (l Limits) orDefault() Limits {
	value := func(set, otherwise int) int {
		if set > 0 {
			return set
		}
		return otherwise
	}
	return Limits{
		OpenPerPerson: value(l.OpenPerPerson, 5), DailyPerPerson: value(l.DailyPerPerson, 20),
		OpenPerResource: value(l.OpenPerResource, 50), Hourly: value(l.Hourly, 60),
	}
}

// mostEmergencies is how often one person may ask as an emergency in a day. It
// is a count of its own: no flood of other requests locks the emergency door.
const mostEmergencies = 3

const aDay = 24 * time.Hour

// wish is what somebody wants to book.
type wish struct {
	booking
	who      grants.Principal
	resource string
	byHand   bool // a pull request that exists already
}

func newWish(key string, g grants.Grant, now time.Time) wish {
	w := wish{booking: booking{Key: key, At: now.UTC()}, who: g.Requester, resource: g.Resource}
	switch {
	case g.BreakGlass:
		w.Kind = emergency
	case g.Extends != "":
		w.Kind = extension
	}
	return w
}

// admit books a request that is about to be made durable under key, or returns
// why it is one too many. The same key is booked once, however often it comes.
func (b *Bot) admit(ctx context.Context, key string, g grants.Grant, now time.Time) error {
	err := b.bookAll(ctx, newWish(key, g, now))
	var over *excess
	if errors.As(err, &over) {
		b.Log.Info("limited", "requester", g.Requester.ID, "resource", g.Resource, "limit", over.rule)
		return &Error{Code: CodeLimited, Message: over.toRequester()}
	}
	return err
}

func (b *Bot) accounts(w wish) []account {
	all := []account{{"limits/person/" + strconv.FormatInt(w.who.ID, 10), b.weighPerson}}
	if w.Kind == emergency {
		return all
	}
	resource, hour := b.weighResource, b.weighHour
	if w.byHand { // it is there already, and others' haste is no reason to keep it waiting
		resource, hour = b.onlyPrune(resource), b.onlyPrune(hour)
	}
	if w.Kind == ordinary {
		all = append(all, account{"limits/resource/" + w.resource, resource})
	}
	return append(all, account{"limits/hour", hour})
}

func (b *Bot) onlyPrune(weigh func(context.Context, wish, []booking) ([]booking, error)) func(context.Context, wish, []booking) ([]booking, error) {
	return func(ctx context.Context, w wish, booked []booking) ([]booking, error) {
		kept, err := weigh(ctx, w, booked)
		if over := (*excess)(nil); errors.As(err, &over) {
			return kept, nil
		}
		return kept, err
	}
}

func (b *Bot) weighPerson(ctx context.Context, w wish, booked []booking) ([]booking, error) {
	most := b.Limits.orDefault()
	others := b.unbooked(booked, w.Key, func(v View) bool { return v.RequesterID == w.who.ID })
	weigh := func() *excess {
		open, emergencies, asked := tally(booked, w.At.Add(-aDay))
		switch {
		case w.Kind == emergency:
			return tooOften("limits/break_glass", emergencies, mostEmergencies, aDay)
		case w.Kind == ordinary && open+len(others) >= most.OpenPerPerson:
			return &excess{rule: "limits/open_per_person", count: open + len(others), most: most.OpenPerPerson}
		}
		return tooOften("limits/daily_per_person", asked, most.DailyPerPerson, aDay)
	}
	if weigh() != nil {
		var free, freeToo time.Time
		booked, free = b.settle(ctx, booked, w.At)
		others, freeToo = b.settle(ctx, others, w.At)
		others = slices.DeleteFunc(others, func(k booking) bool { return k.Over })
		if over := weigh(); over != nil {
			if over.until.IsZero() {
				over.until = soonest(free, freeToo)
			}
			return booked, over
		}
	}
	return slices.DeleteFunc(booked, func(k booking) bool {
		return !k.At.After(w.At.Add(-aDay)) && (k.Over || k.Kind != ordinary)
	}), nil
}

// tally counts what is open, and lists when somebody asked since.
func tally(booked []booking, since time.Time) (open int, emergencies, asked []time.Time) {
	for _, k := range booked {
		if k.Kind == ordinary && !k.Over {
			open++
		}
		switch lately := k.At.After(since); {
		case lately && k.Kind == emergency:
			emergencies = append(emergencies, k.At)
		case lately:
			asked = append(asked, k.At)
		}
	}
	return open, emergencies, asked
}

func (b *Bot) weighResource(ctx context.Context, w wish, booked []booking) ([]booking, error) {
	most := b.Limits.orDefault().OpenPerResource
	others := b.unbooked(booked, w.Key, func(v View) bool { return v.Resource == w.resource })
	if len(booked)+len(others) < most {
		return booked, nil
	}
	isOver := func(k booking) bool { return k.Over }
	booked, free := b.settle(ctx, booked, w.At)
	others, freeToo := b.settle(ctx, others, w.At)
	booked, others = slices.DeleteFunc(booked, isOver), slices.DeleteFunc(others, isOver)
	if open := len(booked) + len(others); open >= most {
		return booked, &excess{rule: "limits/open_per_resource", count: open, most: most, resource: w.resource, until: soonest(free, freeToo)}
	}
	return booked, nil
}

func (b *Bot) weighHour(_ context.Context, w wish, booked []booking) ([]booking, error) {
	booked = slices.DeleteFunc(booked, func(k booking) bool { return !k.At.After(w.At.Add(-time.Hour)) })
	times := make([]time.Time, len(booked))
	for i, k := range booked {
		times[i] = k.At
	}
	if over := tooOften("limits/hourly", times, b.Limits.orDefault().Hourly, time.Hour); over != nil {
		return booked, over
	}
	return booked, nil
}

// tooOften reports an excess where something was done most times within a
// window, and when the next may follow.
func tooOften(rule string, times []time.Time, most int, window time.Duration) *excess {
	if len(times) < most {
		return nil
	}
	slices.SortFunc(times, time.Time.Compare)
	return &excess{rule: rule, count: len(times), most: most, until: times[len(times)-most].Add(window)}
}

// unbooked lists what this replica knows to be open and no note has: grants
// from before there were notes, and those whose note was lost.
func (b *Bot) unbooked(booked []booking, key string, of func(View) bool) []booking {
	var found []booking
	for _, v := range b.index.open() {
		k := booking{Key: v.ID.Key()}
		if v.RequestedAt != nil {
			k.At = *v.RequestedAt
		}
		if of(v) && !v.BreakGlass && v.Extends == "" && k.Key != key && !isBooked(booked, k.Key) {
			found = append(found, k)
		}
	}
	return found
}

// open lists what was open at the latest look.
func (x *index) open() []View {
	x.mu.Lock()
	defer x.mu.Unlock()
	var views []View
	for _, v := range x.views {
		if isOpenPhase(v.Phase) {
			views = append(views, v)
		}
	}
	return views
}

func isOpenPhase(p grants.Phase) bool {
	switch p {
	case grants.PhaseRequested, grants.PhaseScheduled, grants.PhaseApproved, grants.PhaseActive:
		return true
	}
	return false
}

// heldBack reports whether a hand-written grant is one too many for who asks,
// and says so on its pull request. It stays open and is looked at again with
// every sweep: who has a place once more needs to do nothing.
func (b *Bot) heldBack(ctx context.Context, g grants.Grant, pull world.Pull) (bool, error) {
	w := newWish(g.ID.Key(), g, b.Now())
	w.byHand = true
	err := b.bookAll(ctx, w)
	var over *excess
	if !errors.As(err, &over) {
		b.counting.hold(pull.Number, nil)
		return false, err
	}
	title, summary := over.toPull(g.Requester)
	if said := digest(pull.Head + title); !b.index.answered(pull.Number, said) {
		if _, err := b.Forge.Check(ctx, 0, world.Check{Head: pull.Head, Title: title, Summary: summary}); err != nil {
			return true, fmt.Errorf("hold pull request %d back: %w", pull.Number, err)
		}
		b.index.answer(pull.Number, said)
	}
	b.counting.hold(pull.Number, &held{pull.Head, w})
	return true, nil
}

// stillHeld reports whether a pull request that was held back would be again.
// It asks GitHub nothing: a flood of them must not use up what GitHub answers.
func (b *Bot) stillHeld(ctx context.Context, pull world.Pull) bool {
	w, ok := b.counting.heldAt(pull.Number, pull.Head)
	if !ok {
		return false
	}
	w.At = b.Now().UTC()
	var over *excess
	return errors.As(b.couldBook(ctx, b.accounts(w)[0], w), &over)
}

// excess is a limit that was reached.
type excess struct {
	rule     string
	count    int
	most     int
	resource string
	until    time.Time // when there is room again at the latest
}

func (x *excess) Error() string { return fmt.Sprintf("%s: %d of %d", x.rule, x.count, x.most) }

// toRequester says which limit it is, and what works.
func (x *excess) toRequester() string {
	when := clockText(wholeMinute(x.until))
	switch x.rule {
	case "limits/open_per_person":
		return fmt.Sprintf("you have %s open, and %d at a time is the most: give one back with `tac access drop ID`, or ask again at %s, when the next of them is over",
			requestsOrGrants(x.count), x.most, when)
	case "limits/open_per_resource":
		return fmt.Sprintf("people have %s open for %s, and %d at a time is the most: ask again at %s, when the next of them is over",
			requestsOrGrants(x.count), x.resource, x.most, when)
	case "limits/daily_per_person":
		return fmt.Sprintf("you asked %s within 24 hours, and %d is the most: ask again at %s", timesOf(x.count), x.most, when)
	case "limits/break_glass":
		return fmt.Sprintf("you asked %s as an emergency within 24 hours, and %d is the most: ask again at %s, or without --break-glass",
			timesOf(x.count), x.most, when)
	}
	return fmt.Sprintf("people asked tac %s within the hour, and %d is the most, so that ending access always has room: ask again at %s",
		timesOf(x.count), x.most, when)
}

// toPull says the same where it is said once, and so without a time.
func (x *excess) toPull(who grants.Principal) (title, summary string) {
	what := fmt.Sprintf("has %s open, and %d at a time is the most", requestsOrGrants(x.count), x.most)
	mend := "It goes on by itself as soon as one of them is over: give one back with `tac access drop ID`."
	switch x.rule {
	case "limits/daily_per_person":
		what = fmt.Sprintf("asked %s within 24 hours, and %d is the most", timesOf(x.count), x.most)
		mend = "It goes on by itself when that is so no more."
	case "limits/break_glass":
		what = fmt.Sprintf("asked %s as an emergency within 24 hours, and %d is the most", timesOf(x.count), x.most)
		mend = "It goes on by itself when that is so no more."
	}
	return "waiting: " + who.GitHub + " " + what, fmt.Sprintf("This waits: %s %s. %s", inert(who.GitHub), what, mend)
}

func requestsOrGrants(n int) string {
	if n == 1 {
		return "1 request or grant"
	}
	return fmt.Sprintf("%d requests and grants", n)
}

func timesOf(n int) string {
	if n == 1 {
		return "once"
	}
	return fmt.Sprintf("%d times", n)
}

// wholeMinute is the first whole minute that is not before t.
func wholeMinute(t time.Time) time.Time {
	if m := t.Truncate(time.Minute); m.Before(t) {
		return m.Add(time.Minute)
	}
	return t
}
