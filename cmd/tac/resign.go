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
// over, until the grant ends, a certificate lasts to the end of the grant, the
// server refuses, or ctx ends. Files that are signed anew keep their names.
func (r resigner) keep(ctx context.Context, t client.Taken) {
	warned := false
	for t.Credential.Signed() {
		now, end := r.now(), t.Grant.EndsAt
		if end == nil || !now.Before(*end) || !t.Credential.Until.Before(*end) {
			return
		}
		wait := lostPause
		if left := t.Credential.Until.Sub(now); left > 0 {
			wait = max(left/2, leastPause)
		}
		if !r.pause(ctx, wait) {
			return
		}
		next, err := r.resign(ctx)
		if ctx.Err() != nil {
			return // the command has ended, and nobody waits for an answer
		}
		if err == nil {
			t, err = next, next.Unsure
		} else if !client.IsPassing(err) {
			r.note("the certificate is not signed again: %v", err)
			return
		}
		if err != nil && !warned {
			r.note("the certificate was not signed again: %v; it ends %s", err, stamp(t.Credential.Until))
		}
		warned = err != nil
	}
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
