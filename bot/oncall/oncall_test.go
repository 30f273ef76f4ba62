package oncall

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
	"github.com/tigeraccess/tac/bot/sandbox/pager"
	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

var (
	noon    = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	primary = policies.Schedule{Pager: policies.PagerDuty, ID: "PPRIMARY"}
	genie   = policies.Schedule{Pager: policies.Opsgenie, ID: "d875a1f4-9b4e-4219-a123-0c26936d18de"}
)

// scene is one account with each pager. In both, alice is on call until noon
// and bob from then on; PagerDuty has bob on the second level too.
type scene struct {
	duty   *pager.PagerDuty
	genie  *pager.Opsgenie
	config Config
}

func newScene(t *testing.T) *scene {
	t.Helper()
	clock := sandbox.NewStillClock(noon)
	duty, err := pager.NewPagerDuty(clock)
	if err != nil {
		t.Fatal(err)
	}
	opsgenie, err := pager.NewOpsgenie(clock)
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		if err := errors.Join(duty.Close(), opsgenie.Close()); err != nil {
			t.Error(err)
		}
	})
	duty.AddSchedule("PPRIMARY", "Primary")
	duty.AddSchedule("PSECOND", "Secondary")
	duty.AddSchedule("PLOOSE", "In no escalation policy")
	duty.AddSchedule("PNOBODY", "Nobody's")
	duty.AddEscalationPolicy("PE1", "Payments", []string{"PPRIMARY"}, []string{"PSECOND", "PPRIMARY"})
	duty.AddEscalationPolicy("PE2", "Search", []string{"PNOBODY"})
	duty.AddShift("PPRIMARY", "PALICE", noon.Add(-24*time.Hour), noon)
	duty.AddShift("PPRIMARY", "PBOB", noon, noon.Add(24*time.Hour))
	duty.AddShift("PSECOND", "PCAROL", time.Time{}, time.Time{})
	duty.AddShift("PLOOSE", "PCAROL", time.Time{}, time.Time{})
	opsgenie.AddSchedule(genie.ID, "Primary")
	opsgenie.AddShift(genie.ID, pager.User("u-alice", "alice@acme.test"), noon.Add(-24*time.Hour), noon)
	opsgenie.AddShift(genie.ID, pager.User("u-bob", "bob@acme.test"), noon, noon.Add(24*time.Hour))
	return &scene{duty, opsgenie, Config{
		PagerDutyURL: duty.URL(), PagerDutyToken: world.NewSecret(duty.Token()),
		OpsgenieURL: opsgenie.URL(), OpsgenieKey: world.NewSecret(opsgenie.Token()),
		Now: func() time.Time { return noon }, HTTP: &http.Client{Transport: transport},
	}}
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

func ask(t *testing.T, c *Client, s policies.Schedule, at time.Time) policies.Duty {
	t.Helper()
	duty, err := c.OnCall(t.Context(), s, at)
	if err != nil {
		t.Fatal(err)
	}
	if known := !duty.ReadAt.IsZero(); known == (duty.Silent != "") || !known && duty.OnCall != nil {
		t.Fatalf("%+v is neither knowledge nor silence", duty)
	}
	return duty
}

func people(pairs ...any) []policies.OnCall {
	var list []policies.OnCall
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, policies.OnCall{Account: pairs[i].(string), Level: pairs[i+1].(int)})
	}
	return list
}

func TestWhoIsOnCallFollowsFromTheInstant(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	evening := noon.Add(6 * time.Hour)
	s.duty.Override("PPRIMARY", "PDANA", evening, evening.Add(time.Hour))
	s.genie.Override(genie.ID, pager.Participant{Type: "team", ID: "t1", Within: []pager.Participant{
		{Type: "escalation", ID: "e1", Within: []pager.Participant{
			pager.User("u-dana", "dana@acme.test"),
			{Type: "user", ID: "u-eve", After: 10},
			{Type: "schedule", ID: "s2", Within: []pager.Participant{pager.User("u-dana", "dana@acme.test")}},
		}},
	}}, evening, evening.Add(time.Hour))
	second := policies.Schedule{Pager: policies.PagerDuty, ID: "PSECOND"}
	nobody := policies.Schedule{Pager: policies.PagerDuty, ID: "PNOBODY"}
	tests := map[string]struct {
		of   policies.Schedule
		at   time.Time
		want []policies.OnCall
	}{
		"before the change of shifts":            {primary, noon.Add(-time.Hour), people("PALICE", 1, "PALICE", 2)},
		"the last instant of a shift":            {primary, noon.Add(-time.Nanosecond), people("PALICE", 1, "PALICE", 2)},
		"the first instant of a shift":           {primary, noon, people("PBOB", 1, "PBOB", 2)},
		"in another zone":                        {primary, noon.In(time.FixedZone("", -5*3600)), people("PBOB", 1, "PBOB", 2)},
		"an override":                            {primary, evening.Add(time.Minute), people("PDANA", 1, "PDANA", 2)},
		"after the override":                     {primary, evening.Add(time.Hour), people("PBOB", 1, "PBOB", 2)},
		"after all shifts":                       {primary, noon.Add(48 * time.Hour), nil},
		"a shift without an end":                 {second, noon, people("PCAROL", 2)},
		"a schedule that is nobody's":            {nobody, noon, nil},
		"opsgenie before the change":             {genie, noon.Add(-time.Hour), people("u-alice", 0)},
		"opsgenie at the change":                 {genie, noon, people("u-bob", 0)},
		"opsgenie in another zone":               {genie, noon.In(time.FixedZone("", 9*3600)), people("u-bob", 0)},
		"opsgenie has a team and its escalation": {genie, evening, people("u-dana", 0, "u-eve", 0)},
		"opsgenie after all shifts":              {genie, noon.Add(48 * time.Hour), nil},
	}
	c := s.client(t)
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := ask(t, c, test.of, test.at)
			want := policies.Duty{OnCall: test.want, ReadAt: noon, Source: c.provider(test.of.Pager).source(test.of.ID)}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("got  %+v\nwant %+v", got, want)
			}
		})
	}
}

func TestALongListIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	for i := range 250 {
		s.duty.AddShift("PNOBODY", fmt.Sprintf("P%d", 1000+i), noon.Add(-time.Hour), noon.Add(time.Hour))
	}
	nobody := policies.Schedule{Pager: policies.PagerDuty, ID: "PNOBODY"}
	if got := ask(t, s.client(t), nobody, noon); len(got.OnCall) != 250 || len(s.duty.Calls()) != 3 {
		t.Errorf("%d people in %d calls", len(got.OnCall), len(s.duty.Calls()))
	}
	// The second page does not come: nothing is known, not the first page.
	s.duty.Order(sandbox.Fault{Query: "offset=100", Times: -1, When: sandbox.LostReply})
	if got := ask(t, s.client(t), nobody, noon); got.Silent != "PagerDuty gave no answer" {
		t.Errorf("got %+v", got)
	}
}

// answers orders an answer to every call from now on.
func answers(status int, body string) func(*scene) {
	return func(s *scene) {
		f := sandbox.Fault{Times: -1, When: sandbox.Answer, Status: status, Body: body, Header: http.Header{"Content-Type": {"application/json"}}}
		s.duty.Order(f)
		s.genie.Order(f)
	}
}

func breaks(when sandbox.When) func(*scene) {
	return func(s *scene) {
		s.duty.Order(sandbox.Fault{Times: -1, When: when})
		s.genie.Order(sandbox.Fault{Times: -1, When: when})
	}
}

func TestSilenceIsSaidInOneSentence(t *testing.T) {
	t.Parallel()
	short := func(c *Config) { c.Timeout = 50 * time.Millisecond }
	nowhere := func(c *Config) { c.PagerDutyURL, c.OpsgenieURL = "http://127.0.0.1:1", "http://127.0.0.1:1" }
	untrusted := httptest.NewUnstartedServer(http.NotFoundHandler())
	untrusted.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted.StartTLS()
	t.Cleanup(untrusted.Close)
	tests := map[string]struct {
		do     func(*scene)
		change func(*Config)
		duty   string
		genie  string // empty: as PagerDuty's, with its own name
	}{
		"not set up":            {change: func(c *Config) { c.PagerDutyToken, c.OpsgenieKey = world.Secret{}, world.Secret{} }, duty: "no PagerDuty is set up", genie: "no Opsgenie is set up"},
		"it hangs":              {do: hang(t), change: short, duty: "PagerDuty did not answer within 50ms"},
		"it hangs up":           {do: breaks(sandbox.Before), duty: "PagerDuty gave no answer"},
		"its answer is lost":    {do: breaks(sandbox.LostReply), duty: "PagerDuty gave no answer"},
		"nobody listens":        {change: nowhere, duty: "PagerDuty cannot be reached"},
		"it is somebody else":   {change: func(c *Config) { c.PagerDutyURL, c.OpsgenieURL = untrusted.URL, untrusted.URL }, duty: "PagerDuty cannot be reached: its certificate is not trusted"},
		"the token is refused":  {do: func(s *scene) { s.duty.Rotate(); s.genie.Rotate() }, duty: "PagerDuty does not accept tac's token"},
		"the token is too weak": {do: answers(403, `{"error":{"message":"Access Denied","code":2010}}`), duty: "PagerDuty does not let tac's token see schedule PPRIMARY", genie: "Opsgenie does not let tac's token see schedule " + genie.ID},
		"too many questions":    {do: func(s *scene) { s.duty.Limit(-1); s.genie.Limit(-1) }, duty: "PagerDuty takes no more questions from tac for now"},
		"it is down":            {do: answers(503, "no healthy upstream"), duty: "PagerDuty is in trouble: it answered 503"},
		"it has a fault":        {do: answers(500, `{"error":{"message":"Internal Server Error","code":2000}}`), duty: "PagerDuty is in trouble: it answered 500"},
		"it does not like it":   {do: answers(422, `{"message":"no"}`), duty: "PagerDuty refused to say: it answered 422"},
		"it points elsewhere":   {do: answers(302, ""), duty: "PagerDuty refused to say: it answered 302"},
		"a page of HTML":        {do: answers(200, "<html>Welcome to the hotel's network</html>"), duty: "PagerDuty answered what cannot be used: it is not the JSON that its documentation promises"},
		"nothing at all":        {do: answers(200, ""), duty: "PagerDuty answered what cannot be used: it is not the JSON that its documentation promises"},
		"an endless answer":     {do: answers(200, `{"oncalls":["`+strings.Repeat("x", maxAnswer)+`"]}`), duty: "PagerDuty answered what cannot be used: it is too long"},
		"an empty object":       {do: answers(200, `{}`), duty: "PagerDuty answered what cannot be used: it does not say who is on call", genie: "Opsgenie answered what cannot be used: it is about another schedule"},
		"a null": {do: answers(200, `{"oncalls":null,"data":{"_parent":{"id":"`+genie.ID+`","enabled":true},"onCallParticipants":null}}`),
			duty: "PagerDuty answered what cannot be used: it does not say who is on call"},
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
			c := s.client(t, test.change)
			if test.genie == "" {
				test.genie = strings.ReplaceAll(test.duty, "PagerDuty", "Opsgenie")
			}
			if got := ask(t, c, primary, noon); got.Silent != test.duty {
				t.Errorf("PagerDuty: %q", got.Silent)
			}
			if got := ask(t, c, genie, noon); got.Silent != test.genie {
				t.Errorf("Opsgenie: %q", got.Silent)
			}
		})
	}
}

// hang lets calls wait until the test is over.
func hang(t *testing.T) func(*scene) {
	over := make(chan struct{})
	t.Cleanup(func() { close(over) })
	return func(s *scene) {
		f := sandbox.Fault{Times: -1, When: sandbox.Before, Do: func(r *http.Request) {
			select {
			case <-over:
			case <-r.Context().Done():
			}
		}}
		s.duty.Order(f)
		s.genie.Order(f)
	}
}

func TestSchedulesThatSayNothingAreSilent(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	s.genie.AddSchedule("off", "Switched off")
	s.genie.AddShift("off", pager.User("u-alice", ""), time.Time{}, time.Time{})
	s.genie.Disable("off")
	s.genie.AddSchedule("theirs", "Another team's")
	s.genie.Forbid("theirs")
	tests := []struct {
		of   policies.Schedule
		want string
	}{
		{policies.Schedule{Pager: policies.PagerDuty, ID: "PGONE"}, "PagerDuty has no schedule PGONE, or none that tac's token may see"},
		{policies.Schedule{Pager: policies.PagerDuty, ID: "PLOOSE"}, "PagerDuty's schedule PLOOSE is in no escalation policy, and PagerDuty does not say who is on call by such a one"},
		{policies.Schedule{Pager: policies.PagerDuty, ID: "../users/me"}, `"../users/me" is not the id of a schedule of PagerDuty`},
		{policies.Schedule{Pager: policies.PagerDuty, ID: "P1&user_ids[]=PALICE"}, `"P1&user_ids[]=PALICE" is not the id of a schedule of PagerDuty`},
		{policies.Schedule{Pager: policies.PagerDuty}, `"" is not the id of a schedule of PagerDuty`},
		{policies.Schedule{Pager: policies.Opsgenie, ID: "gone"}, "Opsgenie has no schedule gone, or none that tac's token may see"},
		{policies.Schedule{Pager: policies.Opsgenie, ID: "off"}, "Opsgenie's schedule off is switched off"},
		{policies.Schedule{Pager: policies.Opsgenie, ID: "theirs"}, "Opsgenie does not let tac's token see schedule theirs"},
		{policies.Schedule{Pager: policies.Opsgenie, ID: "a/../../v2/users"}, `"a/../../v2/users" is not the id of a schedule of Opsgenie`},
		{policies.Schedule{Pager: policies.Opsgenie, ID: ".."}, `".." is not the id of a schedule of Opsgenie`},
		{policies.Schedule{Pager: policies.Opsgenie, ID: "a?flat=true"}, `"a?flat=true" is not the id of a schedule of Opsgenie`},
		{policies.Schedule{Pager: "telephone", ID: "x"}, "no telephone is set up"},
	}
	c := s.client(t)
	for _, test := range tests {
		if got := ask(t, c, test.of, noon); got.Silent != test.want {
			t.Errorf("%v: %q, want %q", test.of, got.Silent, test.want)
		}
	}
	for _, call := range append(s.duty.Calls(), s.genie.Calls()...) {
		if call.Path != "/oncalls" && call.Path != "/schedules/PGONE" && call.Path != "/schedules/PLOOSE" && !strings.HasSuffix(call.Path, "/on-calls") {
			t.Errorf("an id led to %s", call)
		}
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
			s := newScene(t)
			trouble.Times = times
			s.duty.Order(trouble)
			s.genie.Order(trouble)
			c := s.client(t)
			if got := ask(t, c, primary, noon); (got.Silent == "") != known {
				t.Errorf("%s %d times: PagerDuty: %+v", name, times, got)
			}
			if got := ask(t, c, genie, noon); (got.Silent == "") != known {
				t.Errorf("%s %d times: Opsgenie: %+v", name, times, got)
			}
			if n := len(s.duty.Calls()) + len(s.genie.Calls()); n != 4 {
				t.Errorf("%s %d times: %d calls", name, times, n)
			}
		}
	}
}

func TestOnlyAnEndedContextIsAnError(t *testing.T) {
	t.Parallel()
	s := newScene(t)
	hang(t)(s)
	c := s.client(t)
	for _, of := range []policies.Schedule{primary, genie} {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		duty, err := c.OnCall(ctx, of, noon)
		cancel()
		if !errors.Is(err, context.DeadlineExceeded) || !reflect.DeepEqual(duty, policies.Duty{}) {
			t.Errorf("%v: %+v, %v", of, duty, err)
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
	s := newScene(t)
	away := sandbox.Fault{Times: -1, When: sandbox.Answer, Status: http.StatusTemporaryRedirect, Header: http.Header{"Location": {elsewhere.URL}}}
	s.duty.Order(away)
	s.genie.Order(away)
	c := s.client(t)
	said := fmt.Sprintf("%+v %+v", ask(t, c, primary, noon), ask(t, c, genie, noon))
	said += fmt.Sprintf("%v %+v %#v %+v", c.Check(t.Context(), primary, genie), c, c, s.config)
	if len(thief) > 0 {
		t.Errorf("a redirect took the token along: %q", thief)
	}
	if strings.Contains(said, s.duty.Token()) || strings.Contains(said, s.genie.Token()) {
		t.Error("a token was printed")
	}
	for _, address := range []string{"http://api.pagerduty.com", "https://user:pass@api.pagerduty.com", "ftp://127.0.0.1", "https://", "api.opsgenie.com", "https://api.opsgenie.com/v1", "https://api.opsgenie.com?x=y"} {
		for _, change := range []func(*Config){func(c *Config) { c.PagerDutyURL = address }, func(c *Config) { c.OpsgenieURL = address }} {
			cfg := s.config
			change(&cfg)
			if _, err := New(cfg); err == nil || strings.Contains(err.Error(), "pass@") {
				t.Errorf("%s: %v", address, err)
			}
		}
	}
	cfg := s.config
	cfg.PagerDutyToken, cfg.OpsgenieKey, cfg.Now, cfg.Timeout = world.NewSecret("secret\n"), world.NewSecret("a secret"), nil, -1
	if _, err := New(cfg); err == nil || strings.Contains(err.Error(), "secret") || strings.Count(err.Error(), "\n") != 3 {
		t.Errorf("New = %v", err)
	}
}
