package oncall

import (
	"testing"

	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

func TestTheDoctorSaysWhatIsWrongAndHowToMendIt(t *testing.T) {
	t.Parallel()
	loose := policies.Schedule{Pager: policies.PagerDuty, ID: "PLOOSE"}
	gone := policies.Schedule{Pager: policies.Opsgenie, ID: "gone"}
	duty, dutyRole := advice(policies.PagerDuty)
	key, genieRole := advice(policies.Opsgenie)
	tests := map[string]struct {
		do        func(*scene)
		change    func(*Config)
		schedules []policies.Schedule
		want      []world.Finding
	}{
		"all is well": {schedules: []policies.Schedule{primary, genie}, want: []world.Finding{
			{Area: "pagerduty", Check: "token", Status: world.Fine, Message: "PagerDuty answers tac"},
			{Area: "pagerduty", Check: "schedule PPRIMARY", Status: world.Fine, Message: "PagerDuty knows it"},
			{Area: "opsgenie", Check: "token", Status: world.Fine, Message: "Opsgenie answers tac"},
			{Area: "opsgenie", Check: "schedule " + genie.ID, Status: world.Fine, Message: "Opsgenie knows it"},
		}},
		"schedules that help nobody": {schedules: []policies.Schedule{loose, gone}, want: []world.Finding{
			{Area: "pagerduty", Check: "token", Status: world.Fine, Message: "PagerDuty answers tac"},
			{Area: "pagerduty", Check: "schedule PLOOSE", Status: world.Problem, Mend: dutyRole, Message: "PagerDuty's schedule PLOOSE is in no escalation policy, and PagerDuty does not say who is on call by such a one"},
			{Area: "opsgenie", Check: "token", Status: world.Fine, Message: "Opsgenie answers tac"},
			{Area: "opsgenie", Check: "schedule gone", Status: world.Problem, Mend: genieRole, Message: "Opsgenie has no schedule gone, or none that tac's token may see"},
		}},
		"the tokens are refused": {do: func(s *scene) { s.duty.Rotate(); s.genie.Rotate() }, want: []world.Finding{
			{Area: "pagerduty", Check: "token", Status: world.Problem, Mend: duty, Message: "PagerDuty does not accept tac's token"},
			{Area: "opsgenie", Check: "token", Status: world.Problem, Mend: key, Message: "Opsgenie does not accept tac's token"},
		}},
		"nothing is set up, and nothing is asked for": {change: func(c *Config) { c.PagerDutyToken, c.OpsgenieKey = world.Secret{}, world.Secret{} }},
		"policy asks what is not set up": {change: func(c *Config) { c.OpsgenieKey = world.Secret{} }, schedules: []policies.Schedule{genie}, want: []world.Finding{
			{Area: "pagerduty", Check: "token", Status: world.Fine, Message: "PagerDuty answers tac"},
			{Area: "opsgenie", Check: "token", Status: world.Problem, Mend: key, Message: "policies name schedules of Opsgenie, and none is set up: those roles help nobody"},
		}},
		"both are in trouble": {do: answers(503, ""), want: []world.Finding{
			{Area: "pagerduty", Check: "token", Status: world.Unseen, Outage: true, Message: "there was no answer: PagerDuty is in trouble: it answered 503"},
			{Area: "opsgenie", Check: "token", Status: world.Unseen, Outage: true, Message: "there was no answer: Opsgenie is in trouble: it answered 503"},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			if test.do != nil {
				test.do(s)
			}
			if test.change == nil {
				test.change = func(*Config) {}
			}
			got := s.client(t, test.change).Check(t.Context(), test.schedules...)
			if len(got) != len(test.want) {
				t.Fatalf("got %+v", got)
			}
			for i := range got {
				if got[i] != test.want[i] {
					t.Errorf("got  %+v\nwant %+v", got[i], test.want[i])
				}
			}
		})
	}
}
