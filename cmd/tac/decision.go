package main

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/tigeraccess/tac/cmd/tac/client"
)

// printDecision shows a decision as a tree: everything that was looked at,
// under the policy and the condition that asked for it, with the rule that
// decided marked; below it what is still needed, who did not answer, and what
// would have worked. The length is that of what is asked for, as people read it.
func (p *program) printDecision(d *client.Decision, length string, ignored []string) {
	if p.json() {
		p.printJSON(d)
		return
	}
	p.print("%s, by %s\n", d.Decision, plain(d.Rule))
	p.print("@%s asks for %s for %s, judged at %s\n\n", plain(d.Requester), plain(d.Resource), plain(length), plain(d.At))
	t := treeOf(d, p.width())
	t.write(p, "")
	if len(d.Needs)+len(d.Silent)+len(ignored)+len(d.Assumed) > 0 || d.Nearest != "" {
		p.print("\n")
	}
	for _, need := range d.Needs {
		text := needText(need)
		if len(d.Needs) > 1 {
			text += ", for " + need.Policy
		}
		p.labelled("needs", text)
	}
	for _, why := range d.Silent {
		p.labelled("silent", why+"; what is not known never allows anything")
	}
	for _, why := range ignored {
		p.labelled("ignored", why)
	}
	if len(d.Assumed) > 0 {
		p.labelled("assumed", strings.Join(d.Assumed, ", ")+"; a decision that rests on an assumption approves nothing")
	}
	if d.Nearest != "" {
		p.labelled("nearest", d.Nearest)
	}
}

// labelled prints a text behind its label, its further lines below it.
func (p *program) labelled(label, text string) {
	for _, line := range wrapped(plain(text), p.width()-9) {
		p.print("%-8s %s\n", label, line)
		label = ""
	}
}

func needText(n client.Approvers) string {
	return fmt.Sprintf("%d of %s: %s", n.Required, strings.Join(n.Roles, ", "), mentions(n.People))
}

// branch is one entry of a tree: its own lines, and what hangs below it.
type branch struct {
	lines []string
	below []*branch
}

func (b *branch) add(below *branch) *branch {
	b.below = append(b.below, below)
	return below
}

func (b *branch) write(p *program, before string) {
	for i, child := range b.below {
		first, further := "├─ ", "│  "
		if i == len(b.below)-1 {
			first, further = "└─ ", "   "
		}
		for k, line := range child.lines {
			if k > 0 {
				first = further
				if len(child.below) > 0 {
					first += "│ "
				}
			}
			p.print("%s%s%s\n", before, first, line)
		}
		child.write(p, before+further)
	}
}

// tree is a decision's trace on its way to becoming branches. Reasons arrive
// in order: what holds for every request, the limits of the resource, and
// then policy by policy.
type tree struct {
	branch
	decision *client.Decision
	width    int
	policy   *branch // whose reasons come just now
	policies int     // how many have come
}

func treeOf(d *client.Decision, width int) *tree {
	t := &tree{decision: d, width: width}
	var request, limits []client.Reason
	rest := d.Reasons
	for ; len(rest) > 0 && general[rest[0].Rule]; rest = rest[1:] {
		request = append(request, rest[0])
	}
	for ; len(rest) > 0 && !t.begins(rest[0]); rest = rest[1:] {
		limits = append(limits, rest[0])
	}
	t.group("request", request)
	t.group("limits on "+d.Resource, limits)
	for len(rest) > 0 {
		if t.begins(rest[0]) {
			v := d.Policies[t.policies]
			t.policies++
			t.policy = t.add(&branch{lines: []string{plain(fmt.Sprintf("policy %s: %s, by %s", v.Policy, v.Decision, v.Rule))}})
		}
		part, isDemand := t.part(rest[0].Rule)
		same := 1
		for same < len(rest) && !t.begins(rest[same]) {
			if _, another := t.part(rest[same].Rule); another != isDemand || !isDemand && rest[same].Rule != rest[0].Rule {
				break
			}
			same++
		}
		t.rules(part, isDemand, rest[:same])
		rest = rest[same:]
	}
	return t
}

// part returns a rule's name within its policy, and whether the policy as a
// whole demands it: a condition of auto_approve may have a name of its own.
func (t *tree) part(rule string) (part string, demand bool) {
	policy := ""
	if t.policies > 0 {
		policy = t.decision.Policies[t.policies-1].Policy + "/"
	}
	part, own := strings.CutPrefix(rule, policy)
	return part, own && (part == "request.roles" || part == "max_duration" || part == "require_reason" || part == "extensions" || part == "approval") || t.policy == nil
}

// general are the rules of no policy.
var general = map[string]bool{
	"policies/invalid": true, "facts/time": true, "people/unknown": true, "resource/unknown": true, "resource/no-policy": true,
	"request/break_glass": true, "request/extends": true, "request/duration": true,
}

// begins reports whether the next policy starts with a reason: who may ask,
// or how long anybody may have it.
func (t *tree) begins(r client.Reason) bool {
	if t.policies == len(t.decision.Policies) {
		return false
	}
	name := t.decision.Policies[t.policies].Policy
	return r.Rule == name+"/request.roles" || r.Rule == name+"/max_duration" && !t.underway(name)
}

// underway reports whether the policy has begun with who may ask.
func (t *tree) underway(name string) bool {
	return t.policies > 0 && t.decision.Policies[t.policies-1].Policy == name
}

// group hangs reasons under a title, each under the name of its rule where
// that says more than the key.
func (t *tree) group(title string, reasons []client.Reason) {
	if len(reasons) == 0 {
		return
	}
	b := t.add(&branch{lines: []string{markOf(reasons) + " " + plain(title)}})
	if title != "request" {
		for i := range reasons {
			reasons[i].Condition = reasons[i].Rule
		}
	}
	t.leaves(b, reasons, 2)
}

// rules hangs reasons under their policy: demands, and what review takes, as
// a line each; a condition as a branch of its own.
func (t *tree) rules(part string, demands bool, reasons []client.Reason) {
	if !demands {
		title := markOf(reasons) + " " + plain(part) + t.mark(reasons[0].Rule)
		if t.decision.Policies[t.policies-1].Decision == "review" && markOf(reasons) == "✓" {
			title += ", which a guardrail does not let through"
		}
		b := t.policy.add(&branch{lines: []string{title}})
		t.leaves(b, reasons, 3)
		return
	}
	shown := append([]client.Reason{}, reasons...)
	for i := range shown {
		shown[i].Condition, _ = t.part(shown[i].Rule)
	}
	t.leaves(t.policy, shown, 2)
}

// leaves hangs reasons below b, which is depth deep, in columns of their own.
func (t *tree) leaves(b *branch, reasons []client.Reason, depth int) {
	if b == nil {
		b = &t.branch
	}
	keys, seen, width := 0, 0, t.width-3*depth
	for _, r := range reasons {
		keys = max(keys, utf8.RuneCountInString(plain(r.Condition)))
	}
	for _, r := range reasons {
		if len(reasonIn(r, keys, 0, width, "")) == 1 {
			seen = max(seen, utf8.RuneCountInString(plain(r.Observed)))
		}
	}
	for _, r := range reasons {
		mark := ""
		if depth < 3 {
			if mark = t.mark(r.Rule); !decisive(r, reasons) {
				mark = ""
			}
		}
		lines := reasonIn(r, keys, seen, width, mark)
		if len(lines) > 1 { // it fits if it keeps to no column
			lines = reasonIn(r, keys, 0, width, mark)
		}
		b.add(&branch{lines: lines})
	}
}

// mark is what stands behind the rule that decided.
func (t *tree) mark(rule string) string {
	if rule == t.decision.Rule {
		return "  ◀ decided"
	}
	return ""
}

// decisive reports whether it is for this reason that its rule decided: for
// the first that does not hold or, where all do, for the first.
func decisive(r client.Reason, all []client.Reason) bool {
	var of []client.Reason
	for _, other := range all {
		if other.Rule == r.Rule {
			of = append(of, other)
		}
	}
	for _, other := range of {
		if other.Holds == nil || !*other.Holds {
			return other == r
		}
	}
	return len(of) == 0 || of[0] == r
}

// reasonLines shows a reason that stands alone.
func reasonLines(r client.Reason, width int) []string {
	return reasonIn(r, utf8.RuneCountInString(plain(r.Condition)), 0, width, "")
}

// reasonIn shows a reason on one line, with its columns as wide as given,
// where it fits; otherwise what was found and what was wanted below each other.
func reasonIn(r client.Reason, keys, seen, width int, mark string) []string {
	head := holding(r.Holds) + " " + pad(plain(r.Condition), keys) + "  "
	observed, wanted := plain(r.Observed), "wanted: "+plain(r.Wanted)
	if line := head + pad(observed, seen) + "  " + wanted + mark; utf8.RuneCountInString(line) <= width {
		return []string{line}
	}
	room := width - utf8.RuneCountInString(head)
	lines := append(wrapped(observed, room), wrapped(wanted, room)...)
	for i := range lines {
		before := strings.Repeat(" ", width-room)
		if i == 0 {
			before = head
		}
		lines[i] = before + lines[i]
	}
	lines[0] += mark
	return lines
}

// wrapped breaks a text at blanks so that its lines fit into width. A word
// that is longer stays whole: it may be an address that somebody copies.
func wrapped(text string, width int) (lines []string) {
	width = max(width, 20)
	line := ""
	for _, word := range strings.Split(text, " ") {
		if line != "" && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width {
			lines = append(lines, line)
			line = word
			continue
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

func holding(holds *bool) string {
	switch {
	case holds == nil:
		return "?"
	case *holds:
		return "✓"
	}
	return "✗"
}

// markOf is whether all of the reasons hold.
func markOf(reasons []client.Reason) string {
	all := "✓"
	for _, r := range reasons {
		switch m := holding(r.Holds); {
		case m == "✗":
			return m
		case m == "?":
			all = m
		}
	}
	return all
}
