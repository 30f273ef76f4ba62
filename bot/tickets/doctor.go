package tickets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/andygrunwald/go-jira"

	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// Check looks at the trackers that are set up, and at those that policies
// name, and returns what it found. It changes nothing. A tracker that is not
// set up and that no policy names gives no finding. The area of a finding is
// the tracker's name in policies, but for GitHub's, which is github-issues:
// github is that of the grants repository.
func (c *Client) Check(ctx context.Context, named ...policies.Tracker) []world.Finding {
	var found []world.Finding
	for _, name := range []policies.Tracker{policies.Jira, policies.GitHubIssues, policies.Linear} {
		f := &world.Findings{Area: string(name)}
		if name == policies.GitHubIssues {
			f.Area = "github-issues"
		}
		t := c.provider(name)
		switch {
		case t != nil:
			t.check(ctx, f)
		case slices.Contains(named, name):
			f.Wrong("token", tokenAdvice(name), "policies name tickets of %s, and none is set up: those conditions never hold", name.Title())
		}
		found = append(found, f.List...)
	}
	return found
}

// tokenAdvice says where people get a token that will do.
func tokenAdvice(t policies.Tracker) string {
	switch t {
	case policies.Jira:
		return "https://id.atlassian.com/manage-profile/security/api-tokens (Data Center: Profile > Personal Access Tokens), and put the token where tac.yaml says"
	case policies.Linear:
		return "Linear > Settings > Security & access > Personal API keys: create one that may read, and put it where tac.yaml says"
	}
	return "https://github.com/settings/personal-access-tokens : a token for these repositories with Issues: Read-only, put where tac.yaml says"
}

// judge adds what a probe found; about completes "... see ".
func (q *question) judge(f *world.Findings, t policies.Tracker, check, about string, err error) {
	sentence := q.silence(err, about)
	switch {
	case q.status == 0:
		f.Unreachable(check, fmt.Sprintf("curl -sS -o /dev/null -w '%%{http_code}\\n' %s", q.to.base), errors.New(sentence))
	case q.status == http.StatusUnauthorized || q.status == http.StatusForbidden:
		f.Wrong(check, tokenAdvice(t), "%s", sentence)
	case q.status == http.StatusTooManyRequests || q.status >= http.StatusInternalServerError:
		f.Silent(check, errors.New(sentence))
	default:
		f.Unseen(check, "check the address of "+q.to.title+" in tac.yaml", "%s", sentence)
	}
}

func (j *jiraSite) check(ctx context.Context, f *world.Findings) {
	q, done := j.at.ask(ctx)
	defer done()
	api, err := j.library(q)
	var self *jira.User
	if err == nil {
		self, _, err = api.User.GetSelfWithContext(q.ctx)
	}
	if err != nil {
		q.judge(f, policies.Jira, "token", "anything", err)
		return
	}
	if _, err := j.assignees(self); err != nil {
		f.Wrong("token", "the e-mail address under jira in tac.yaml: it is there for Jira Cloud, and for Data Center it is left out",
			"Jira names accounts in another way than its edition in tac.yaml does: no ticket would be anybody's")
		return
	}
	f.Fine("token", "Jira knows tac's account")
	if j.start != "" {
		j.checkFields(q, api, f)
	}
}

func (j *jiraSite) checkFields(q *question, api *jira.Client, f *world.Findings) {
	fields, _, err := api.Field.GetListWithContext(q.ctx)
	if err != nil {
		q.judge(f, policies.Jira, "change window", "its fields", err)
		return
	}
	for _, id := range []string{j.start, j.end} {
		check := "change window " + id
		mend := fmt.Sprintf("the ids of the fields of the change window in tac.yaml; %s/rest/api/2/field lists them all", q.to.base)
		at := slices.IndexFunc(fields, func(f jira.Field) bool { return f.ID == id })
		switch {
		case at < 0:
			f.Wrong(check, mend, "Jira has no field %s, or none that tac's account may see: no ticket has a change window", id)
		case fields[at].Schema.Type != "datetime":
			f.Wrong(check, mend, "the field %s holds no date with a time of day: no ticket has a change window", id)
		default:
			f.Fine(check, "it is a date with a time of day")
		}
	}
}

func (g *githubIssues) check(ctx context.Context, f *world.Findings) {
	for _, place := range g.allowed {
		g.checkPlace(ctx, f, place)
	}
}

// checkPlace looks at a repository, or at an owner of repositories. Whether
// issues may be read shows at reading one, and that there is no first one is
// a good answer.
func (g *githubIssues) checkPlace(ctx context.Context, f *world.Findings, place string) {
	q, done := g.at.ask(ctx)
	defer done()
	api := g.library(q)
	owner, repo, whole := strings.Cut(place, "/")
	mend := "the repositories of GitHub Issues in tac.yaml, or those that the token is for"
	var err error
	if !whole {
		_, _, err = api.Users.Get(q.ctx, owner)
	} else {
		_, _, err = api.Repositories.Get(q.ctx, owner, repo)
	}
	switch {
	case err != nil && q.githubSaysNo():
		f.Wrong(place, mend, "GitHub has no %s, or none that tac may see: no issue of it is a ticket", place)
		return
	case err != nil:
		q.judge(f, policies.GitHubIssues, place, place, err)
		return
	case !whole:
		f.Fine(place, "GitHub knows it; its repositories were not looked at")
		return
	}
	if _, _, err = api.Issues.Get(q.ctx, owner, repo, 1); err != nil && !q.githubSaysNo() && q.status != http.StatusMovedPermanently {
		q.judge(f, policies.GitHubIssues, place, "issues of "+place, err)
		return
	}
	f.Fine(place, "tac may read its issues")
}

func (l *linear) check(ctx context.Context, f *world.Findings) {
	q, done := l.at.ask(ctx)
	defer done()
	var query struct{ Viewer struct{ ID string } }
	raw, err := l.library(q).QueryRaw(q.ctx, &query, nil)
	var answer struct{ Viewer *struct{ ID string } }
	if err == nil && (json.Unmarshal(raw, &answer) != nil || answer.Viewer == nil || answer.Viewer.ID == "") {
		err = nonsense("it does not say whose token it is")
	}
	if err != nil {
		q.linearSaysNo() // for the status that its code stands for
		q.judge(f, policies.Linear, "token", "anything", err)
		return
	}
	f.Fine("token", "Linear knows tac's account")
}
