package contract

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Report is what came of holding a whole recording against the descriptions.
// Figures count what was seen, however often in the same form.
type Report struct {
	Requests  int            // checked
	Answers   int            // checked
	Webhooks  int            // checked
	Forms     int            // in how many forms they came
	Kinds     map[string]int // operations and webhooks with their action, by how often each was seen
	Unchecked map[string]int // exchanges GitHub does not describe, by the part they belong to
	Findings  []Finding
}

// Judge holds all that was seen against the descriptions.
func Judge(seen []Seen, rest *REST, hooks *Hooks) Report {
	r := Report{Kinds: map[string]int{}, Unchecked: map[string]int{}}
	var found findings
	for _, s := range seen {
		if s.Event != "" {
			name, wrong := hooks.Judge(s.Event, s.Payload)
			for _, what := range wrong {
				found.add("webhook "+name, what, s)
			}
			r.Forms++
			r.Webhooks += s.Times
			r.Kinds["webhook "+name] += s.Times
			continue
		}
		v := rest.Judge(s.Record)
		if v.Outside != "" {
			r.Unchecked[v.Outside] += s.Times
			continue
		}
		subject := cmp.Or(v.Operation, s.Subject())
		for _, what := range append(v.Request, v.Answer...) {
			found.add(subject, what, s)
		}
		r.Forms++
		r.Requests += s.Times
		r.Kinds[subject] += s.Times
		if v.Answered {
			r.Answers += s.Times
		}
	}
	r.Findings = found.list
	return r
}

// Print writes the figures: lines for the run that adds them up, and for
// people how much of all traffic was checked, and what was not.
func (r Report) Print(w io.Writer) {
	unchecked := 0
	for _, n := range r.Unchecked {
		unchecked += n
	}
	fmt.Fprintf(w, "tally: github-requests %d\n", r.Requests)
	fmt.Fprintf(w, "tally: github-responses %d\n", r.Answers)
	fmt.Fprintf(w, "tally: webhooks %d\n", r.Webhooks)
	fmt.Fprintf(w, "tally: github-unchecked %d\n", unchecked)
	fmt.Fprintf(w, "tally: github-findings %d\n", len(r.Findings))
	all := r.Requests + unchecked
	if all == 0 {
		return
	}
	fmt.Fprintf(w, "github's contract: all of %d REST exchanges and all of %d webhooks checked, of %d kinds in %d forms; with git and sign-in that is %.1f%% of %d exchanges\n",
		r.Requests, r.Webhooks, len(r.Kinds), r.Forms, 100*float64(r.Requests)/float64(all), all)
	for _, part := range slices.Sorted(maps.Keys(r.Unchecked)) {
		fmt.Fprintf(w, "not checked, for GitHub describes it in prose alone: %s, %d exchanges\n", part, r.Unchecked[part])
	}
}
