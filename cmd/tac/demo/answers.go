package demo

import (
	"crypto/rand"
	"crypto/sha1" //nolint:gosec // git names its blobs so
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
)

// asked has somebody ask for what people have to decide on, and returns it as
// an approver is shown it.
func (d *telling) asked(login, approver string, ask Ask) (person, other *Person, v bot.View, err error) {
	if person, err = d.world.Person(login); err != nil {
		return nil, nil, v, err
	}
	if other, err = d.world.Person(approver); err != nil {
		return nil, nil, v, err
	}
	d.say(`%s: tac access request %s --duration %s --reason "%s"`, login, ask.Resource, ask.Duration, ask.Reason)
	a, err := person.Request(d.ctx, d.one, ask)
	if err != nil {
		return nil, nil, v, err
	}
	err = d.until(approver+" is asked", func() (bool, error) {
		v, err = other.Show(d.ctx, d.one, a.ID)
		return v.MayAnswer && v.Head != "", notYetThere(err)
	})
	if err == nil {
		err = d.quiet() // nobody answers before chat was told
	}
	return person, other, v, err
}

// narrowed is an approver who gives an hour where two were asked for.
func (d *telling) narrowed() (*pause, error) {
	bob, dana, v, err := d.asked("bob", "dana", Ask{Resource: "postgres-prod", Duration: "2h", Reason: "Repair the orders of last night"})
	if err != nil {
		return nil, err
	}
	path, wide := grants.Path(v.Resource, v.ID), ""
	if files, err := d.world.GitHub.Files(Repository, v.Head); err == nil {
		wide = files[path]
	}
	d.say("dana, in her terminal: tac access approve %s --duration 1h", v.ID)
	if _, err := dana.Approve(d.ctx, d.one, v.ID, v.Head, "1h"); err != nil {
		return nil, err
	}
	if v, err = d.reach(bob, v.ID, grants.PhaseApproved); err != nil {
		return nil, err
	}
	files, err := d.world.GitHub.Files(Repository, "main")
	if err != nil {
		return nil, err
	}
	g, err := grants.Parse(path, []byte(files[path]))
	d.check(err == nil && g.Duration == time.Hour && g.Narrows == blobName(wide),
		"the file that was merged says duration: 1h and narrows: %.8s, which is the file of 2h that bob asked with", g.Narrows)
	if err := d.checkDanasReview(v, files[path]); err != nil {
		return nil, err
	}
	return nil, d.useNarrowed(bob, v)
}

// checkDanasReview claims that the one review of a grant is dana's own, and of
// what was merged.
func (d *telling) checkDanasReview(v bot.View, merged string) error {
	all, err := d.reviews(v.PullRequest)
	if err != nil {
		return err
	}
	own := len(all) == 1 && all[0].by("dana") && all[0].State == "APPROVED"
	if own {
		files, err := d.world.GitHub.Files(Repository, all[0].Commit)
		own = err == nil && merged != "" && files[grants.Path(v.Resource, v.ID)] == merged
	}
	d.check(own, "on GitHub it is dana's own review, not one of the bot's, and of the very bytes that were merged")
	return nil
}

// useNarrowed is the life of what dana gave.
func (d *telling) useNarrowed(bob *Person, v bot.View) error {
	c, err := bob.Claim(d.ctx, d.one, v.ID, rand.Text(), "", false)
	if err != nil {
		return err
	}
	until, known := d.world.Postgres.ValidUntil(c.Username)
	given := v.StartsAt != nil && v.EndsAt != nil && v.EndsAt.Sub(*v.StartsAt) == time.Hour && near(until, *v.EndsAt)
	d.check(known && given, "bob's database user is VALID UNTIL %s: one hour, not two", d.clock(until))
	d.say("bob is done: tac access drop %s", v.ID)
	if _, err := bob.Drop(d.ctx, d.one, v.ID); err != nil {
		return err
	}
	if _, err := d.reach(bob, v.ID, grants.PhaseClosed); err != nil {
		return err
	}
	return d.checkEnded(v.ID, grants.OutcomeDropped)
}

// denied is an approver who says no, which another's yes does not outvote.
func (d *telling) denied() (*pause, error) {
	const why = "Use the read replica's host, the batch runs there"
	carol, dana, v, err := d.asked("carol", "dana", Ask{Resource: "bastion", Duration: "4h", Reason: "Watch the nightly batch"})
	if err != nil {
		return nil, err
	}
	d.say(`dana: tac access deny %s --reason "%s"`, v.ID, why)
	if _, err := dana.Deny(d.ctx, d.one, v.ID, v.Head, why); err != nil {
		return nil, err
	}
	all, err := d.reviews(v.PullRequest)
	if err != nil {
		return nil, err
	}
	d.check(len(all) == 1 && all[0].by("dana") && all[0].State == "CHANGES_REQUESTED" && strings.Contains(all[0].Body, why),
		"the pull request shows carol dana's own review: changes requested, with the reason in her words")
	if v, err = carol.Show(d.ctx, d.one, v.ID); err != nil {
		return nil, err
	}
	d.check(v.Phase == grants.PhaseRequested && strings.Contains(v.Why, "dana"), "tac access show tells carol as well: %s", v.Why)
	eve, err := d.world.Person("eve")
	if err != nil {
		return nil, err
	}
	d.say("eve, of security, approves it")
	if _, err := eve.Approve(d.ctx, d.one, v.ID, v.Head, ""); err != nil {
		return nil, err
	}
	if err := d.quiet(); err != nil {
		return nil, err
	}
	if v, err = carol.Show(d.ctx, d.one, v.ID); err != nil {
		return nil, err
	}
	d.check(v.Phase == grants.PhaseRequested, "eve's yes does not outvote dana's no: the request still waits")
	d.say("carol takes it back: tac access drop %s", v.ID)
	if _, err := carol.Drop(d.ctx, d.one, v.ID); err != nil {
		return nil, err
	}
	_, err = d.reach(carol, v.ID, grants.PhaseWithdrawn)
	return nil, err
}

// blobName is how git names a file's content.
func blobName(content string) string {
	sum := sha1.Sum(fmt.Appendf(nil, "blob %d\x00%s", len(content), content)) //nolint:gosec // as above
	return hex.EncodeToString(sum[:])
}

// near reports whether a moment is another one, but for what Vault adds to a
// lease's end and for roundings.
func near(a, b time.Time) bool { return a.Sub(b).Abs() <= 20*time.Second }
