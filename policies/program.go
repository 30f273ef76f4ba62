package policies

// program is all steps of a policy's demands and conditions in one row, for
// judging without a trace: what lies together is read together, and nothing
// is called that need not be. TestPropertyDecideIsEvaluate holds it against the
// tests themselves.
type program []op

type op struct {
	quick
	step      *step
	condition *condition // nil: a demand
	last      bool       // of its condition
}

func newProgram(p *policy) program {
	var out program
	for i := range p.demands {
		out = append(out, op{quick: p.demands[i].quick, step: &p.demands[i]})
	}
	for i := range p.conditions {
		c := &p.conditions[i]
		for k := range c.tests {
			out = append(out, op{quick: c.tests[k].quick, step: &c.tests[k], condition: c, last: k == len(c.tests)-1})
		}
	}
	return out
}

// run judges all steps of a policy for a request that general has no
// objection to, so that time and person are known. It finds the first demand
// that failed, and the first condition that allows.
func (j *Judge) run(v *verdict, ops program) {
	holds, all := j.holds, Yes
	for i := range ops {
		o := &ops[i]
		var t Truth
		switch o.kind {
		case boundsDuration:
			t = truth(j.req.Duration <= o.most)
		case asksRole:
			if o.static && len(j.facts.Assumed) == 0 {
				t = truth(j.person.member.any(o.members))
			} else {
				t = o.step.holds(j)
			}
		case asksHours:
			t = o.calendar.isOpen(j.facts.At)
		case asksTicket:
			t = j.ticketFits(o.pattern)
		default:
			t = o.step.holds(j)
		}
		holds = append(holds, t)
		if o.condition == nil {
			if t != Yes && v.failed == nil {
				v.failed = o.step
			}
			continue
		}
		all = both(all, t)
		if o.last {
			if v.allowed == nil && both(all, j.auto) == Yes {
				v.allowed = o.condition
			}
			all = Yes
		}
	}
	j.holds = holds
}
