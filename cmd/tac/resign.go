package main

import (
	"context"
	"time"

	"github.com/tigeraccess/tac/cmd/tac/client"
)

// Pauses before the server is asked again: at least, so that a short slice
// does not have us ask in a circle; and where the certificate has ended and
// the server has not answered yet.
const (
	leastPause = 5 * time.Second
	lostPause  = 30 * time.Second
	// lastLook is how long before the end of the grant it is looked once more
	// whether somebody extended it: nothing is signed in the last minute.
	lastLook = 90 * time.Second
)

// resigner has a certificate signed again and again while a command uses it.
type resigner struct {
	now    func() time.Time
	resign func(context.Context) (client.Taken, error)
	note   func(format string, args ...any)
	// pause waits, and reports false once there is nothing to wait for.
	pause func(context.Context, time.Duration) bool
}

// keep has the certificate signed again when half of what is left of it is
// over, until the grant ends, the server refuses, or ctx ends. One that lasts
// to the end of the grant is signed again only where the grant was extended
// meanwhile. Files that are signed anew keep their names.
func (r resigner) keep(ctx context.Context, t client.Taken) {
	warned := false
	for t.Credential.Signed() {
		now, end := r.now(), t.Grant.EndsAt
		if end == nil || !now.Before(*end) {
			return
		}
		last := !t.Credential.Until.Before(*end)
		wait := untilSigned(t, now)
		if last {
			wait = end.Sub(now) - lastLook
		}
		if wait <= 0 || !r.pause(ctx, wait) {
			return
		}
		next, err := r.resign(ctx)
		if ctx.Err() != nil {
			return // the command has ended, and nobody waits for an answer
		}
		if err == nil {
			t, err = next, next.Unsure
		}
		switch {
		case last && (err != nil || t.Grant.EndsAt == nil || !end.Before(*t.Grant.EndsAt)):
			return // it ends when it would have
		case err != nil && !client.IsPassing(err):
			r.note("the certificate is not signed again: %v", err)
			return
		case err != nil && !warned:
			r.note("the certificate was not signed again: %v; it ends %s", err, stamp(t.Credential.Until))
		}
		warned = err != nil
	}
}

// untilSigned returns when a certificate is to be signed again.
func untilSigned(t client.Taken, now time.Time) time.Duration {
	if left := t.Credential.Until.Sub(now); left > 0 {
		return max(left/2, leastPause)
	}
	return lostPause
}

func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
