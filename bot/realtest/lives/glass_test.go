package lives

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/cmd/tac/demo"
)

// Glass is broken without anybody's consent: the credential is there at once,
// and so are the alarm and the issue.
func TestBrokenGlassGivesACredentialAtOnceAndSoundsTheAlarm(t *testing.T) {
	t.Parallel()
	s := newStage(t, shared.vault, shared.postgres, database(shared.postgres, "payments"))
	s.changesPolicy("  auto_approve:\n    conditions:\n      - role: [developer]\n        max_duration: 8h\n",
		"  break_glass: {roles: [developer], max_duration: 1h, review_within: 4h}\n")
	s.start("one")
	ask := []string{"access", "request", "postgres-prod", "--duration", "30m", "--reason", "payments are down", "--break-glass", "--wait", "--timeout", "60s", "-o", "json"}
	if a := s.as("alice", ask...); a.code != 3 {
		t.Errorf("without a ticket: %s", a)
	}
	a := s.as("alice", append(ask, "--ticket", "INC-1")...)
	if a.code != 0 {
		t.Fatalf("the request: %s", a)
	}
	var said struct {
		ID string `json:"id"`
	}
	s.must(json.Unmarshal([]byte(a.stdout), &said))
	h := s.takes(said.ID)
	x := s.logsIn(h)
	s.endsAt(s.lease(), x.user, s.reaches(said.ID, "active", time.Minute).Ends)
	var issue int
	s.until("the alarm sounds", time.Minute, func() (err error) {
		issue, err = s.alarmed(said.ID)
		return err
	})
	s.drops(said.ID)
	s.isCut(x, time.Minute)
	s.ended(said.ID, time.Minute, noStray)

	// Long after, somebody who may has looked at it. A replica that starts
	// looks at once.
	s.must(s.GitHub.CloseIssueAs(demo.Repository, issue, "dana", "completed"))
	s.start("two")
	s.until("the look is noted", time.Minute, func() error {
		after, err := s.aftermath(said.ID)
		if after["by"] != "dana" {
			err = errors.Join(err, fmt.Errorf("the record says %v", after))
		}
		return err
	})
}

// aftermath is what the record of a grant says of what follows it.
func (s *stage) aftermath(id string) (map[string]any, error) {
	record, err := s.vault.Record(s.ctx, s.mount, "grants/"+id)
	after, _ := record["aftermath"].(map[string]any)
	return after, err
}

// alarmed returns the issue of a grant, once that and the message in Slack are
// there.
func (s *stage) alarmed(id string) (issue int, err error) {
	after, err := s.aftermath(id)
	if err != nil {
		return 0, err
	}
	number, _ := after["issue"].(json.Number) // 0 as long as there is none
	opened, err := number.Int64()
	if err != nil {
		return 0, fmt.Errorf("the record has no issue: %v", after)
	}
	title, body, labels, err := s.GitHub.IssueBody(demo.Repository, int(opened))
	if err != nil {
		return 0, err
	}
	if !strings.Contains(body, id) || !strings.Contains(title, "alice, postgres-prod") || !slices.Contains(labels, "tac-break-glass") {
		return 0, fmt.Errorf("the issue %q has the labels %q and says %s", title, labels, body)
	}
	for _, m := range s.Slack.Messages(demo.Channel) {
		if text := s.Slack.Render(m); strings.Contains(text, "INC-1") && strings.Contains(text, "glass") {
			return int(opened), nil
		}
	}
	return 0, errors.New("no message in Slack")
}
