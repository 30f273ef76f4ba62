package webhooks

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/bot"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/policies"
)

// What people read in Slack. All of it is plain text: the adapter escapes it.

const tooSlowText = "That took longer than Slack waits, so it is not certain that it was noted. " +
	"Look at /tac list in a moment; if it is not there, please try again."

func acceptedText(a bot.Answer) string {
	if a.Existing {
		return fmt.Sprintf("That is known already, as %s. How it stands: /tac show %s", a.ID, a.ID)
	}
	if a.Decision.Outcome == policies.Allow {
		return fmt.Sprintf("Noted as %s. Policy allows it without a review (%s).", a.ID, a.Decision.Rule)
	}
	var needs []string
	for _, n := range a.Decision.Needs {
		noun := "approvals"
		if n.Required == 1 {
			noun = "approval"
		}
		needs = append(needs, fmt.Sprintf("%d %s from %s", n.Required, noun, approverNames(n)))
	}
	if len(needs) == 0 {
		needs = []string{"a review"}
	}
	return fmt.Sprintf("Noted as %s. It needs %s.", a.ID, strings.Join(needs, ", and "))
}

func approverNames(n policies.ApprovalNeed) string {
	var names []string
	for _, p := range n.People {
		names = append(names, p.Principal.String())
	}
	if len(names) == 0 {
		names = n.Roles
	}
	return anyOf(names)
}

// anyOf lists names in one sentence; a long list is cut.
func anyOf(names []string) string {
	const most = 6
	switch {
	case len(names) > most:
		return strings.Join(names[:most], ", ") + fmt.Sprintf(" or %d more", len(names)-most)
	case len(names) > 1:
		return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
	}
	return strings.Join(names, "")
}

// mostListed is how many grants one answer in chat lists.
const mostListed = 20

// listText lists what somebody holds and what waits for them; that they may
// see more is of no interest here.
func listText(who grants.Principal, views []bot.View) string {
	var held, waiting []string
	for _, v := range views {
		switch {
		case !isOpen(v):
		case v.RequesterID == who.ID:
			held = append(held, strings.Join([]string{string(v.ID), v.Resource, standing(v)}, "  "))
		case slices.Contains(v.WaitingFor, who.GitHub):
			waiting = append(waiting, strings.TrimSpace(fmt.Sprintf("%s  %s for @%s, %s  %s", v.ID, v.Resource, v.Requester, v.Duration, v.URL)))
		}
	}
	if len(held)+len(waiting) == 0 {
		return "You hold nothing, and nothing waits for you. To ask for access: /tac request"
	}
	var parts []string
	if len(held) > 0 {
		parts = append(parts, "Yours:\n"+listed(held))
	}
	if len(waiting) > 0 {
		parts = append(parts, "Waiting for your review:\n"+listed(waiting))
	}
	return strings.Join(parts, "\n")
}

func listed(lines []string) string {
	if rest := len(lines) - mostListed; rest > 0 {
		lines = append(lines[:mostListed:mostListed], fmt.Sprintf("and %d more: tac access list", rest))
	}
	return strings.Join(lines, "\n")
}

// standing says where a grant stands, with the time that matters next.
func standing(v bot.View) string {
	switch {
	case v.Phase == grants.PhaseScheduled && v.StartsAt != nil:
		return "scheduled for " + minute(*v.StartsAt)
	case (v.Phase == grants.PhaseActive || v.Phase == grants.PhaseApproved) && v.EndsAt != nil:
		return string(v.Phase) + " until " + minute(*v.EndsAt)
	case len(v.WaitingFor) > 0:
		return string(v.Phase) + ", waits for " + anyOf(logins(v.WaitingFor))
	case v.Outcome != "":
		return fmt.Sprintf("%s (%s)", v.Phase, v.Outcome)
	}
	return string(v.Phase)
}

func minute(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

func logins(names []string) []string {
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = "@" + n
	}
	return out
}

func showText(who grants.Principal, v bot.View) string {
	lines := []string{fmt.Sprintf("%s: %s for @%s, %s: %s", v.ID, v.Resource, v.Requester, v.Duration, standing(v))}
	add := func(name, value string) {
		if value != "" {
			lines = append(lines, name+": "+value)
		}
	}
	add("Reason", v.Reason)
	add("Ticket", v.Ticket)
	add("Rule", v.Rule)
	add("Approved by", strings.Join(logins(v.Approvers), ", "))
	add("Why", v.Why)
	add("Pull request", v.URL)
	if v.RequesterID == who.ID && (v.Phase == grants.PhaseApproved || v.Phase == grants.PhaseActive) {
		add("To take the credential", "tac access get "+string(v.ID))
	}
	return strings.Join(lines, "\n")
}

func endedText(v bot.View) string {
	switch v.Phase {
	case grants.PhaseWithdrawn:
		return fmt.Sprintf("The request %s is taken back.", v.ID)
	case grants.PhaseEnded:
		return fmt.Sprintf("%s is ended. Its credential is revoked, and that is repeated until it is proved.", v.ID)
	case grants.PhaseClosed:
		return fmt.Sprintf("%s is over; nothing of it is alive.", v.ID)
	}
	return fmt.Sprintf("Noted. %s is %s now.", v.ID, standing(v))
}
