package policies

import (
	"errors"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants/strictyaml"
	"github.com/tigeraccess/tac/policies/expression"
)

// expressed wants an expression to be true.
type expressed struct {
	plain
	program *expression.Program
	pos     strictyaml.Pos
	roles   []*role // every role, where the expression asks which ones are held
}

func (c *compiler) expressed(key string, v strictyaml.Value[string]) *expressed {
	program, err := expression.CompileIn(v.V, c.zones)
	if err != nil {
		var mistake *expression.Error
		if errors.As(err, &mistake) {
			// Its place within the text; where that stands in the file,
			// YAML's quoting and folding do not tell.
			c.fault(v.Pos, "value", "%s: in line %d, column %d of the expression: %s", key, mistake.Line, mistake.Column, mistake.Message)
		} else {
			c.fault(v.Pos, "value", "%s: %v", key, err)
		}
	}
	return &expressed{program: program, pos: v.Pos}
}

// link finds the roles whose holding can matter to the expression: those that
// it looks for by name, or any.
func (t *expressed) link(s *Set) {
	if t.program == nil {
		return
	}
	named, all := t.program.Roles()
	for name, r := range s.roles {
		if all || slices.Contains(named, name) {
			t.roles = append(t.roles, r)
		}
	}
	slices.SortFunc(t.roles, func(a, b *role) int { return strings.Compare(a.name, b.name) })
}

func (t *expressed) needs(n *Needs) {
	for _, r := range t.roles {
		n.role(r)
	}
}

func (*expressed) key() string { return "expression" }

func (t *expressed) holds(j *Judge) Truth {
	yes, why := t.ask(j)
	if why != "" {
		return Unknown
	}
	return truth(yes)
}

func (t *expressed) silent(j *Judge) string {
	for _, r := range t.roles {
		if j.holdsRole(&roleRef{name: r.name, role: r}) == Unknown {
			if why := j.silentRole(r); why != "" {
				return why
			}
		}
	}
	return ""
}

// ask evaluates the expression, or says why it cannot be. An expression may
// want a role not to be held: so one in doubt leaves all in doubt.
func (t *expressed) ask(j *Judge) (yes bool, why string) {
	if j.facts.At.IsZero() {
		return false, "the time is not known"
	}
	v := expression.Values{
		Now: j.facts.At,
		Request: expression.Request{
			Requester: j.req.Requester.GitHub, Resource: j.req.Resource, Duration: j.req.Duration, Start: j.begins(),
			Reason: j.req.Reason, Ticket: j.req.Ticket, BreakGlass: j.req.BreakGlass,
		},
		Resource: expression.Resource{
			Name: j.res.Name, Environment: j.res.Environment, Owners: j.res.Owners, Engine: string(j.res.Vault.Engine), MaxDuration: j.res.MaxDuration,
		},
	}
	if p := j.person; p != nil {
		v.Requester = expression.Requester{Login: p.GitHub, ID: p.ID, Email: p.Email, Manager: p.Manager}
	}
	for _, r := range t.roles {
		switch ref := (roleRef{name: r.name, role: r}); j.holdsRole(&ref) {
		case Yes:
			v.Requester.Roles = append(v.Requester.Roles, r.name)
		case Unknown:
			return false, "it is not known whether " + j.name() + " has " + r.name
		}
	}
	yes, err := t.program.Holds(&v)
	if err != nil {
		return false, err.Error()
	}
	return yes, ""
}

func (t *expressed) text(j *Judge) (observed, wanted string) {
	wanted = "true: " + strings.Join(strings.Fields(t.program.String()), " ")
	switch yes, why := t.ask(j); {
	case why != "":
		return "unknown: " + why, wanted
	case yes:
		return "true", wanted
	}
	return "false", wanted
}
