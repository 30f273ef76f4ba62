package github

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// Delivery is one webhook, sent or not.
type Delivery struct {
	ID         int64  // of this attempt
	GUID       string // X-GitHub-Delivery: the same for every attempt
	Event      string
	Action     string // empty for push
	Body       []byte
	At         time.Time // when it was caused, by the sandbox clock
	Redelivery bool
	Dropped    bool  // lost on purpose; never sent
	Status     int   // what the receiver answered; 0 where it did not
	Err        error // why it did not

	app    *App
	url    string
	secret string
}

// hookQueue delivers webhooks one after the other in a goroutine of its own,
// so that a slow receiver never holds up a call. It never tries again: the
// real thing does not either.
type hookQueue struct {
	clock  *sandbox.Clock
	client *http.Client
	tell   func(Delivery) // of each delivery, just before it is sent
	stop   context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex
	changed   *sync.Cond
	waiting   []Delivery
	held      []Delivery
	holding   bool
	sending   bool
	closed    bool
	drop      int
	duplicate int
	record    []Delivery
}

func newHookQueue(clock *sandbox.Clock, tell func(Delivery)) *hookQueue {
	ctx, stop := context.WithCancel(context.Background())
	q := &hookQueue{
		clock: clock, tell: tell, stop: stop, done: make(chan struct{}),
		client: &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{}},
	}
	q.changed = sync.NewCond(&q.mu)
	go q.run(ctx)
	return q
}

func (q *hookQueue) close() {
	q.mu.Lock()
	q.closed = true
	q.changed.Broadcast()
	q.mu.Unlock()
	q.stop()
	<-q.done
	q.client.CloseIdleConnections()
}

func (q *hookQueue) add(d Delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	copies := 1
	switch {
	case q.drop != 0:
		q.drop = max(q.drop-1, -1)
		d.Dropped = true
		q.record = append(q.record, d)
		return
	case q.duplicate != 0:
		q.duplicate = max(q.duplicate-1, -1)
		copies = 2
	}
	for range copies {
		if q.holding {
			q.held = append(q.held, d)
		} else {
			q.waiting = append(q.waiting, d)
		}
	}
	q.changed.Broadcast()
}

func (q *hookQueue) run(ctx context.Context) {
	defer close(q.done)
	for {
		q.mu.Lock()
		for len(q.waiting) == 0 && !q.closed {
			q.changed.Wait()
		}
		if q.closed {
			q.mu.Unlock()
			return
		}
		d := q.waiting[0]
		q.waiting = q.waiting[1:]
		q.sending = true
		q.mu.Unlock()

		q.tell(d)
		d.Status, d.Err = q.send(ctx, d)

		q.mu.Lock()
		q.sending = false
		q.record = append(q.record, d)
		q.changed.Broadcast()
		q.mu.Unlock()
	}
}

func (q *hookQueue) send(ctx context.Context, d Delivery) (int, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, d.url, bytes.NewReader(d.Body))
	if err != nil {
		return 0, fmt.Errorf("webhook %s: %w", d.GUID, err)
	}
	mac := hmac.New(sha256.New, []byte(d.secret))
	mac.Write(d.Body)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("User-Agent", "GitHub-Hookshot/sandbox")
	r.Header.Set("X-GitHub-Event", d.Event)
	r.Header.Set("X-GitHub-Delivery", d.GUID)
	r.Header.Set("X-GitHub-Hook-ID", fmt.Sprint(d.app.ID))
	r.Header.Set("X-GitHub-Hook-Installation-Target-ID", fmt.Sprint(d.app.ID))
	r.Header.Set("X-GitHub-Hook-Installation-Target-Type", "integration")
	if d.secret != "" {
		r.Header.Set("X-Hub-Signature-256", "sha256="+hex.EncodeToString(mac.Sum(nil)))
	}
	answer, err := q.client.Do(r)
	if err != nil {
		return 0, fmt.Errorf("webhook %s: %w", d.GUID, err)
	}
	_ = answer.Body.Close() // what the receiver says is of no interest
	return answer.StatusCode, nil
}

func (q *hookQueue) drain(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		q.changed.Broadcast()
	})()
	q.mu.Lock()
	defer q.mu.Unlock()
	for (len(q.waiting) > 0 || q.sending) && !q.closed {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("wait for webhook deliveries: %w", err)
		}
		q.changed.Wait()
	}
	return nil
}

// DropDeliveries loses the next n webhooks; a negative n loses all until it
// is called again with 0.
func (s *Server) DropDeliveries(n int) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.drop = n
}

// DuplicateDeliveries sends the next n webhooks twice, with the same GUID; a
// negative n all of them until it is called again with 0.
func (s *Server) DuplicateDeliveries(n int) {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.duplicate = n
}

// HoldDeliveries keeps webhooks back from now on.
func (s *Server) HoldDeliveries() {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	s.hooks.holding = true
}

// ReleaseDeliveries sends what was held back, the newest first if reversed,
// and holds nothing back any more.
func (s *Server) ReleaseDeliveries(reversed bool) {
	q := s.hooks
	q.mu.Lock()
	defer q.mu.Unlock()
	if reversed {
		slices.Reverse(q.held)
	}
	q.waiting = append(q.waiting, q.held...)
	q.held, q.holding = nil, false
	q.changed.Broadcast()
}

// Redeliver sends a recorded webhook again, as the button on GitHub's page
// does: the GUID stays.
func (s *Server) Redeliver(d Delivery) {
	d.Redelivery, d.Dropped, d.Status, d.Err = true, false, 0, nil
	s.mu.Lock()
	d.ID = s.nextID()
	s.mu.Unlock()
	s.hooks.add(d)
}

// Deliveries returns the record of webhooks that were sent or dropped, in the
// order that happened.
func (s *Server) Deliveries() []Delivery {
	s.hooks.mu.Lock()
	defer s.hooks.mu.Unlock()
	return slices.Clone(s.hooks.record)
}
