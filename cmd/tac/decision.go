package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tigeraccess/tac/cmd/tac/client"
)

// printDecision shows a decision: what it is, everything that was looked at,
// and what would have worked.
func (p *program) printDecision(d *client.Decision, ignored []string) {
	if p.json() {
		p.printJSON(d)
		return
	}
	p.print("%s, by %s\n", d.Decision, plain(d.Rule))
	p.print("@%s asks for %s for %s, judged at %s\n\n", plain(d.Requester), plain(d.Resource), plain(d.Duration), plain(d.At))
	for _, s := range sections(d) {
		p.print("%s", s.text())
	}
	for _, need := range d.Needs {
		p.print("needs    %s\n", plain(needText(need)))
	}
	for _, why := range ignored {
		p.print("ignored  %s\n", plain(why))
	}
	if len(d.Assumed) > 0 {
		p.print("assumed  %s; a decision that rests on an assumption approves nothing\n", plain(strings.Join(d.Assumed, ", ")))
	}
	if d.Nearest != "" {
		p.print("nearest  %s\n", plain(d.Nearest))
	}
}

func needText(n client.Approvers) string {
	return fmt.Sprintf("%d of %s: %s", n.Required, strings.Join(n.Roles, ", "), mentions(n.People))
}

// section is what one part of the policies looked at.
type section struct {
	title   string
	indent  string
	reasons []client.Reason
}

// sections sorts the reasons by where they come from. They arrive in order:
// first what holds for every request, then policy by policy.
func sections(d *client.Decision) []*section {
	request := &section{title: "request"}
	out := []*section{request}
	policies := map[string]*section{}
	for _, v := range d.Policies {
		policies[v.Policy] = &section{title: fmt.Sprintf("policy %s: %s, by %s", v.Policy, v.Decision, v.Rule)}
	}
	shown := map[string]*section{}
	for _, r := range d.Reasons {
		name, part, _ := strings.Cut(r.Rule, "/")
		policy := policies[name]
		if policy != nil && shown[name] == nil {
			shown[name] = policy
			out = append(out, policy)
		}
		switch {
		case policy == nil && general(r.Rule):
			request.reasons = append(request.reasons, r)
			continue
		case policy != nil && !strings.HasPrefix(part, "auto_approve["):
			policy.reasons = append(policy.reasons, r)
			continue
		}
		condition := shown[r.Rule]
		if condition == nil {
			title := r.Rule // conditions may have names of their own
			if policy != nil {
				title = part
			}
			condition = &section{title: title, indent: "  "}
			shown[r.Rule] = condition
			out = append(out, condition)
		}
		condition.reasons = append(condition.reasons, r)
	}
	return out
}

// general reports whether a rule is of no policy.
func general(rule string) bool {
	switch kind, _, named := strings.Cut(rule, "/"); kind {
	case "facts", "people", "policies", "request", "resource":
		return named
	}
	return false
}

// mostPadding bounds how far columns are pushed out by one long text.
const mostPadding = 44

func (s *section) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s%s\n", s.indent, plain(s.title))
	conditions, observations := 0, 0
	for _, r := range s.reasons {
		conditions = max(conditions, utf8.RuneCountInString(plain(r.Condition)))
		observations = max(observations, utf8.RuneCountInString(plain(r.Observed)))
	}
	observations = min(observations, mostPadding)
	for _, r := range s.reasons {
		line := fmt.Sprintf("%s  %s %s  %s  wanted: %s", s.indent, mark(r.Holds),
			pad(plain(r.Condition), conditions), pad(plain(r.Observed), observations), plain(r.Wanted))
		b.WriteString(line + "\n")
	}
	return b.String()
}

func mark(holds *bool) string {
	switch {
	case holds == nil:
		return "?"
	case *holds:
		return "✓"
	}
	return "✗"
}
