package bot

import (
	"fmt"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// This file holds what tac says in chat. The sentences of refusals are in
// phrases.go; testdata/phrases.golden shows both.

// grantNotice is the one message about a grant.
func grantNotice(id grants.ID, phase grants.Phase, s *sight, v View) world.Notice {
	g := s.grant
	n := world.Notice{
		Title: fmt.Sprintf("%s: %s", pullTitle(g), phase),
		Lines: []string{reasonText(g)},
		Link:  v.URL,
		Facts: []world.Fact{{Name: "Grant", Value: string(id)}},
	}
	fact := func(name, value string) {
		if value != "" {
			n.Facts = append(n.Facts, world.Fact{Name: name, Value: value})
		}
	}
	fact("Ticket", g.Ticket)
	fact("Rule", v.Rule)
	fact("Approved by", strings.Join(v.Approvers, ", "))
	fact("Extends", string(g.Extends))
	fact("Waiting for", strings.Join(v.WaitingFor, ", "))
	if r := s.Record; r != nil {
		fact("Until", clockText(r.EffectiveEnd()))
		if r.Outcome != "" {
			fact("Ended", fmt.Sprintf("%s by %s", r.Outcome, r.EndedBy))
		}
	}
	if v.Why != "" && phase != grants.PhaseActive && phase != grants.PhaseApproved {
		n.Lines = append(n.Lines, firstLine(v.Why))
	}
	switch phase {
	case grants.PhaseApproved:
		n.Lines = append(n.Lines, "To take the credential: tac access get "+string(id))
		n.Buttons = []world.Button{{Action: "get", Value: string(id), Label: "Get credential"}, dropButton(id)}
	case grants.PhaseActive:
		n.Buttons = append(extendButton(s), dropButton(id))
	case grants.PhaseScheduled, grants.PhaseRequested:
		n.Buttons = []world.Button{{Action: "drop", Value: string(id), Label: "Take it back"}}
	}
	return n
}

// extendButton is there while an extension is to be had.
func extendButton(s *sight) []world.Button {
	if s.main == nil || s.Record == nil || s.Record.Carried || s.grant.BreakGlass {
		return nil
	}
	most, each := s.main.set.Extensions(s.grant.Resource)
	if len(s.Record.Extensions) >= most {
		return nil
	}
	return []world.Button{{Action: "extend", Value: string(s.grant.ID), Label: "Extend by " + grants.FormatDuration(each)}}
}

// endingNotice warns the holder that the end is near.
func endingNotice(s *sight) world.Notice {
	n := world.Notice{
		Title:   fmt.Sprintf("%s ends at %s", s.grant.Resource, clockText(s.Record.EffectiveEnd())),
		Lines:   []string{"Open sessions are cut at the end. If you need longer, ask anew before then."},
		Facts:   []world.Fact{{Name: "Grant", Value: string(s.grant.ID)}},
		Buttons: append(extendButton(s), dropButton(s.grant.ID)),
	}
	if len(n.Buttons) > 1 {
		_, each := s.main.set.Extensions(s.grant.Resource)
		n.Lines[0] = fmt.Sprintf("Open sessions are cut at the end. To ask for more time: /tac extend %s %s", s.grant.ID, grants.FormatDuration(each))
	}
	return n
}

func dropButton(id grants.ID) world.Button {
	return world.Button{Action: "drop", Value: string(id), Label: "I am done"}
}

func clockText(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// credentialNotice carries the single-use token, to its owner alone.
func credentialNotice(s *sight, c *world.Credential) world.Notice {
	return world.Notice{
		Title:  fmt.Sprintf("Your credential for %s", s.grant.Resource),
		Lines:  []string{fmt.Sprintf("It opens once, until %s; the access itself ends at %s.", clockText(c.WrappedUntil), clockText(s.Record.EndsAt))},
		Facts:  []world.Fact{{Name: "Grant", Value: string(s.grant.ID)}},
		Secret: c.Wrapped,
		SecretHint: "Open it with `vault unwrap`, or leave it alone and run: tac access get " + string(s.grant.ID) +
			" --replace. If somebody else opened it before you, press \"I am done\" at once and tell security.",
	}
}

// alarmNotice is what every channel hears of a break-glass grant.
func alarmNotice(s *sight) world.Notice {
	g, r := s.grant, s.Record
	issue := "an issue is opened for that"
	if r.Aftermath.Issue != 0 {
		issue = fmt.Sprintf("closes issue #%d", r.Aftermath.Issue)
	}
	n := world.Notice{
		Title: fmt.Sprintf("BREAK-GLASS: %s has %s until %s, and nobody was asked", g.Requester.GitHub, g.Resource, clockText(r.EndsAt)),
		Lines: []string{
			reasonText(g),
			fmt.Sprintf("An owner of %s or security looks at it by %s, and %s. To end it now: /tac revoke %s REASON",
				g.Resource, clockText(r.Aftermath.Due), issue, g.ID),
		},
		Facts: []world.Fact{{Name: "Grant", Value: string(g.ID)}, {Name: "Rule", Value: r.Rule}},
	}
	if g.Ticket != "" {
		n.Facts = append(n.Facts, world.Fact{Name: "Ticket", Value: g.Ticket})
	}
	return n
}
