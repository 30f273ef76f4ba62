package bot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// This file is how requests are booked in the notes that all replicas share,
// and how a booking is held against what it stands for. What bounds them is in
// limits.go.

// comesWithin is how long a booking may wait for the request that it is for.
const comesWithin = 2 * time.Minute

// Kinds of bookings. An emergency and an extension take up no place among what
// is open: the one has limits of its own, the other adds no access but time.
const (
	ordinary  = ""
	emergency = "break-glass"
	extension = "extension"
)

// booking is one request in a note.
type booking struct {
	Key  string    `json:"key"` // of the request in Vault
	At   time.Time `json:"at"`
	Kind string    `json:"kind,omitempty"`
	Over bool      `json:"over,omitempty"` // seen to be over
}

// account is a note that bookings stand in, and what bounds it.
type account struct {
	note string
	// weigh returns the bookings that are still of use, and *excess where one
	// more is too many.
	weigh func(ctx context.Context, w wish, booked []booking) ([]booking, error)
}

func (b *Bot) bookAll(ctx context.Context, w wish) error {
	err := b.bookEach(ctx, w)
	var over *excess
	if err != nil && w.Kind == emergency && !errors.As(err, &over) {
		// What cannot be counted must not lock the emergency door.
		b.Alert("", "a break-glass request could not be counted: "+err.Error())
		return nil
	}
	return err
}

func (b *Bot) bookEach(ctx context.Context, w wish) error {
	accounts := b.accounts(w)
	for _, a := range accounts { // a refusal writes nothing
		if err := b.couldBook(ctx, a, w); err != nil {
			return err
		}
	}
	for i, a := range accounts {
		if err := b.book(ctx, a, w); err != nil {
			for _, before := range accounts[:i] {
				b.takeBack(ctx, before, w.Key)
			}
			return err
		}
	}
	return nil
}

func (b *Bot) couldBook(ctx context.Context, a account, w wish) error {
	_, booked, err := b.bookings(ctx, a, w.At)
	if err != nil || isBooked(booked, w.Key) {
		return err
	}
	_, err = a.weigh(ctx, w, booked)
	return err
}

// mostBookings is how often a booking may lose to others before the requester
// is asked to come again.
const mostBookings = 20

func (b *Bot) book(ctx context.Context, a account, w wish) error {
	return b.rewrite(ctx, a, w.At, func(booked []booking) ([]booking, bool, error) {
		if isBooked(booked, w.Key) {
			return nil, false, nil
		}
		kept, err := a.weigh(ctx, w, booked)
		return append(kept, w.booking), true, err
	})
}

// takeBack undoes a booking. Where that fails the booking counts until it is
// noticed that its request never came.
func (b *Bot) takeBack(ctx context.Context, a account, key string) {
	err := b.rewrite(ctx, a, b.Now(), func(booked []booking) ([]booking, bool, error) {
		return slices.DeleteFunc(booked, func(k booking) bool { return k.Key == key }), true, nil
	})
	if err != nil {
		b.Log.Warn("a booking was not taken back", "note", a.note, "error", err)
	}
}

// rewrite changes a note as one compare-and-swap. Within one process they wait
// for each other, which is quicker than losing to each other.
func (b *Bot) rewrite(ctx context.Context, a account, now time.Time, change func([]booking) (changed []booking, write bool, err error)) error {
	unlock, err := b.locks.lock(ctx, a.note)
	if err != nil {
		return unavailable("tac", err)
	}
	defer unlock()
	for range mostBookings {
		note, booked, err := b.bookings(ctx, a, now)
		if err != nil {
			return err
		}
		changed, write, err := change(booked)
		if err != nil || !write {
			return err
		}
		if note.Data, err = json.Marshal(changed); err != nil {
			return fmt.Errorf("encode %s: %w", a.note, err)
		}
		err = b.Vault.PutNote(ctx, a.note, &note)
		if err == nil {
			return nil
		}
		if !errors.Is(err, world.ErrLost) {
			return unavailable("Vault", err)
		}
	}
	return &Error{Code: CodeUnavailable, Message: "too many ask at this very moment; nothing was done, please try again"}
}

// bookings reads a note. What cannot be understood counts for nothing: a note
// is there to spare GitHub, and must not lock anybody out.
func (b *Bot) bookings(ctx context.Context, a account, now time.Time) (world.Note, []booking, error) {
	note, err := b.Vault.Note(ctx, a.note)
	if err != nil {
		return note, nil, unavailable("Vault", err)
	}
	var booked []booking
	if len(note.Data) > 0 {
		if err := json.Unmarshal(note.Data, &booked); err != nil {
			b.Log.Warn("a note is unreadable and starts anew", "note", a.note, "error", err)
			booked = nil
		}
	}
	for i := range booked {
		// A clock that was ahead must not make what it wrote count for longer.
		if booked[i].At.After(now.Add(time.Hour)) {
			booked[i].At = time.Time{}
		}
	}
	return note, booked, nil
}

func isBooked(booked []booking, key string) bool {
	return slices.ContainsFunc(booked, func(k booking) bool { return k.Key == key })
}

// settle holds bookings against what they stand for: those that are over are
// marked, those whose request never came are left out. It returns when the
// first of the others will be over at the latest.
func (b *Bot) settle(ctx context.Context, booked []booking, now time.Time) (settled []booking, free time.Time) {
	for _, k := range booked {
		if k.Over {
			settled = append(settled, k)
			continue
		}
		f := b.fateOf(ctx, k, now)
		if f.never {
			continue
		}
		k.Over = f.over
		settled = append(settled, k)
		if !k.Over && k.Kind == ordinary {
			free = soonest(free, f.until)
		}
	}
	return settled, free
}

// fate is what became of a booking.
type fate struct {
	id    grants.ID
	over  bool
	never bool // its request did not come
	until time.Time
	at    time.Time // when this was so
}

// fateOf asks Vault what became of a booking. What cannot be read counts as
// open for a day: more would let a broken entry lock somebody out.
func (b *Bot) fateOf(ctx context.Context, k booking, now time.Time) fate {
	if f, ok := b.counting.recall(k.Key, now); ok {
		if v, known := b.index.get(f.id); f.over || !known || isOpenPhase(v.Phase) {
			return f
		}
	}
	r, err := b.Vault.Request(ctx, k.Key)
	switch {
	case err != nil:
		b.Log.Warn("it cannot be seen whether a request is over", "key", k.Key, "error", err)
		return fate{over: now.Sub(k.At) >= aDay, until: k.At.Add(aDay)}
	case r == nil:
		return fate{never: now.Sub(k.At) >= comesWithin, until: k.At.Add(comesWithin)}
	}
	f := fate{id: r.Grant.ID, over: r.Closed != "", until: r.Grant.RequestedAt.Add(requestTTL), at: now}
	if !f.over {
		record, err := b.Vault.Record(ctx, f.id)
		switch {
		case err != nil:
			b.Log.Warn("it cannot be seen whether a grant is over", "grant", f.id, "error", err)
			return fate{over: now.Sub(k.At) >= aDay, until: k.At.Add(aDay)}
		case record != nil:
			f.until, f.over = record.EndsAt, isOver(record, now)
		}
	}
	b.counting.remember(k.Key, f)
	return f
}

// isOver reports whether a grant is over or being ended: whatever is left to
// do about it is not for its requester to wait for.
func isOver(r *grants.Record, now time.Time) bool {
	switch r.State {
	case grants.Revoked, grants.Failed:
		return true
	case grants.Revoking:
		return !r.Retiring
	}
	return !now.Before(r.EndsAt)
}

// counting is what one process remembers so as not to ask Vault for it over
// and over. The zero value is ready.
type counting struct {
	mu    sync.Mutex
	fates map[string]fate // of what was open a moment ago, or is over
	held  map[int]held    // hand-written pull requests that have to wait
}

type held struct {
	head string
	wish wish
}

// fateFresh is how long what was open counts as open without another look, so
// that whoever asks again and again does not make Vault read everything.
const fateFresh = 5 * time.Second

func (c *counting) recall(key string, now time.Time) (fate, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.fates[key]
	age := now.Sub(f.at)
	return f, ok && (f.over || age >= 0 && age < fateFresh && now.Before(f.until))
}

func (c *counting) remember(key string, f fate) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.fates == nil || len(c.fates) >= mostFacts {
		c.fates = map[string]fate{}
	}
	c.fates[key] = f
}

func (c *counting) hold(pull int, h *held) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if h == nil {
		delete(c.held, pull)
		return
	}
	if c.held == nil || len(c.held) >= mostFacts {
		c.held = map[int]held{}
	}
	c.held[pull] = *h
}

func (c *counting) heldAt(pull int, head string) (wish, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	h, ok := c.held[pull]
	return h.wish, ok && h.head == head
}

// soonest returns the earlier of two times; zero is none.
func soonest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
