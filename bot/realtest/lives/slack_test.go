package lives

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/cmd/tac/demo"
)

const aliceInSlack = "U01ALICE"

var (
	idForm    = regexp.MustCompile(`[0-9]{8}-[0-9a-z]{10}`)
	tokenForm = regexp.MustCompile(`hvs\.[A-Za-z0-9_-]{20,}`)
)

// askedInSlack types a command, again until tac answers with a grant's id.
func (s *stage) askedInSlack(text string) (id string) {
	s.t.Helper()
	s.until("the command is heard", 90*time.Second, func() error {
		a, err := s.Slack.Command(s.front.URL+"/webhooks/slack/commands", aliceInSlack, demo.Channel, "/tac", text)
		if err != nil {
			return err
		}
		if id = idForm.FindString(string(a.Body)); id == "" {
			return fmt.Errorf("tac answered %s", a.Body)
		}
		return nil
	})
	return id
}

// unwraps opens the newest token that tac sent, with Vault's own command
// line and no other token, as the message says.
func (s *stage) unwraps() (h held, err error) {
	token := ""
	for _, m := range s.Slack.DMs(aliceInSlack) {
		blocks, err := json.Marshal(m.Blocks)
		if err != nil {
			return h, err
		}
		if t := tokenForm.FindString(string(blocks)); t != "" {
			token = t
		}
	}
	if token == "" {
		return h, errors.New("no message has a token")
	}
	cmd, err := s.vault.Command(s.ctx, "unwrap", "-format=json", token)
	if err != nil {
		return h, err
	}
	cmd.Env = append(cmd.Env, "VAULT_TOKEN=")
	out, err := cmd.Output()
	if err != nil {
		return h, fmt.Errorf("vault unwrap: %w", err)
	}
	var answer struct {
		Data struct{ Username, Password string }
	}
	err = json.Unmarshal(out, &answer)
	h.Credential.Username, h.Credential.Password = answer.Data.Username, answer.Data.Password
	return h, err
}

func TestATokenFromSlackOpensOnceAndItsCredentialEndsWithTheGrant(t *testing.T) {
	t.Parallel()
	s := newStage(t, shared.vault, shared.postgres, database(shared.postgres, "payments"))
	s.start("one")
	id := s.askedInSlack(`request postgres-prod 2h "Deploy hotfix for INC-789"`)
	var h held
	s.until("the token arrives", time.Minute, func() (err error) {
		h, err = s.unwraps()
		return err
	})
	if said := s.psql(h); !strings.Contains(said, "(1 row)") {
		t.Errorf("the login said: %s", said)
	}
	if _, err := s.unwraps(); err == nil {
		t.Error("the token opens twice")
	}
	s.drops(id)
	s.ended(id, time.Minute, noStray)
	if said := s.psql(h); !strings.Contains(said, "authentication failed") {
		t.Errorf("after the end the login said: %s", said)
	}
}

func TestAGrantAskedForInSlackSurvivesTheLossOfAReplicaAtEveryCall(t *testing.T) {
	t.Parallel()
	crashLife{
		props: database(shared.postgres, "payments"),
		holds: func(s *stage) string {
			id := s.askedInSlack(`request postgres-prod 2h "Deploy hotfix for INC-789"`)
			s.heldFromSlack(id)
			return id
		},
		ends: func(s *stage, id string) { s.dropsAllBut(id); s.drops(id) },
	}.everyPoint(t)
}

// dropsAllBut ends what was asked for and never answered, so that it was
// typed once more: for Slack that is another wish, and another grant.
func (s *stage) dropsAllBut(id string) {
	s.t.Helper()
	var all struct{ Grants []grant }
	s.until("the grants are listed", time.Minute, func() error {
		a := s.as("alice", "access", "list", "-o", "json")
		if a.code != 0 {
			return fmt.Errorf("%s", a)
		}
		return json.Unmarshal([]byte(a.stdout), &all)
	})
	for _, g := range all.Grants {
		if g.ID != id && g.Phase != "closed" {
			s.t.Logf("%s was typed again: the first is %s", id, g.ID)
			s.drops(g.ID)
			s.reaches(g.ID, "closed", 5*time.Minute)
		}
	}
}

// heldFromSlack takes the credential from the message. Where the message was
// lost, or what it held was retired, somebody in a hurry takes another.
func (s *stage) heldFromSlack(id string) {
	s.t.Helper()
	patience := time.Now().Add(20 * time.Second)
	s.until("a credential is held", longestClaim, func() error {
		if h, err := s.unwraps(); err == nil {
			if said := s.psql(h); !strings.Contains(said, "(1 row)") {
				return fmt.Errorf("what the token held does not log in: %s", said)
			}
			return nil
		}
		if time.Now().Before(patience) {
			return errors.New("waiting for a message")
		}
		if a := s.as("alice", "access", "get", id, "--replace", "-o", "json"); a.code != 0 {
			return fmt.Errorf("%s", a)
		}
		return nil
	})
}
