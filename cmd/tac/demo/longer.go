package demo

import (
	"crypto/rand"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tigeraccess/tac/grants"
)

// lengthened is a grant in use that gets more time.
type lengthened struct {
	alice      *Person
	first      grants.ID // the grant
	more       grants.ID // what extends it
	credential Credential
	session    *pgx.Conn
	until      time.Time // of the database user, at first
}

// extended is a grant that turns out to be too short while it is in use.
func (d *telling) extended() (*pause, error) {
	alice, err := d.world.Person("alice")
	if err != nil {
		return nil, err
	}
	t := d.ground.tempo().longer
	ask := Ask{Resource: "postgres-prod", Duration: grants.FormatDuration(t.first), Reason: "Rebuild the index on orders"}
	d.say(`alice: tac access request postgres-prod --duration %s --reason "%s"`, ask.Duration, ask.Reason)
	a, err := alice.Request(d.ctx, d.one, ask)
	if err != nil {
		return nil, err
	}
	if _, err := d.reach(alice, a.ID, grants.PhaseApproved); err != nil {
		return nil, err
	}
	l := &lengthened{alice: alice, first: a.ID}
	if l.credential, err = alice.Claim(d.ctx, d.one, a.ID, rand.Text(), "", false); err != nil {
		return nil, err
	}
	if l.session, err = pgx.Connect(d.ctx, d.dsn(l.credential)); err != nil {
		return nil, fmt.Errorf("log in to the database: %w", err)
	}
	l.until, _ = d.world.Postgres.ValidUntil(l.credential.Username)
	d.say("she logs in as %s, VALID UNTIL %s", l.credential.Username, d.clock(l.until))
	if t.begun == 0 {
		return d.askForMore(l)
	}
	return &pause{t.toldBegun, t.begun, func() (*pause, error) { return d.askForMore(l) }}, nil
}

func (d *telling) askForMore(l *lengthened) (*pause, error) {
	t := d.ground.tempo().longer
	added := grants.FormatDuration(t.more)
	d.say("alice: tac access extend %s %s", l.first, added)
	a, err := l.alice.Extend(d.ctx, d.one, l.first, added)
	if err != nil {
		return nil, err
	}
	l.more = a.ID
	d.check(a.Decision.Decision == "allow", "policy judges all of it, %s, and says %s by the rule %s", grants.FormatDuration(t.first+t.more), a.Decision.Decision, a.Decision.Rule)
	user, until := l.credential.Username, l.until
	err = d.until("the database user lives longer", func() (bool, error) {
		until, _ = d.world.Postgres.ValidUntil(user)
		return until.After(l.until), nil
	})
	r, failed := d.record(l.first)
	if err == nil {
		err = failed
	}
	if err != nil {
		return nil, err
	}
	d.check(r.Username == user && near(until, l.until.Add(t.more)), "the same database user is VALID UNTIL %s now: no other credential was made, and nobody has to log in again", d.clock(until))
	return &pause{t.toldFirst, t.pastFirst, func() (*pause, error) { return d.pastFirstEnd(l) }}, nil
}

func (d *telling) pastFirstEnd(l *lengthened) (*pause, error) {
	if err := d.quiet(); err != nil {
		return nil, err
	}
	_, err := l.session.Exec(d.ctx, "SELECT 1", pgx.QueryExecModeSimpleProtocol)
	d.check(err == nil && !d.world.Clock.Now().Before(l.until), "it is past %s, and the session that she opened before goes on", d.clock(l.until))
	t := d.ground.tempo().longer
	return &pause{t.toldAll, t.pastAll, func() (*pause, error) { return nil, d.pastAllOfIt(l) }}, nil
}

func (d *telling) pastAllOfIt(l *lengthened) error {
	for _, id := range []grants.ID{l.first, l.more} {
		if _, err := d.reach(l.alice, id, grants.PhaseClosed); err != nil {
			return err
		}
	}
	_, err := l.session.Exec(d.ctx, "SELECT 1", pgx.QueryExecModeSimpleProtocol)
	d.check(err != nil, "now it was cut: %s", lastClause(err))
	if err := d.checkForgotten(l.first, "Vault and the database have forgotten the user, the lease and the token"); err != nil {
		return err
	}
	there, err := d.onMain(grants.Path("postgres-prod", l.first))
	if err != nil {
		return err
	}
	also, err := d.onMain(grants.Path("postgres-prod", l.more))
	d.check(err == nil && !there && !also, "both files are gone, that of the grant and that of what extended it")
	return nil
}
