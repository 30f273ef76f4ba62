package policies

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Outcome is what policy says of a request. The zero value is Deny.
type Outcome int

// The outcomes, in the order in which they combine: the least wins.
const (
	Deny Outcome = iota
	NeedsReview
	Allow
)

var outcomes = []string{"deny", "review", "allow"}

func (o Outcome) String() string {
	if o < Deny || o > Allow {
		return outcomes[Deny]
	}
	return outcomes[o]
}

// MarshalText writes deny, review or allow.
func (o Outcome) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// UnmarshalText reads what MarshalText writes.
func (o *Outcome) UnmarshalText(text []byte) error {
	i := slices.Index(outcomes, string(text))
	if i < 0 {
		return fmt.Errorf("read outcome: expected deny, review or allow, found %s", strictyaml.Quote(string(text)))
	}
	*o = Outcome(i)
	return nil
}

// Decision is what policy says of one request, and why. The zero Decision
// denies.
type Decision struct {
	Outcome   Outcome
	Rule      string    // the rule that decided
	Reasons   []Reason  // every condition of every policy on the resource, held or not
	Verdicts  []Verdict // what each policy on the resource says, by name
	Needs     []ApprovalNeed
	Reviewers []string // roles whose denial stops the request, even one that is allowed; sorted
	Nearest   string   // where not allowed: what would have worked, as a sentence
	// Silent is what sources said of themselves that did not answer, where
	// that may have kept the request from being allowed.
	Silent []string
	// Escalations is who may approve as well later on, soonest first, while
	// the request waits. They are known once people could answer (Facts.Since).
	Escalations []Escalation
	// ApproveFrom is where a review may be given, where one is needed: of
	// FromGitHub, FromCLI and FromSlack what every policy that asks for
	// review allows; sorted.
	ApproveFrom []string
	// NeverApprovers is the roles whose holders a guardrail bars; sorted.
	NeverApprovers []string

	Requester     grants.Principal
	Resource      string
	Duration      time.Duration
	MaxDuration   time.Duration // the ceiling that applies
	RequestTTL    time.Duration // how long the request may wait for an answer
	RecordSession bool
	BreakGlass    bool          // asked for as an emergency
	ReviewWithin  time.Duration // break-glass: by when somebody has to have looked at it; else zero
	At            time.Time     // when it was judged
	// Assumed is the roles that were taken for granted to explain something.
	// A decision that rests on an assumption never counts as approved.
	Assumed []string
}

// Verdict is what one policy says by itself.
type Verdict struct {
	Policy  string  `json:"policy"`
	Outcome Outcome `json:"decision"`
	Rule    string  `json:"rule"`
}

// Reason is one thing that was looked at. Wanted says what would have held,
// Observed what was found.
type Reason struct {
	Rule      string `json:"rule"`
	Condition string `json:"condition"`
	Holds     Truth  `json:"holds"`
	Observed  string `json:"observed"`
	Wanted    string `json:"wanted"`
}

// ApprovalNeed is what one policy asks for: so many distinct people who hold
// any of the roles.
type ApprovalNeed struct {
	Policy   string
	Required int
	Roles    []string
	People   []Person // who could approve now, without the requester; by login
}

type approversJSON struct {
	Policy   string   `json:"policy,omitempty"`
	Required int      `json:"required"`
	Roles    []string `json:"roles"`
	People   []string `json:"people"`
	From     []string `json:"from,omitempty"` // in the sum only
}

// MarshalJSON writes the decision in the form that the command line and the
// HTTP interface promise. `approvers` sums up what all policies need (whoever
// serves several policies at once is asked once); `needs` has each by itself.
func (d Decision) MarshalJSON() ([]byte, error) {
	total := approversJSON{Roles: []string{}, People: []string{}, From: d.ApproveFrom}
	needs := make([]approversJSON, len(d.Needs))
	for i, n := range d.Needs {
		needs[i] = approversJSON{Policy: n.Policy, Required: n.Required, Roles: n.Roles, People: logins(n.People)}
		total.Required = max(total.Required, n.Required)
		total.Roles = append(total.Roles, n.Roles...)
		total.People = append(total.People, needs[i].People...)
	}
	for _, list := range []*[]string{&total.Roles, &total.People} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	out := struct {
		Decision    Outcome         `json:"decision"`
		Rule        string          `json:"rule"`
		Reasons     []Reason        `json:"reasons"`
		Approvers   approversJSON   `json:"approvers"`
		Nearest     string          `json:"nearest"`
		Policies    []Verdict       `json:"policies"`
		Needs       []approversJSON `json:"needs"`
		Requester   string          `json:"requester"`
		Resource    string          `json:"resource"`
		Duration    string          `json:"duration"`
		MaxDuration string          `json:"max_duration,omitempty"`
		RequestTTL  string          `json:"request_ttl,omitempty"`
		At          string          `json:"at,omitempty"`
		BreakGlass  bool            `json:"break_glass,omitempty"`
		Within      string          `json:"review_within,omitempty"`
		Escalations []Escalation    `json:"escalations,omitempty"`
		Assumed     []string        `json:"assumed,omitempty"`
		Silent      []string        `json:"silent,omitempty"`
	}{
		d.Outcome, d.Rule, emptyNotNull(d.Reasons), total, d.Nearest, emptyNotNull(d.Verdicts), needs,
		d.Requester.GitHub, d.Resource, lengthText(d.Duration), lengthText(d.MaxDuration), lengthText(d.RequestTTL), "",
		d.BreakGlass, lengthText(d.ReviewWithin), d.Escalations, d.Assumed, d.Silent,
	}
	if !d.At.IsZero() {
		out.At = d.At.UTC().Format(time.RFC3339)
	}
	return json.Marshal(out)
}

func lengthText(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return grants.FormatDuration(d)
}

func emptyNotNull[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func logins(people []Person) []string {
	out := make([]string, len(people))
	for i, p := range people {
		out[i] = p.GitHub
	}
	return out
}
