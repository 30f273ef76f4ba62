package policies

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

var grantChecks = []check{
	{Rule{"grant/place", SeverityError, "a file below grants/ is not where the file of a grant stands",
		"The bot reads grants/RESOURCE/ID.yaml and nothing else. Move the file, or remove it."}, misplacedGrants},
	{Rule{"grant/invalid", SeverityError, "a file is not a grant",
		"The bot issues nothing for a file that it cannot read. The message says what was expected."}, invalidGrants},
	{Rule{"grant/not-canonical", SeverityError, "a grant is not written in the one form that is accepted",
		"One grant has one form, so that a signature and a diff say all. The message holds the form, ready to paste."}, otherForms},
	{Rule{"grant/unknown-resource", SeverityError, "a grant is for a resource that does not exist",
		"The bot issues nothing for it, and ends it where it is in force."}, homelessGrants},
	{Rule{"grant/no-policy", SeverityError, "a grant is for a resource without a policy",
		"Nothing could have allowed it."}, ungovernedGrants},
	{Rule{"grant/unknown-person", SeverityError, "a grant is for somebody who is not in People",
		"Whoever is not in People gets nothing. Add them with their GitHub number, or remove the file."}, strangersGrants},
	{Rule{"grant/standing", SeverityWarning, "a grant's time is long over, and its file is still there",
		"The bot removes the file when access has ended, and has proved that. Where it stays, look whether the bot runs, and whether the credential lives."}, standingGrants},
	{Rule{"grant/over-ceiling", SeverityWarning, "a grant is longer than the policies allow today",
		"It was given by an earlier policy and stays until its end. Revoke it where the change was meant to reach it."}, overlongGrants},
	{Rule{"grant/back-to-back", SeverityWarning, "one person's grants on a resource together last longer than any one may",
		"Asked for one after the other, short grants are standing access by another name. Give the person a role that fits, or look why they need it so long."}, chains},
}

// granted is one file below grants/ that was read, or the error that kept it
// from being read.
type granted struct {
	grants.Grant
	file File
	err  error
}

// LintGrants finds mistakes in the files below grants/: what each says,
// whether the policies know what it speaks of, and what all of them add up to
// at the time now.
func (s *Set) LintGrants(files []File, now time.Time) []Finding {
	l := &linter{now: now}
	for _, f := range files {
		g := granted{file: f}
		if _, _, ours := grants.ParsePath(f.Path); ours {
			g.Grant, g.err = grants.Parse(f.Path, f.Data)
		} else {
			g.err = errElsewhere
		}
		l.grants = append(l.grants, g)
	}
	if s.Err() != nil {
		// What is wrong with the files themselves can be told all the same.
		return (&Set{loaded: true}).lint(grantChecks[:3], l)
	}
	return s.lint(grantChecks, l)
}

var errElsewhere = errors.New("not the place of a grant")

// eachGrant calls yield with every grant that could be read.
func (l *linter) eachGrant(yield func(*granted)) {
	for i := range l.grants {
		if l.grants[i].err == nil {
			yield(&l.grants[i])
		}
	}
}

// at returns where a key's value stands; canonical files have each on a line
// of its own.
func (g *granted) at(key string) strictyaml.Pos {
	prefix := []byte("  " + key + ": ")
	for i, line := range bytes.Split(g.file.Data, []byte("\n")) {
		if bytes.HasPrefix(line, prefix) {
			return strictyaml.Pos{File: g.file.Path, Line: i + 1, Column: len(prefix) + 1}
		}
	}
	return strictyaml.Pos{File: g.file.Path, Line: 1, Column: 1}
}

func misplacedGrants(l *linter) {
	for i := range l.grants {
		if g := &l.grants[i]; g.err == errElsewhere {
			l.find(strictyaml.Pos{File: g.file.Path, Line: 1, Column: 1}, "grants stand at grants/RESOURCE/ID.yaml, as in grants/postgres-prod/20261122-k3v9q2m4tz.yaml")
		}
	}
}

func invalidGrants(l *linter) {
	for i := range l.grants {
		g := &l.grants[i]
		var many strictyaml.Errors
		var one *strictyaml.Error
		var form *grants.NotCanonicalError
		switch {
		case g.err == nil || g.err == errElsewhere || errors.As(g.err, &form):
			continue
		case errors.As(g.err, &many):
		case errors.As(g.err, &one):
			many = strictyaml.Errors{one}
		default:
			many = strictyaml.Errors{{Line: 1, Column: 1, Message: fmt.Sprint(g.err)}}
		}
		for _, e := range many {
			l.find(strictyaml.Pos{File: g.file.Path, Line: e.Line, Column: e.Column}, "%s", e.Message)
		}
	}
}

func otherForms(l *linter) {
	for i := range l.grants {
		var form *grants.NotCanonicalError
		if g := &l.grants[i]; errors.As(g.err, &form) {
			l.find(strictyaml.Pos{File: g.file.Path, Line: form.Line, Column: 1}, "the file is not in canonical form (from this line on); write exactly:\n%s", form.Canonical)
		}
	}
}

func homelessGrants(l *linter) {
	l.eachGrant(func(g *granted) {
		if l.set.resources[g.Resource] == nil {
			l.find(g.at("resource"), "there is no resource %s%s", g.Resource, suggest(l, g.Resource, l.set.resources))
		}
	})
}

func ungovernedGrants(l *linter) {
	l.eachGrant(func(g *granted) {
		if r := l.set.resources[g.Resource]; r != nil && len(r.policies) == 0 {
			l.find(g.at("resource"), "%s has no policy", g.Resource)
		}
	})
}

func strangersGrants(l *linter) {
	l.eachGrant(func(g *granted) {
		if l.set.people.byID[g.Requester.ID] != nil {
			return
		}
		if p := l.set.people.byLogin[strings.ToLower(g.Requester.GitHub)]; p != nil {
			l.find(g.at("requester"), "%s is %d in People, not %d", p.GitHub, p.ID, g.Requester.ID)
			return
		}
		l.find(g.at("requester"), "%s (GitHub id %d) is not in People", g.Requester, g.Requester.ID)
	})
}

// begins is when the access begins at the earliest.
func (g *granted) begins() time.Time {
	if g.Start.After(g.RequestedAt) {
		return g.Start
	}
	return g.RequestedAt
}

// longOver is how long after its end a file may still be there: the bot
// batches removals, and waits for a database that is down.
const longOver = 24 * time.Hour

func standingGrants(l *linter) {
	if l.now.IsZero() {
		return
	}
	l.eachGrant(func(g *granted) {
		// A request may have waited for its review as long as its policies
		// let it, and the time runs from the merge.
		ends := g.begins().Add(g.Duration)
		if g.Start.IsZero() {
			ends = ends.Add(l.requestTTL(g.Resource))
		}
		if l.now.Sub(ends) > longOver {
			l.find(g.at("duration"), "this grant of %s ended at %s at the latest, and its file is still here: look whether the bot runs, and whether the credential lives", g.Requester, timeText(ends))
		}
	})
}

func (l *linter) requestTTL(resource string) time.Duration {
	r := l.set.resources[resource]
	if r == nil || len(r.policies) == 0 {
		return DefaultRequestTTL
	}
	return (&Judge{set: l.set, res: r}).requestTTL()
}

func overlongGrants(l *linter) {
	l.eachGrant(func(g *granted) {
		if most := l.set.Longest(g.Resource); most > 0 && g.Duration > most {
			l.find(g.at("duration"), "%s is over the %s for which anybody may have %s today", grants.FormatDuration(g.Duration), grants.FormatDuration(most), g.Resource)
		}
	})
}

// pause is how long somebody may be without access between two grants that
// still count as one after the other.
const pause = 15 * time.Minute

// chains looks at each person's grants on each resource in the order of their
// beginnings. Only what is in grants/ is seen: what has ended is gone.
func chains(l *linter) {
	var all []*granted
	l.eachGrant(func(g *granted) { all = append(all, g) })
	slices.SortStableFunc(all, func(a, b *granted) int {
		return cmp.Or(cmp.Compare(a.Resource, b.Resource), cmp.Compare(a.Requester.ID, b.Requester.ID), a.begins().Compare(b.begins()), cmp.Compare(a.ID, b.ID))
	})
	for i := 0; i < len(all); {
		first, last := all[i], all[i]
		n, ends := 1, first.begins().Add(first.Duration)
		for i++; i < len(all) && all[i].Resource == first.Resource && all[i].Requester.ID == first.Requester.ID && !all[i].begins().After(ends.Add(pause)); i++ {
			last, n = all[i], n+1
			if end := last.begins().Add(last.Duration); end.After(ends) {
				ends = end
			}
		}
		most, lasts := l.set.Longest(first.Resource), ends.Sub(first.begins())
		if n > 1 && most > 0 && lasts > most {
			l.find(last.at("duration"), "%s has %s grants on %s one after the other, from %s to %s: %s in all, over the %s for which anybody may have it",
				last.Requester, number(n), first.Resource, timeText(first.begins()), timeText(ends), grants.FormatDuration(lasts.Truncate(time.Second)), grants.FormatDuration(most))
		}
	}
}
