package tickets

import (
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/github"
	"github.com/tigeraccess/tac/bot/sandbox/tracker"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const (
	begins = "customfield_10042"
	ends   = "customfield_10043"
)

// scene is one of each tracker, with one open ticket that is alice's and a
// repository whose first number is it too.
type scene struct {
	jira   *tracker.Jira
	linear *tracker.Linear
	github *github.Server
	config Config
}

func newScene(t *testing.T, edition tracker.Edition) *scene {
	t.Helper()
	clock := sandbox.NewStillClock(noon)
	s := &scene{}
	var errs [3]error
	s.jira, errs[0] = tracker.NewJira(clock, edition)
	s.linear, errs[1] = tracker.NewLinear(clock)
	s.github, errs[2] = github.New(clock)
	if err := errors.Join(errs[:]...); err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := errors.Join(s.jira.Close(), s.linear.Close(), s.github.Close()); err != nil {
			t.Error(err)
		}
	})
	s.jira.AddField(begins, "Change start", "datetime")
	s.jira.AddField(ends, "Change end", "datetime")
	s.jira.PutIssue(tracker.Issue{Key: "INC-789", Status: "In Progress", Category: "indeterminate", Assignee: &tracker.Person{AccountID: "557058:a1", Key: "JIRAUSER10100", Name: "alice"},
		Fields: map[string]any{begins: "2026-11-22T12:00:00.000+0100", ends: "2026-11-22T18:00:00.000+0100"}})
	s.linear.PutIssue(tracker.LinearIssue{Identifier: "ENG-123", State: "In Review", Type: "started", Assignee: "4e7a1b"})
	s.populate(t)
	s.config = Config{
		Jira:   JiraConfig{URL: s.jira.URL(), Token: world.NewSecret(s.jira.Token()), ChangeStart: begins, ChangeEnd: ends},
		GitHub: GitHubConfig{URL: s.github.URL(), HTTP: &http.Client{Transport: transport}, Repositories: []string{"Acme/app", "octo"}, DefaultRepository: "acme/app"},
		Linear: LinearConfig{URL: s.linear.URL(), Token: world.NewSecret(s.linear.Token())},
		Now:    func() time.Time { return noon }, HTTP: &http.Client{Transport: transport},
	}
	if edition == tracker.Cloud {
		s.config.Jira.Email = tracker.JiraUser
	}
	return s
}

// populate makes a GitHub of two organisations with a repository each, and a
// third that tickets are not taken from.
func (s *scene) populate(t *testing.T) {
	t.Helper()
	s.github.AddUser("alice", 1001)
	s.github.AddUser("bob", 1002)
	for _, repo := range []string{"acme/app", "octo/cat", "evil/app"} {
		owner, name, _ := strings.Cut(repo, "/")
		s.github.AddOrg(owner)
		_, err := s.github.AddRepo(owner, name, "main")
		if err = errors.Join(err, s.github.SetPublic(repo, true)); err != nil {
			t.Fatal(err)
		}
		number, err := s.github.OpenIssue(repo, "alice", "It is broken")
		if err = errors.Join(err, s.github.AssignIssue(repo, number, "alice", "bob")); err != nil || number != 1 {
			t.Fatal(number, err)
		}
	}
}

func (s *scene) client(t *testing.T, change ...func(*Config)) *Client {
	t.Helper()
	cfg := s.config
	for _, c := range change {
		c(&cfg)
	}
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func (s *scene) calls() int {
	return len(s.jira.Calls()) + len(s.linear.Calls()) + len(s.github.Calls())
}

var (
	inc = policies.TicketRef{Tracker: policies.Jira, Key: "INC-789"}
	eng = policies.TicketRef{Tracker: policies.Linear, Key: "ENG-123"}
	app = policies.TicketRef{Tracker: policies.GitHubIssues, Key: "acme/app#1"}
)

func ask(t *testing.T, c *Client, ref policies.TicketRef) policies.Ticket {
	t.Helper()
	ticket, err := c.Ticket(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	bare := policies.Ticket{Source: ticket.Source, Silent: ticket.Silent}
	if known := !ticket.ReadAt.IsZero(); known == (ticket.Silent != "") || known == (ticket.Exists == policies.Unknown) || !known && !reflect.DeepEqual(ticket, bare) {
		t.Fatalf("%+v is neither knowledge nor silence", ticket)
	}
	return ticket
}

func at(hour int) time.Time { return time.Date(2026, 11, 22, hour, 0, 0, 0, time.UTC) }

func TestJiraIsToldAsItIs(t *testing.T) {
	t.Parallel()
	s := newScene(t, tracker.Cloud)
	const source = "Jira /rest/api/2/issue/"
	odd := func(fields map[string]any) func() {
		return func() {
			s.jira.PutIssue(tracker.Issue{Key: "INC-1", Status: "Open", Category: "new", Fields: fields})
		}
	}
	tests := map[string]struct {
		do   func()
		key  string
		want policies.Ticket
	}{
		"a ticket": {key: "INC-789", want: policies.Ticket{Exists: policies.Yes, State: "In Progress", Open: policies.Yes, Assignees: []string{"557058:a1"}, From: at(11), To: at(17)}},
		"a ticket in small letters": {key: "inc-789", want: policies.Ticket{Exists: policies.Yes, State: "In Progress", Open: policies.Yes, Assignees: []string{"557058:a1"}, From: at(11), To: at(17),
			Source: source + "INC-789"}},
		"a ticket that is done": {do: func() { s.jira.PutIssue(tracker.Issue{Key: "INC-1", Status: "Verschlossen", Category: "done"}) }, key: "INC-1",
			want: policies.Ticket{Exists: policies.Yes, State: "Verschlossen", Open: policies.No}},
		"a state without a category": {do: func() { s.jira.PutIssue(tracker.Issue{Key: "INC-1", Status: "Odd", Category: "undefined"}) }, key: "INC-1",
			want: policies.Ticket{Exists: policies.Yes, State: "Odd", Open: policies.Unknown}},
		"no ticket": {key: "INC-2", want: policies.Ticket{Exists: policies.No, Source: source + "INC-2, where Jira says that there is none, or none that tac's account may see"}},
		"a ticket that may not be seen": {do: func() {
			s.jira.PutIssue(tracker.Issue{Key: "SEC-1", Status: "Open", Category: "new"})
			s.jira.Hide("SEC-1")
		}, key: "SEC-1",
			want: policies.Ticket{Exists: policies.No, Source: source + "SEC-1, where Jira says that there is none, or none that tac's account may see"}},
		"no window": {do: odd(map[string]any{begins: nil, ends: nil}), key: "INC-1", want: policies.Ticket{Exists: policies.Yes, State: "Open", Open: policies.Yes}},
		"a window without an end": {do: odd(map[string]any{begins: "2026-11-22T12:00:00.000+0000"}), key: "INC-1", want: policies.Ticket{Exists: policies.Yes, State: "Open", Open: policies.Yes,
			Source: source + "INC-1, where the change window cannot be used: " + ends + " is empty"}},
		"a window of days": {do: odd(map[string]any{begins: "2026-11-22", ends: "2026-11-23"}), key: "INC-1", want: policies.Ticket{Exists: policies.Yes, State: "Open", Open: policies.Yes,
			Source: source + "INC-1, where the change window cannot be used: " + begins + " is not a date with a time of day"}},
		"a window that is no time at all": {do: odd(map[string]any{begins: 12, ends: []string{"x"}}), key: "INC-1", want: policies.Ticket{Exists: policies.Yes, State: "Open", Open: policies.Yes,
			Source: source + "INC-1, where the change window cannot be used: " + begins + " is empty"}},
		"a window the wrong way round": {do: odd(map[string]any{begins: "2026-11-22T12:00:00.000+0000", ends: "2026-11-22T12:00:00.000+0000"}), key: "INC-1", want: policies.Ticket{Exists: policies.Yes, State: "Open", Open: policies.Yes,
			Source: source + "INC-1, where the change window cannot be used: it ends before it begins"}},
		"a window that ends after the year 9999": {do: odd(map[string]any{begins: "2026-11-22T12:00:00.000+0000", ends: "9999-12-31T23:59:59-1200"}), key: "INC-1", want: policies.Ticket{Exists: policies.Yes, State: "Open", Open: policies.Yes,
			Source: source + "INC-1, where the change window cannot be used: " + ends + " lies outside of the years 1 to 9999"}},
		"a window that begins before the year 1": {do: odd(map[string]any{begins: "0001-01-01T00:00:00+1200", ends: "2026-11-22T12:00:00.000+0000"}), key: "INC-1", want: policies.Ticket{Exists: policies.Yes, State: "Open", Open: policies.Yes,
			Source: source + "INC-1, where the change window cannot be used: " + begins + " lies outside of the years 1 to 9999"}},
		"a window that begins with the year 1": {do: odd(map[string]any{begins: "0001-01-01T00:00:00.5+0000", ends: "2026-11-22T12:00:00.000+0000"}), key: "INC-1", want: policies.Ticket{Exists: policies.Yes, State: "Open", Open: policies.Yes,
			Source: source + "INC-1, where the change window cannot be used: " + begins + " lies outside of the years 1 to 9999"}},
		"a ticket that was moved": {do: func() {
			s.jira.PutIssue(tracker.Issue{Key: "CHG-1", Status: "Approved", Category: "new"})
			s.jira.Move("CHG-1", "MINE-7")
		}, key: "CHG-1", want: policies.Ticket{Source: source + "CHG-1", Silent: "Jira has moved ticket CHG-1: it is MINE-7 now, and that is the one to name"}},
	}
	c := s.client(t)
	for name, test := range tests {
		if test.do != nil {
			test.do()
		}
		if test.want.Source == "" {
			test.want.Source = source + test.key
		}
		if test.want.Silent == "" {
			test.want.ReadAt = noon
		}
		if got := ask(t, c, policies.TicketRef{Tracker: policies.Jira, Key: test.key}); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, test.want)
		}
	}
}

func TestJiraDataCenterKnowsPeopleByTheirKeys(t *testing.T) {
	t.Parallel()
	s := newScene(t, tracker.DataCenter)
	if got := ask(t, s.client(t), inc); got.Exists != policies.Yes || !reflect.DeepEqual(got.Assignees, []string{"JIRAUSER10100"}) {
		t.Errorf("got %+v", got)
	}
	s.jira.ResetCalls()
	ask(t, s.client(t, func(c *Config) { c.Jira.ChangeStart, c.Jira.ChangeEnd = "", "" }), inc)
	if q := s.jira.Calls()[0].Query; q != "fields=status%2Cassignee" {
		t.Errorf("asked for %s", q)
	}
}

func TestLinearIsToldAsItIs(t *testing.T) {
	t.Parallel()
	s := newScene(t, tracker.Cloud)
	const source = "Linear /graphql issue "
	is := func(kind string, change func(*tracker.LinearIssue)) func() {
		return func() {
			i := tracker.LinearIssue{Identifier: "ENG-1", State: "State", Type: kind}
			change(&i)
			s.linear.PutIssue(i)
		}
	}
	same := func(*tracker.LinearIssue) {}
	yes := func(open policies.Truth) policies.Ticket {
		return policies.Ticket{Exists: policies.Yes, State: "State", Open: open}
	}
	tests := map[string]struct {
		do   func()
		key  string
		want policies.Ticket
	}{
		"a ticket":                  {nil, "ENG-123", policies.Ticket{Exists: policies.Yes, State: "In Review", Open: policies.Yes, Assignees: []string{"4e7a1b"}}},
		"a ticket to look at":       {is("triage", same), "ENG-1", yes(policies.Yes)},
		"a ticket for later":        {is("backlog", same), "ENG-1", yes(policies.Yes)},
		"a ticket not begun":        {is("unstarted", same), "ENG-1", yes(policies.Yes)},
		"a ticket that is done":     {is("completed", same), "ENG-1", yes(policies.No)},
		"a ticket that is not done": {is("canceled", same), "ENG-1", yes(policies.No)},
		"a ticket that is another":  {is("duplicate", same), "ENG-1", yes(policies.No)},
		"a type of a later Linear":  {is("paused", same), "ENG-1", yes(policies.Unknown)},
		"an archived ticket":        {is("started", func(i *tracker.LinearIssue) { i.Archived = noon }), "ENG-1", yes(policies.No)},
		"a ticket in the trash":     {is("started", func(i *tracker.LinearIssue) { i.Trashed = true }), "ENG-1", policies.Ticket{Exists: policies.No, Source: source + "ENG-1, which is in the trash"}},
		"no ticket":                 {nil, "ENG-9", policies.Ticket{Exists: policies.No, Source: source + "ENG-9, where Linear says that there is none, or none that tac's account may see"}},
		"a ticket that was moved": {func() {
			s.linear.PutIssue(tracker.LinearIssue{Identifier: "OPS-5", State: "Done", Type: "started"})
			s.linear.Move("OPS-5", "ENG-77")
		}, "OPS-5", policies.Ticket{Source: source + "OPS-5", Silent: "Linear has moved ticket OPS-5: it is ENG-77 now, and that is the one to name"}},
	}
	c := s.client(t)
	for name, test := range tests {
		if test.do != nil {
			test.do()
		}
		if test.want.Source == "" {
			test.want.Source = source + test.key
		}
		if test.want.Silent == "" {
			test.want.ReadAt = noon
		}
		if got := ask(t, c, policies.TicketRef{Tracker: policies.Linear, Key: test.key}); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, test.want)
		}
	}
}

func TestGitHubIssuesAreToldAsTheyAre(t *testing.T) {
	t.Parallel()
	s := newScene(t, tracker.Cloud)
	work := func(do func(number int) error) string {
		number, err := s.github.OpenIssue("acme/app", "alice", "Another")
		if err == nil {
			err = do(number)
		}
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("acme/app#%d", number)
	}
	closed := work(func(n int) error { return s.github.CloseIssue("acme/app", n) })
	deleted := work(func(n int) error { return s.github.DeleteIssue("acme/app", n) })
	transferred := work(func(n int) error { return s.github.TransferIssue("acme/app", n, "evil/app") })
	pull := pullRequest(t, s)
	path := func(key string) string {
		return "GitHub Issues /repos/" + strings.Replace(key, "#", "/issues/", 1)
	}
	const refusal = ", where GitHub says that there is none, or none that tac may see"
	open := policies.Ticket{Exists: policies.Yes, State: "open", Open: policies.Yes, Assignees: []string{"1001", "1002"}}
	tests := map[string]struct {
		key  string
		want policies.Ticket
		from string
	}{
		"a ticket":                    {"acme/app#1", open, path("acme/app#1")},
		"a ticket of the default":     {"#1", open, path("acme/app#1")},
		"a ticket in capitals":        {"ACME/App#1", open, path("ACME/App#1")},
		"a ticket of an owner":        {"octo/cat#1", open, path("octo/cat#1")},
		"a ticket that is closed":     {closed, policies.Ticket{Exists: policies.Yes, State: "closed", Open: policies.No}, path(closed)},
		"a ticket that was deleted":   {deleted, policies.Ticket{Exists: policies.No}, path(deleted) + refusal},
		"no ticket":                   {"acme/app#99", policies.Ticket{Exists: policies.No}, path("acme/app#99") + refusal},
		"no repository":               {"octo/none#1", policies.Ticket{Exists: policies.No}, path("octo/none#1") + refusal},
		"a pull request":              {pull, policies.Ticket{Exists: policies.No}, path(pull) + ", which is a pull request and no issue"},
		"a ticket that was moved":     {transferred, policies.Ticket{Silent: "GitHub Issues has moved ticket " + transferred + ": name it as it is called now"}, path(transferred)},
		"a repository that is not it": {"evil/app#1", policies.Ticket{Exists: policies.No}, `"evil/app" is not a repository whose issues are tickets; GitHub Issues was not asked`},
	}
	c := s.client(t)
	for name, test := range tests {
		if test.want.Source = test.from; test.want.Silent == "" {
			test.want.ReadAt = noon
		}
		if got := ask(t, c, policies.TicketRef{Tracker: policies.GitHubIssues, Key: test.key}); !reflect.DeepEqual(got, test.want) {
			t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, test.want)
		}
	}
}

func pullRequest(t *testing.T, s *scene) string {
	t.Helper()
	_, err := s.github.Seed("acme/app", "main", map[string]string{"a": "1"}, "alice", "Begin")
	if err != nil {
		t.Fatal(err)
	}
	if err = s.github.Grant("acme/app", "write", "alice"); err != nil {
		t.Fatal(err)
	}
	if _, err = s.github.Push(github.Push{Repo: "acme/app", Login: "alice", Branch: "fix", From: "main", Files: map[string]string{"a": "2"}, Message: "Mend"}); err != nil {
		t.Fatal(err)
	}
	number, err := s.github.OpenPull("acme/app", "alice", "fix", "main", "Mend", "")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("acme/app#%d", number)
}

func TestAKeyThatCannotBeIsNotAskedFor(t *testing.T) {
	t.Parallel()
	s := newScene(t, tracker.Cloud)
	c := s.client(t, func(c *Config) { c.GitHub.DefaultRepository = "" })
	hostile := []string{
		"", " ", "x", "INC-", "-1", "INC-0", "INC-01", "INC--1", "INC-1 ", " INC-1", "INC-1\n", "INC-1/../../", "INC-1/../../../2/myself", "INC-1?fields=x", "INC-1#x",
		"INC-1%2f..", "INC-1;x", "INC-789/comment", "../INC-789", "..", ".", "INC-٣", "ＩＮＣ-1", "INC-99999999999", `ENG-1") {identifier} x: issue(id: "ENG-2`, "ENG-1\"", "ENG-1 or 1=1",
		"acme/app#", "acme/app#0", "acme/app#-1", "acme/app#1.5", "acme/app#1/comments", "acme/app#1?x", "acme/../evil/app#1", "acme/..#1", "acme/.#1", "acme//app#1", "/app#1", "acme/#1",
		"acme/app/x#1", "acme/app%2f..#1", "acme#1", "-acme/app#1", "acme/app #1", "#1", "1", "acme/app#99999999999", strings.Repeat("A", 100) + "-1", strings.Repeat("a", 200) + "/b#1",
	}
	for _, key := range hostile {
		for _, of := range []policies.Tracker{policies.Jira, policies.GitHubIssues, policies.Linear} {
			got := ask(t, c, policies.TicketRef{Tracker: of, Key: key})
			if got.Exists != policies.No || !strings.HasSuffix(got.Source, "; "+of.Title()+" was not asked") || strings.ContainsAny(got.Source, "\n") {
				t.Errorf("%s %q: %+v", of, key, got)
			}
		}
	}
	if n := s.calls(); n != 0 {
		t.Errorf("%d calls were made", n)
	}
	for key, want := range map[policies.TicketRef]string{
		{Tracker: policies.Jira, Key: "acme/app#1"}:          `"acme/app#1" is no key of Jira, which look like INC-789; Jira was not asked`,
		{Tracker: policies.Linear, Key: "ENG_X-1"}:           `"ENG_X-1" is no key of Linear, which look like ENG-123; Linear was not asked`,
		{Tracker: policies.GitHubIssues, Key: "INC-789"}:     `"INC-789" is no key of GitHub Issues, which look like acme/app#12; GitHub Issues was not asked`,
		{Tracker: policies.GitHubIssues, Key: "#1"}:          `"#1" names no repository, as acme/app#12 does; GitHub Issues was not asked`,
		{Tracker: policies.GitHubIssues, Key: "acmee/app#1"}: `"acmee/app" is not a repository whose issues are tickets; GitHub Issues was not asked`,
	} {
		if got := ask(t, c, key); got.Source != want {
			t.Errorf("%v: %q", key, got.Source)
		}
	}
}
