package tickets

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/policies"
)

// githubIssues asks GitHub's REST API about issues.
type githubIssues struct {
	at       *service
	allowed  []string // "acme/app" or "acme", in lower case
	standard string   // "acme/app"; empty: there is none
}

const (
	ownerForm = `[A-Za-z0-9](?:[A-Za-z0-9-]{0,38})`
	repoForm  = `[A-Za-z0-9._-]{1,100}`
)

var (
	issueForm = regexp.MustCompile(`^(` + ownerForm + `/` + repoForm + `)?#([1-9][0-9]{0,8})$`)
	placeForm = regexp.MustCompile(`^` + ownerForm + `(?:/` + repoForm + `)?$`)
)

func newGitHub(cfg Config) (*githubIssues, error) {
	in, title := cfg.GitHub, policies.GitHubIssues.Title()
	at, err := newService(title, cmp.Or(in.URL, PublicGitHub), in.HTTP, cfg.Timeout)
	problems := []error{err}
	g := &githubIssues{at: at, standard: in.DefaultRepository}
	for _, place := range in.Repositories {
		if !placeForm.MatchString(place) || dots(place) {
			problems = append(problems, fmt.Errorf("%s: %.80q is neither a repository, as acme/app, nor an owner, as acme", title, place))
		}
		g.allowed = append(g.allowed, strings.ToLower(place))
	}
	if g.standard != "" && (!issueForm.MatchString(g.standard+"#1") || dots(g.standard) || !g.allows(g.standard)) {
		problems = append(problems, fmt.Errorf("%s: the default repository %.80q is not among those whose issues are tickets", title, g.standard))
	}
	return g, errors.Join(problems...)
}

// dots reports whether a repository's name would be taken for a step in a path.
func dots(place string) bool {
	_, repo, _ := strings.Cut(place, "/")
	return repo == "." || repo == ".."
}

func (g *githubIssues) allows(repo string) bool {
	repo = strings.ToLower(repo)
	owner, _, _ := strings.Cut(repo, "/")
	return slices.Contains(g.allowed, repo) || slices.Contains(g.allowed, owner)
}

func (g *githubIssues) service() *service { return g.at }

// key returns the key with its repository: acme/app#12.
func (g *githubIssues) key(text string) (key, words string) {
	m := issueForm.FindStringSubmatch(text)
	if m == nil || dots(m[1]) {
		return "", fmt.Sprintf("%.70q is no key of GitHub Issues, which look like acme/app#12", text)
	}
	repo := cmp.Or(m[1], g.standard)
	switch {
	case repo == "":
		return "", fmt.Sprintf("%.70q names no repository, as acme/app#12 does", text)
	case !g.allows(repo):
		return "", fmt.Sprintf("%.110q is not a repository whose issues are tickets", repo)
	}
	return repo + "#" + m[2], ""
}

// parts splits a key that key returned.
func parts(key string) (owner, repo, number string) {
	place, number, _ := strings.Cut(key, "#")
	owner, repo, _ = strings.Cut(place, "/")
	return owner, repo, number
}

func (g *githubIssues) source(key string) string {
	owner, repo, number := parts(key)
	return "GitHub Issues /repos/" + owner + "/" + repo + "/issues/" + number
}

// library returns GitHub's client for one question.
func (g *githubIssues) library(q *question) *github.Client {
	api := github.NewClient(q.client())
	base := *q.to.base
	base.Path += "/"
	api.BaseURL = &base
	return api
}

func (g *githubIssues) ticket(q *question, key string) (policies.Ticket, error) {
	owner, repo, text := parts(key)
	number, err := strconv.Atoi(text)
	if err != nil {
		return policies.Ticket{}, err
	}
	issue, _, err := g.library(q).Issues.Get(q.ctx, owner, repo, number)
	switch {
	case err != nil && q.githubSaysNo():
		return none("where GitHub says that there is none, or none that tac may see"), nil
	case err != nil && (q.status == http.StatusMovedPermanently || q.status == http.StatusPermanentRedirect):
		return policies.Ticket{}, unfit("GitHub Issues has moved ticket " + key + ": name it as it is called now")
	case err != nil:
		return policies.Ticket{}, err
	case issue.GetNumber() != number || !of(issue.GetRepositoryURL(), owner, repo):
		return policies.Ticket{}, nonsense("it is about another ticket")
	case issue.IsPullRequest():
		return none("which is a pull request and no issue"), nil
	}
	t := policies.Ticket{Exists: policies.Yes, State: issue.GetState(), Open: policies.No}
	switch t.State {
	case "open":
		t.Open = policies.Yes
	case "closed":
	default:
		return policies.Ticket{}, nonsense("it names no state")
	}
	t.Assignees, err = numbers(issue.Assignees)
	return t, err
}

// githubSaysNo reports whether a refusal is GitHub's word that there is no
// such issue: none that may be seen, or one that was deleted. A refusal for
// want of quota is made one that says so.
func (q *question) githubSaysNo() bool {
	spent := q.header.Get("X-RateLimit-Remaining") == "0" || q.header.Get("Retry-After") != ""
	if q.status == http.StatusForbidden && spent {
		q.status = http.StatusTooManyRequests
	}
	var said struct{ Message string }
	return (q.status == http.StatusNotFound || q.status == http.StatusGone) && json.Unmarshal(q.body, &said) == nil && said.Message != ""
}

// of reports whether an issue's repository is the one that was asked for.
func of(address, owner, repo string) bool {
	u, err := url.Parse(address)
	return err == nil && strings.HasSuffix(strings.ToLower(u.Path), strings.ToLower("/repos/"+owner+"/"+repo))
}

func numbers(users []*github.User) ([]string, error) {
	if users == nil {
		return nil, nonsense("it does not say who is assigned")
	}
	var ids []string
	for _, u := range users {
		if u.GetID() <= 0 {
			return nil, nonsense("it does not say whose account is assigned")
		}
		ids = append(ids, strconv.FormatInt(u.GetID(), 10))
	}
	return ids, nil
}
