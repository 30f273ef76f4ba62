package tickets

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/tracker"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// everywhere orders a fault at every tracker.
func (s *scene) everywhere(f sandbox.Fault) {
	f.Times = -1
	s.jira.Order(f)
	s.linear.Order(f)
	s.github.Order(f)
}

func answers(status int, body string) func(*scene) {
	return func(s *scene) {
		s.everywhere(sandbox.Fault{When: sandbox.Answer, Status: status, Body: body, Header: http.Header{"Content-Type": {"application/json"}}})
	}
}

func hang(t *testing.T) func(*scene) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(s *scene) {
		s.everywhere(sandbox.Fault{When: sandbox.Before, Do: func(r *http.Request) {
			select {
			case <-over:
			case <-r.Context().Done():
			}
		}})
	}
}

func TestSilenceIsSaidInOneSentence(t *testing.T) {
	t.Parallel()
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	moveTo := func(address string) func(*Config) {
		return func(c *Config) { c.Jira.URL, c.GitHub.URL, c.Linear.URL = address, address, address }
	}
	const shape = "it is not the JSON that its documentation promises"
	// T is the tracker's title and K the key.
	tests := map[string]struct {
		do                   func(*scene)
		change               func(*Config)
		want                 string
		jira, github, linear string // where they differ
	}{
		"not set up":           {change: func(c *Config) { c.Jira, c.GitHub, c.Linear = JiraConfig{}, GitHubConfig{}, LinearConfig{} }, want: "no T is set up"},
		"it hangs":             {do: hang(t), change: func(c *Config) { c.Timeout = 50 * time.Millisecond }, want: "T did not answer within 50ms"},
		"it hangs up":          {do: func(s *scene) { s.everywhere(sandbox.Fault{When: sandbox.Before}) }, want: "T gave no answer"},
		"its answer is lost":   {do: func(s *scene) { s.everywhere(sandbox.Fault{When: sandbox.LostReply}) }, want: "T gave no answer"},
		"nobody listens":       {change: moveTo("http://127.0.0.1:1"), want: "T cannot be reached"},
		"it is somebody else":  {change: moveTo(untrusted.URL), want: "T cannot be reached: its certificate is not trusted"},
		"the token is refused": {do: func(s *scene) { s.jira.Rotate(); s.linear.Rotate(); answers(401, `{"message":"Bad credentials"}`)(s) }, want: "T does not accept tac's token"},
		"a refusal by code": {do: func(s *scene) {
			s.jira.Rotate()
			s.linear.Rotate()
			s.github.Order(sandbox.Fault{When: sandbox.Answer, Status: 401})
		}, want: "T does not accept tac's token"},
		"the token is too weak": {do: answers(403, `{"message":"Resource not accessible by integration","errors":[{"message":"x","extensions":{"code":"FORBIDDEN"}}]}`),
			want: "T does not let tac's token see ticket K"},
		"too many questions": {do: func(s *scene) {
			s.jira.Limit(-1)
			s.linear.Limit(-1)
			s.github.Order(sandbox.Fault{When: sandbox.Answer, Status: 403, Header: http.Header{"X-Ratelimit-Remaining": {"0"}}, Body: `{"message":"API rate limit exceeded"}`})
		}, want: "T takes no more questions from tac for now"},
		"too many questions at once": {do: func(s *scene) {
			s.everywhere(sandbox.Fault{When: sandbox.Answer, Status: 429, Header: http.Header{"Retry-After": {"60"}}})
		}, want: "T takes no more questions from tac for now"},
		"it is down":           {do: answers(503, "no healthy upstream"), want: "T is in trouble: it answered 503"},
		"it does not like it":  {do: answers(400, `{"errors":[{"message":"x","extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}]}`), want: "T refused to say: it answered 400"},
		"it points elsewhere":  {do: answers(302, ""), want: "T refused to say: it answered 302"},
		"somebody else's 404":  {do: answers(404, "<html>404 not found</html>"), want: "T refused to say: it answered 404"},
		"a page of HTML":       {do: answers(200, "<html>Welcome to the hotel's network</html>"), want: "T answered what cannot be used: " + shape},
		"an endless answer":    {do: answers(200, `{"key":"`+strings.Repeat("x", maxAnswer)+`"}`), want: "T answered what cannot be used: it is too long"},
		"an empty object":      {do: answers(200, `{}`), want: "T answered what cannot be used: it names no ticket", github: "T answered what cannot be used: it is about another ticket"},
		"a null":               {do: answers(200, `null`), want: "T answered what cannot be used: it names no ticket", github: "T answered what cannot be used: it is about another ticket"},
		"no data":              {do: answers(200, `{"data":null}`), want: "T answered what cannot be used: it names no ticket", github: "T answered what cannot be used: it is about another ticket"},
		"no issue":             {do: answers(200, `{"data":{"issue":null}}`), want: "T answered what cannot be used: it names no ticket", github: "T answered what cannot be used: it is about another ticket"},
		"half an error":        {do: answers(200, `{"data":{"issue":{"identifier":"ENG-123"}},"errors":[{"message":"Internal","extensions":{"code":"INTERNAL_SERVER_ERROR"}}]}`), want: "T answered what cannot be used: it names no ticket", github: "T answered what cannot be used: it is about another ticket", linear: "T is in trouble: it answered 500"},
		"nothing but the key":  {do: answers(200, `{"key":"INC-789","number":1,"repository_url":"x/repos/acme/app","data":{"issue":{"identifier":"ENG-123"}}}`), want: "T answered what cannot be used: it names no state"},
		"a state of no letter": {do: answers(200, `{"key":"INC-789","fields":{"status":{"name":""}},"number":1,"repository_url":"x/repos/acme/app","state":"","data":{"issue":{"identifier":"ENG-123","state":{"name":"\n"}}}}`), want: "T answered what cannot be used: it names no state"},
		"a fault as a 404": {do: func(s *scene) {
			s.everywhere(sandbox.Fault{When: sandbox.Answer, Status: 404, Header: http.Header{"X-Seraph-Loginreason": {"AUTHENTICATED_FAILED"}}, Body: `{"errorMessages":["Issue does not exist or you do not have permission to see it."],"errors":{}}`})
		}, want: "T refused to say: it answered 404", jira: "T does not accept tac's token"},
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
			c := s.client(t, test.change)
			for ref, special := range map[policies.TicketRef]string{inc: test.jira, app: test.github, eng: test.linear} {
				if special == "" {
					special = test.want
				}
				want := strings.NewReplacer("T ", ref.Tracker.Title()+" ", " K", " "+ref.Key).Replace(special)
				if got := ask(t, c, ref); got.Silent != want {
					t.Errorf("%q, want %q", got.Silent, want)
				}
			}
		})
	}
}

func TestOneBrokenConnectionIsNoOutage(t *testing.T) {
	t.Parallel()
	for name, trouble := range map[string]sandbox.Fault{
		"cut":  {When: sandbox.Before},
		"lost": {When: sandbox.LostReply},
		"502":  {When: sandbox.AnswerAfter, Status: 502},
	} {
		for times, known := range map[int]bool{1: true, 2: false} {
			s := newScene(t, tracker.Cloud)
			trouble.Times = times
			s.jira.Order(trouble)
			s.linear.Order(trouble)
			s.github.Order(trouble)
			c := s.client(t)
			for _, ref := range []policies.TicketRef{inc, eng, app} {
				if got := ask(t, c, ref); (got.Exists == policies.Yes) != known {
					t.Errorf("%s %d times: %+v", name, times, got)
				}
			}
			if n := s.calls(); n != 6 {
				t.Errorf("%s %d times: %d calls", name, times, n)
			}
		}
	}
}

func TestOnlyAnEndedContextIsAnError(t *testing.T) {
	t.Parallel()
	s := newScene(t, tracker.Cloud)
	hang(t)(s)
	c := s.client(t)
	for _, ref := range []policies.TicketRef{inc, eng, app} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		ticket, err := c.Ticket(ctx, ref)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !reflect.DeepEqual(ticket, policies.Ticket{}) {
			t.Errorf("%v: %+v, %v", ref, ticket, err)
		}
	}
}

func TestATokenGoesNowhereElse(t *testing.T) {
	t.Parallel()
	var thief []string
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		thief = append(thief, r.Header.Get("Authorization"))
	}))
	t.Cleanup(elsewhere.Close)
	s := newScene(t, tracker.Cloud)
	s.everywhere(sandbox.Fault{When: sandbox.Answer, Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {elsewhere.URL}}})
	c := s.client(t)
	said := fmt.Sprintf("%v %+v %#v %+v %+v", c, c, c, s.config, c.Check(t.Context()))
	for _, ref := range []policies.TicketRef{inc, eng, app} {
		said += fmt.Sprintf("%+v", ask(t, c, ref))
	}
	if len(thief) > 0 {
		t.Errorf("a redirect took the token along: %q", thief)
	}
	if strings.Contains(said, s.jira.Token()) || strings.Contains(said, s.linear.Token()) {
		t.Error("a token was printed")
	}
}

func TestAConfigThatCannotWorkIsRefused(t *testing.T) {
	t.Parallel()
	s := newScene(t, tracker.Cloud)
	for name, change := range map[string]func(*Config){
		"no clock":                    func(c *Config) { c.Now = nil },
		"a negative timeout":          func(c *Config) { c.Timeout = -1 },
		"Jira in the clear":           func(c *Config) { c.Jira.URL = "http://acme.atlassian.net" },
		"a password in an address":    func(c *Config) { c.Jira.URL = "https://user:pass@acme.atlassian.net" },
		"a query in an address":       func(c *Config) { c.Linear.URL = "https://api.linear.app?x" },
		"no token":                    func(c *Config) { c.Jira.Token = world.Secret{} },
		"a line break in a token":     func(c *Config) { c.Linear.Token = world.NewSecret("pass\n") },
		"no address to sign in with":  func(c *Config) { c.Jira.Email = "a: b@c" },
		"half a window":               func(c *Config) { c.Jira.ChangeEnd = "" },
		"a field by name":             func(c *Config) { c.Jira.ChangeStart = "Change start" },
		"two fields in one":           func(c *Config) { c.Jira.ChangeStart = "customfield_1,summary" },
		"GitHub in the clear":         func(c *Config) { c.GitHub.URL = "http://github.acme.test/api/v3" },
		"a repository that is none":   func(c *Config) { c.GitHub.Repositories = []string{"acme/app/x"} },
		"a repository of dots":        func(c *Config) { c.GitHub.Repositories = []string{"acme/.."} },
		"everything":                  func(c *Config) { c.GitHub.Repositories = []string{"*"} },
		"a default that is not it":    func(c *Config) { c.GitHub.DefaultRepository = "evil/app" },
		"a default that is an owner":  func(c *Config) { c.GitHub.DefaultRepository = "octo" },
		"a default with a path in it": func(c *Config) { c.GitHub.DefaultRepository = "octo/../evil/app" },
	} {
		cfg := s.config
		change(&cfg)
		if _, err := New(cfg); err == nil || strings.Contains(err.Error(), "pass") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
