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

func acceptedText(a bot.Answer, glassBroken bool) string {
	switch {
	case a.Existing:
		return fmt.Sprintf("That is known already, as %s. How it stands: /tac show %s", a.ID, a.ID)
	case glassBroken:
		return fmt.Sprintf("Noted as %s: you broke the glass (%s). The alarm goes out now, and somebody else looks at this afterwards.", a.ID, a.Decision.Rule)
	case a.Decision.Outcome == policies.Allow:
		return fmt.Sprintf("Noted as %s. Policy allows it without a review (%s).", a.ID, a.Decision.Rule)
	}
	return fmt.Sprintf("Noted as %s. It needs %s.", a.ID, needsText(a.Decision))
}

// extendedText says what came of asking for base to last longer. What is open
// keeps its end until the extension stands, and the text must not say more.
func extendedText(base grants.ID, a bot.Answer) string {
	if a.Extends != "" { // an extension was named, and what it extends lasts longer
		base = a.Extends
	}
	switch {
	case a.Existing:
		return fmt.Sprintf("That is known already, as %s. How it stands: /tac show %s", a.ID, a.ID)
	case a.Decision.Outcome == policies.Allow:
		return fmt.Sprintf("Noted as %s, which extends %s. Policy allows it without a review (%s).", a.ID, base, a.Decision.Rule)
	}
	return fmt.Sprintf("Noted as %s, which extends %s. It needs %s; until then %s ends when it would have.", a.ID, base, needsText(a.Decision), base)
}

func needsText(d policies.Decision) string {
	var needs []string
	for _, n := range d.Needs {
		noun := "approvals"
		if n.Required == 1 {
			noun = "approval"
		}
		needs = append(needs, fmt.Sprintf("%d %s from %s", n.Required, noun, approverNames(n)))
	}
	if len(needs) == 0 {
		return "a review"
	}
	return strings.Join(needs, ", and ")
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
			held = append(held, strings.Join([]string{string(v.ID), v.Resource, length(v), standing(v)}, "  "))
		case v.MayAnswer:
			waiting = append(waiting, strings.TrimSpace(fmt.Sprintf("%s  %s for @%s, %s  %s", v.ID, v.Resource, v.Requester, length(v), v.URL)))
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
		parts = append(parts, "Waiting for your answer:\n"+listed(waiting))
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
	lines := []string{fmt.Sprintf("%s: %s for @%s, %s: %s", v.ID, v.Resource, v.Requester, length(v), standing(v))}
	add := func(name, value string) {
		if value != "" {
			lines = append(lines, name+": "+value)
		}
	}
	add("Asked for", v.Asked)
	add("Whole length", wholeLength(v))
	add("Reason", v.Reason)
	add("Ticket", v.Ticket)
	if v.BreakGlass {
		lines = append(lines, aftermathText(v.Aftermath))
	}
	add("Extends", string(v.Extends))
	add("Extended by", idList(v.Extensions))
	add("Rule", v.Rule)
	add("Approved by", strings.Join(logins(v.Approvers), ", "))
	add("Denied by", strings.Join(logins(v.Denied), ", "))
	add("Why", v.Why)
	add("Pull request", v.URL)
	if v.RequesterID == who.ID && (v.Phase == grants.PhaseApproved || v.Phase == grants.PhaseActive) {
		add("To take the credential", "tac access get "+string(v.ID))
	}
	switch {
	case v.MayAnswer && len(v.ApproveFrom) > 0 && !slices.Contains(v.ApproveFrom, bot.FromCLI):
		add("To answer it", "an approving review on "+v.URL)
	case v.MayAnswer:
		add("To answer it", fmt.Sprintf("tac access approve %s, or tac access deny %s --reason \"...\"", v.ID, v.ID))
	}
	return strings.Join(lines, "\n")
}

// length says how long a grant is, as people read it: an extension adds to
// what another one has.
func length(v bot.View) string {
	switch {
	case v.Duration == "":
		return ""
	case v.Extends != "":
		return v.Duration + " more"
	case v.BreakGlass:
		return v.Duration + ", break-glass"
	}
	return v.Duration
}

// wholeLength is what an extension makes of the grant that it is for.
func wholeLength(v bot.View) string {
	if v.Total == "" || v.EndsAt == nil {
		return v.Total
	}
	return v.Total + ", until " + minute(*v.EndsAt)
}

// aftermathText says how far the look at a broken glass has come.
func aftermathText(a *bot.AftermathView) string {
	said := "The glass was broken for this; somebody else looks at it afterwards."
	switch {
	case a == nil:
		return said
	case a.By != "":
		return "The glass was broken for this; looked at by @" + strings.TrimPrefix(a.By, "@") + "."
	case a.Overdue:
		said = "The glass was broken for this; somebody else's look at it is OVERDUE since " + minute(a.Due)
	default:
		said = "The glass was broken for this: nobody was asked; to be looked at by " + minute(a.Due)
	}
	if a.URL != "" {
		said += ": " + a.URL
	}
	return said
}

func idList(ids []grants.ID) string {
	names := make([]string, len(ids))
	for i, id := range ids {
		names[i] = string(id)
	}
	return strings.Join(names, ", ")
}

func takeText(id grants.ID) string { return "To take the credential run: tac access get " + string(id) }

// approvedText says what an approval came to. One review may be one of two
// that are needed.
func approvedText(v bot.View) string {
	said := fmt.Sprintf("Your approval stands on GitHub: %s for @%s, %s. ", v.Resource, v.Requester, length(v))
	switch {
	case v.Phase != grants.PhaseRequested:
		return said + fmt.Sprintf("It is %s.", standing(v))
	case len(v.WaitingFor) > 0:
		return said + fmt.Sprintf("It still waits for %s.", anyOf(logins(v.WaitingFor)))
	case v.Why != "":
		return said + "It is not given yet: " + v.Why
	}
	return said + "It is on its way."
}

func deniedText(v bot.View) string {
	return fmt.Sprintf("Your denial stands on GitHub: %s for @%s, %s. Only a new approval of yours lifts it.", v.Resource, v.Requester, length(v))
}

// denyForm asks why, above what is denied.
func denyForm(v bot.View, value string) Form {
	lines := []string{fmt.Sprintf("%s for @%s, %s", v.Resource, v.Requester, length(v))}
	if v.Total != "" {
		lines = append(lines, "Whole length: "+wholeLength(v))
	}
	if v.Reason != "" {
		lines = append(lines, "Reason: "+v.Reason)
	}
	if v.Ticket != "" {
		lines = append(lines, "Ticket: "+v.Ticket)
	}
	return Form{
		Action: actionDeny, Value: value, Title: "Deny this request", Lines: lines, Submit: "Deny",
		Label: "Why?", Hint: "One line. The requester reads it, and it stays on the pull request for ever.",
	}
}

const (
	whyText       = "Say why, in one line; the requester reads it."
	oldButtonText = "That button does not say what you were shown, so it cannot answer for you. Open the pull request, or look at /tac list"
)

func noFormText(id grants.ID) string {
	return fmt.Sprintf("Slack did not open the form that asks why. Press again, or run: tac access deny %s --reason \"...\"", id)
}

func nothingToDenyText(v bot.View) string {
	said := fmt.Sprintf("%s is %s, so there is nothing to deny any more.", v.ID, standing(v))
	if isOpen(v) && v.Phase != grants.PhaseEnded {
		said += fmt.Sprintf(" To end it: /tac revoke %s REASON", v.ID)
	}
	return said
}

// linkText tells a code to whoever asked for it, and to nobody else. It says
// what the code does, because a code that one is talked into typing links
// somebody else's account.
func linkText(code string, until time.Time) string {
	return fmt.Sprintf("To prove that this Slack account is yours, run where you are signed in to tac: tac link %s\n"+
		"The code is good until %s. It links this very account to whoever types it: give it to nobody, and never type one that somebody gave you.", code, minute(until))
}

func endedText(v bot.View) string {
	if v.Extends != "" && !v.Taken && (v.Phase == grants.PhaseWithdrawn || v.Outcome == grants.OutcomeDropped) {
		return fmt.Sprintf("%s is taken back: %s ends as before; what is open stays open.", v.ID, v.Extends)
	}
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
