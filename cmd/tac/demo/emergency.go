package demo

import (
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
)

// broken is access in an emergency: nobody is asked first, and everybody hears
// of it.
func (d *telling) broken() (*pause, error) {
	bob, err := d.world.Person("bob")
	if err != nil {
		return nil, err
	}
	ask := Ask{Resource: "postgres-prod", Duration: "1h", Reason: "Payments are down and nobody answers", BreakGlass: true}
	command := fmt.Sprintf(`bob: tac access request postgres-prod --break-glass --duration 1h --reason "%s"`, ask.Reason)
	d.say("%s", command)
	_, err = bob.Request(d.ctx, d.one, ask)
	var refusal *Refusal
	d.check(errors.As(err, &refusal) && refusal.Code == string(bot.CodeDenied) && strings.Contains(refusal.Message, "ticket"), "not without a ticket: %v", err)
	ask.Ticket = "INC-4711"
	d.say("%s --ticket %s", command, ask.Ticket)
	a, err := bob.Request(d.ctx, d.one, ask)
	if err != nil {
		return nil, err
	}
	v, err := d.reach(bob, a.ID, grants.PhaseApproved)
	if err != nil {
		return nil, err
	}
	merge, err := d.mergeOf(v.ID)
	if err != nil {
		return nil, err
	}
	d.check(a.Decision.Decision == "allow" && v.BreakGlass && len(v.Approvers) == 0 && strings.Contains(merge, "\nTac-Rule: "+v.Rule+"\n") && !strings.Contains(merge, "Tac-Approver"),
		"policy says %s by the rule %s: nobody approved it, and its commit says so", a.Decision.Decision, v.Rule)
	if err := d.useInEmergency(bob, v); err != nil {
		return nil, err
	}
	if err := d.checkAlarm(v); err != nil {
		return nil, err
	}
	return nil, d.endsEmergency(bob, v)
}

// mergeOf returns the message of the commit that brought a grant.
func (d *telling) mergeOf(id grants.ID) (string, error) {
	commits, err := d.world.GitHub.Commits(Repository, "main")
	if err != nil {
		return "", err
	}
	for _, c := range commits {
		if strings.Contains(c.Message, "Tac-Grant: "+string(id)+"\n") && !strings.Contains(c.Message, "Tac-Ended: ") {
			return c.Message, nil
		}
	}
	return "", nil
}

func (d *telling) useInEmergency(bob *Person, v bot.View) error {
	c, err := bob.Claim(d.ctx, d.one, v.ID, rand.Text(), "", false)
	if err != nil {
		return err
	}
	session, err := pgx.Connect(d.ctx, d.dsn(c))
	d.check(err == nil, "bob is in at once, as %s", c.Username)
	if err == nil {
		_ = session.Close(d.ctx)
	}
	return nil
}

// checkAlarm claims that whoever is to hear of an emergency has: in chat at
// once, and by an issue with a deadline.
func (d *telling) checkAlarm(v bot.View) error {
	const said = "BREAK-GLASS: bob has postgres-prod"
	var told []string
	err := d.until("the alarm is raised", func() (bool, error) {
		told = nil
		for _, channel := range []string{Channel, AlarmChannel} {
			for _, m := range d.world.Slack.Messages(channel) {
				if text := d.world.Slack.Render(m); strings.Contains(text, said) && strings.Contains(text, string(v.ID)) {
					line, _, _ := strings.Cut(text, "\n")
					told = append(told, channel+" "+line)
				}
			}
		}
		return len(told) >= 2, nil
	})
	each := len(told) == 2 && strings.HasPrefix(told[0], Channel) && strings.HasPrefix(told[1], AlarmChannel)
	_, line, _ := strings.Cut(strings.Join(told, "\n"), " ")
	line, _, _ = strings.Cut(line, "\n")
	d.check(err == nil && each, "#access and #security were told, once each: %s", strings.Trim(line, "*"))
	var due string
	if v.StartsAt != nil {
		due = v.StartsAt.Add(24 * time.Hour).UTC().Format("2006-01-02 15:04 UTC")
	}
	all, err := d.issues("tac-break-glass")
	if err != nil {
		return err
	}
	stands := len(all) == 1 && all[0].State == "open" && strings.HasSuffix(all[0].Title, "looked at by "+due) && strings.Contains(all[0].Body, string(v.ID))
	d.check(stands, "an issue waits for somebody else to look at what was done: %s", titles(all))
	return nil
}

func (d *telling) endsEmergency(bob *Person, v bot.View) error {
	d.say("payments are up: tac access drop %s", v.ID)
	if _, err := bob.Drop(d.ctx, d.one, v.ID); err != nil {
		return err
	}
	if _, err := d.reach(bob, v.ID, grants.PhaseClosed); err != nil {
		return err
	}
	return d.checkEnded(v.ID, grants.OutcomeDropped)
}
