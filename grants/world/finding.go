package world

import (
	"fmt"
	"slices"
)

// Standing says how a check of the set-up came out.
type Standing string

// The standings. What could not be seen is never fine.
const (
	Fine    Standing = "ok"
	Problem Standing = "problem"
	Unseen  Standing = "unknown"
)

// Finding is what one check of the set-up found.
type Finding struct {
	Area    string   `json:"area"`  // vault, github, slack or policies
	Check   string   `json:"check"` // what was looked at, as in "database/roles/postgres-prod default_ttl"
	Status  Standing `json:"status"`
	Message string   `json:"message"` // one sentence
	Mend    string   `json:"mend"`    // the line to run or to change; empty where there is none

	// Resource is the one that a problem is about; empty: it is about all.
	Resource string `json:"-"`
	// Outage says that nothing was learned because somebody did not answer:
	// looking again may help, and no set-up is wrong for it.
	Outage bool `json:"-"`
}

// Findings collects what one area's checks found.
type Findings struct {
	Area     string
	Resource string // of the findings added from now on
	List     []Finding
}

// Fine adds a check that came out well.
func (f *Findings) Fine(check, format string, args ...any) {
	f.add(Finding{Check: check, Status: Fine, Message: fmt.Sprintf(format, args...)})
}

// Wrong adds a problem and the line that mends it.
func (f *Findings) Wrong(check, mend, format string, args ...any) {
	f.add(Finding{Check: check, Status: Problem, Mend: mend, Message: fmt.Sprintf(format, args...)})
}

// Unseen adds what could not be found out, and how it can be.
func (f *Findings) Unseen(check, mend, format string, args ...any) {
	f.add(Finding{Check: check, Status: Unseen, Mend: mend, Message: fmt.Sprintf(format, args...)})
}

// Silent adds a check that failed for want of an answer.
func (f *Findings) Silent(check string, err error) {
	f.add(Finding{Check: check, Status: Unseen, Outage: true, Message: "there was no answer: " + err.Error()})
}

// Unreachable adds that somebody does not answer at all: nothing further can
// be looked at.
func (f *Findings) Unreachable(check, mend string, err error) {
	f.add(Finding{Check: check, Status: Problem, Outage: true, Mend: mend, Message: "there was no answer: " + err.Error()})
}

// add leaves out what was said already: two rules of one ruleset are unseen
// for one reason.
func (f *Findings) add(one Finding) {
	one.Area, one.Resource = f.Area, f.Resource
	if !slices.Contains(f.List, one) {
		f.List = append(f.List, one)
	}
}
