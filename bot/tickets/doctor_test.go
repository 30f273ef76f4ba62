package tickets

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/tracker"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

func TestTheDoctorSaysWhatIsWrongAndHowToMendIt(t *testing.T) {
	t.Parallel()
	fine := func(area, check, message string) world.Finding {
		return world.Finding{Area: area, Check: check, Status: world.Fine, Message: message}
	}
	wrong := func(area, check, message, mend string) world.Finding {
		return world.Finding{Area: area, Check: check, Status: world.Problem, Message: message, Mend: mend}
	}
	account := fine("jira", "token", "Jira knows tac's account")
	linear := fine("linear", "token", "Linear knows tac's account")
	repo, owner := fine("github-issues", "acme/app", "tac may read its issues"), fine("github-issues", "octo", "GitHub knows it; its repositories were not looked at")
	window := func(id string) world.Finding {
		return fine("jira", "change window "+id, "it is a date with a time of day")
	}
	nothing := func(c *Config) { c.Jira, c.GitHub, c.Linear = JiraConfig{}, GitHubConfig{}, LinearConfig{} }
	fields := "the ids of the fields of the change window in tac.yaml; %s/rest/api/2/field lists them all"
	tests := map[string]struct {
		do     func(*scene)
		change func(*Config)
		named  []policies.Tracker
		want   []world.Finding // %s of a Mend is Jira's address
	}{
		"all is well": {want: []world.Finding{account, window(begins), window(ends), repo, owner, linear}},
		"fields that are none": {
			do:     func(s *scene) { s.jira.AddField("customfield_5", "Due", "date") },
			change: func(c *Config) { c.Jira.ChangeStart, c.Jira.ChangeEnd = "customfield_4", "customfield_5" },
			want: []world.Finding{account,
				wrong("jira", "change window customfield_4", "Jira has no field customfield_4, or none that tac's account may see: no ticket has a change window", fields),
				wrong("jira", "change window customfield_5", "the field customfield_5 holds no date with a time of day: no ticket has a change window", fields),
				repo, owner, linear},
		},
		"tokens that are refused": {
			do: func(s *scene) { s.jira.Rotate(); s.linear.Rotate() },
			want: []world.Finding{
				wrong("jira", "token", "Jira does not accept tac's token", tokenAdvice(policies.Jira)), repo, owner,
				wrong("linear", "token", "Linear does not accept tac's token", tokenAdvice(policies.Linear))},
		},
		"repositories that are none": {
			change: func(c *Config) {
				c.GitHub.Repositories, c.GitHub.DefaultRepository = []string{"acme/none", "nobody"}, ""
			},
			want: []world.Finding{account, window(begins), window(ends),
				wrong("github-issues", "acme/none", "GitHub has no acme/none, or none that tac may see: no issue of it is a ticket", "the repositories of GitHub Issues in tac.yaml, or those that the token is for"),
				wrong("github-issues", "nobody", "GitHub has no nobody, or none that tac may see: no issue of it is a ticket", "the repositories of GitHub Issues in tac.yaml, or those that the token is for"),
				linear},
		},
		"issues that may not be read": {
			do: func(s *scene) {
				s.github.Order(sandbox.Fault{Path: "/issues/1", When: sandbox.Answer, Status: 403, Body: `{"message":"Resource not accessible by integration"}`})
			},
			want: []world.Finding{account, window(begins), window(ends),
				wrong("github-issues", "acme/app", "GitHub Issues does not let tac's token see issues of acme/app", tokenAdvice(policies.GitHubIssues)), owner, linear},
		},
		"trouble everywhere": {
			do: answers(http.StatusBadGateway, ""),
			want: []world.Finding{
				{Area: "jira", Check: "token", Status: world.Unseen, Outage: true, Message: "there was no answer: Jira is in trouble: it answered 502"},
				{Area: "github-issues", Check: "acme/app", Status: world.Unseen, Outage: true, Message: "there was no answer: GitHub Issues is in trouble: it answered 502"},
				{Area: "github-issues", Check: "octo", Status: world.Unseen, Outage: true, Message: "there was no answer: GitHub Issues is in trouble: it answered 502"},
				{Area: "linear", Check: "token", Status: world.Unseen, Outage: true, Message: "there was no answer: Linear is in trouble: it answered 502"}},
		},
		"nothing is set up, and nothing is asked for": {change: nothing},
		"policy asks what is not set up": {change: nothing, named: []policies.Tracker{policies.Linear, policies.GitHubIssues}, want: []world.Finding{
			wrong("github-issues", "token", "policies name tickets of GitHub Issues, and none is set up: those conditions never hold", tokenAdvice(policies.GitHubIssues)),
			wrong("linear", "token", "policies name tickets of Linear, and none is set up: those conditions never hold", tokenAdvice(policies.Linear))}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			s := newScene(t, tracker.Cloud)
			if test.do != nil {
				test.do(s)
			}
			if test.change == nil {
				test.change = func(*Config) {}
			}
			got := s.client(t, test.change).Check(t.Context(), test.named...)
			if len(got) != len(test.want) {
				t.Fatalf("got %+v", got)
			}
			for i := range got {
				if test.want[i].Mend == fields {
					test.want[i].Mend = fmt.Sprintf(fields, s.jira.URL())
				}
				if got[i] != test.want[i] {
					t.Errorf("got  %+v\nwant %+v", got[i], test.want[i])
				}
			}
		})
	}
}

func TestTheWrongEditionIsNoticed(t *testing.T) {
	t.Parallel()
	s := newScene(t, tracker.DataCenter)
	s.config.Jira.Email = "tac@acme.test"
	s.jira.Order(sandbox.Fault{When: sandbox.Answer, Status: 200, Body: `{"key":"JIRAUSER1","name":"tac"}`}) // as Data Center takes a password
	got := s.client(t).Check(t.Context())
	if len(got) == 0 || got[0].Status != world.Problem || got[0].Message != "Jira names accounts in another way than its edition in tac.yaml does: no ticket would be anybody's" {
		t.Errorf("got %+v", got)
	}
}
