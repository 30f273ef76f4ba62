package bot

import (
	"time"

	"github.com/tigeraccess/tac/grants"
)

// CodeHeld is the refusal of new access while the set-up is wrong or unknown.
const CodeHeld Code = "held"

// This file is how new access is held back while something around tac is not
// as it must be: a database role that would outlive its grants, a branch that
// anybody may push to. Whoever looks at the set-up says so through
// Config.Hold; what follows from it is here.
//
// Only the steps that lead to a credential are held. A grant that is on the
// default branch still gets its record, for by its record alone it can be
// ended with everything else down; and no step that ends access ever asks.

// holdAgain is when to look again at what was held.
const holdAgain = time.Minute

// held returns the step that Next named, or waiting in its place where it
// would give access that is held back.
func (b *Bot) held(step grants.Step, s *sight) grants.Step {
	switch step.Kind {
	case grants.Propose, grants.Merge, grants.Issue, grants.Extend:
		if err := b.Hold(s.grant.Resource, s.target()); err != nil {
			return grants.Step{Kind: grants.Wait, Until: s.Clocks.Latest.Add(holdAgain), Why: err.Error()}
		}
	}
	return step
}

// refuseHeld is the refusal for somebody who asks for access that is held
// back; nil where it is not.
func (b *Bot) refuseHeld(resource string, target grants.Target) error {
	if err := b.Hold(resource, target); err != nil {
		return &Error{Code: CodeHeld, Cause: err, Message: err.Error()}
	}
	return nil
}

// target is what a credential of the grant would be for: what was decided, or
// before that what the policies say now; the zero value where neither tells.
func (s *sight) target() grants.Target {
	switch {
	case s.Record != nil:
		return s.Record.Target
	case s.main != nil:
		return s.main.target(s.grant.Resource)
	}
	return grants.Target{}
}

func (m *mainSight) target(resource string) grants.Target {
	r, _ := m.set.Resource(resource)
	return r.Vault
}
