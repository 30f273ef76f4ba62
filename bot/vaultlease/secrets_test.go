package vaultlease_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/vaultlease"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// secretForms find, in what passed over the wire, everything that must not be
// seen anywhere else.
var secretForms = []*regexp.Regexp{
	regexp.MustCompile(`X-Vault-Token: (\S+)`),
	regexp.MustCompile(`"client_token":"([^"]+)"`),
	regexp.MustCompile(`"token":"([^"]+)"`),
	regexp.MustCompile(`"password":"([^"]+)"`),
	regexp.MustCompile(`"secret_id":"([^"]+)"`),
}

func secretsOn(w *wire) map[string]bool {
	found := map[string]bool{}
	for _, form := range secretForms {
		for _, match := range form.FindAllStringSubmatch(w.seen.String(), -1) {
			found[match[1]] = true
		}
	}
	return found
}

// TestNoSecretLeavesThroughErrorsLogsOrRecords plays lives with every kind of
// trouble, takes each secret from the wire, and looks for it everywhere else.
func TestNoSecretLeavesThroughErrorsLogsOrRecords(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	var seen strings.Builder
	note := func(values ...any) {
		for _, v := range values {
			fmt.Fprintf(&seen, "%v\n%+v\n%#v\n%s\n", v, v, v, v)
			if text, err := json.Marshal(v); err == nil {
				seen.Write(text)
			}
		}
	}
	// A proxy that repeats in its page what it was sent.
	echo := func(path string, status int) sandbox.Fault {
		f := sandbox.Fault{Path: path, When: sandbox.Answer, Status: status}
		f.Body = "<html>" + s.id.SecretID.Reveal() + "</html>"
		return f
	}
	lastBody := func(path string) sandbox.Fault {
		return sandbox.Fault{Path: path, When: sandbox.AnswerAfter, Status: 200, Body: `{"data":"` + s.id.SecretID.Reveal() + `"}`}
	}
	warning := sandbox.Fault{Path: "auth/token/create", When: sandbox.AnswerAfter, Status: 200, Body: `{"auth":{"client_token":"hvs.canary-in-a-warned-answer","accessor":"acc"},"warnings":["take care"]}`}
	trouble := []sandbox.Fault{
		{Path: "nothing"}, echo("auth/approle/login", 400), echo("auth/approle/login", 502), warning,
		echo("token/create", 500), echo("database/creds", 403), lastBody("database/creds"), echo("sys/wrapping/wrap", 418),
		lastBody("sys/wrapping/wrap"), echo("leases/renew", 500), echo("leases/renew", 200), echo("data/grants/", 500),
		{Path: "database/creds", When: sandbox.LostReply}, {Path: "sys/wrapping/wrap", When: sandbox.LostReply},
	}
	for i, fault := range trouble {
		if i == 1 || i == 2 {
			s.clock.Advance(2 * time.Hour) // the login's turn
		}
		struck := i == 0
		fault.Do = func(*http.Request) { struck = true }
		s.vault.Order(fault)
		rec := s.approved(database)
		rec.Grant.ID = grants.ID(fmt.Sprintf("20261122-00000000%02d", i))
		note(a.PutRecord(t.Context(), rec))
		credential, err := a.Issue(t.Context(), rec, s.claim())
		note(rec, err, credential)
		if credential != nil {
			note(*credential)
			opened, err := a.Unwrap(t.Context(), credential.Wrapped)
			note(opened, err)
			_, err = a.Unwrap(t.Context(), credential.Wrapped)
			note(err)
		}
		_, err = a.Unwrap(t.Context(), world.NewSecret("hvs.canary-nobody-wrapped"))
		note(err)
		s.vault.ClearFaults()
		rec.State = grants.Revoking
		note(a.Kill(t.Context(), rec, s.clock.Now()))
		if !struck {
			t.Errorf("trouble %d never came about", i)
		}
	}
	note(a.Client, vaultlease.Config{SecretID: s.id.SecretID}, s.id)

	records, err := json.Marshal(s.vault.Records("tac"))
	s.must(err)
	secrets := secretsOn(a.wire)
	if len(secrets) < 20 {
		t.Fatalf("the wire showed %d secrets only: this test looks at the wrong things", len(secrets))
	}
	for sink, text := range map[string]string{"errors and values": seen.String(), "logs": s.logs.String(), "records": string(records)} {
		for secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s hold the secret %.12s...", sink, secret)
			}
		}
	}
}

func TestAProxysPageIsNotQuoted(t *testing.T) {
	s := newScene(t)
	a := s.replica("a")
	s.vault.Order(sandbox.Fault{Path: "tac/data/", When: sandbox.Answer, Status: 404, Times: -1,
		Header: http.Header{"Content-Type": {"text/html"}}, Body: "<html>X-Vault-Token: canary</html>"})
	_, err := a.Record(t.Context(), grantID)
	if err == nil || strings.Contains(err.Error(), "canary") || errors.Is(err, world.ErrAmbiguous) {
		t.Errorf("got %v", err)
	}
}
