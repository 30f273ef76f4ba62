package vault_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

func (w *world) raw(method, path, headers, body string) (int, string) {
	w.t.Helper()
	req, err := http.NewRequestWithContext(w.t.Context(), method, w.vault.URL()+"/v1/"+path, strings.NewReader(body))
	w.ok(err)
	for line := range strings.SplitSeq(headers, "\n") {
		if name, value, ok := strings.Cut(line, ": "); ok {
			req.Header.Set(name, value)
		}
	}
	resp, err := http.DefaultClient.Do(req)
	w.ok(err)
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	w.ok(err)
	return resp.StatusCode, string(text)
}

func TestHealthStatusesThatATestMayOrder(t *testing.T) {
	w := newWorld(t)
	for code, want := range map[int]string{
		472: `"replication_dr_mode":"secondary"`, 473: `"performance_standby":true`, 501: `"initialized":false`, 0: `"initialized":true`,
	} {
		w.vault.SetHealth(code)
		status, body := w.raw("GET", "sys/health", "", "")
		if code == 0 {
			code = 200
		}
		if status != code || !strings.Contains(body, want) {
			t.Errorf("got %d %s, want %d %s", status, body, code, want)
		}
	}
}

// TestNoSecretReachesTheEventsAndSnapshots guards the checks of the demo,
// which print them.
func TestNoSecretReachesTheEventsAndSnapshots(t *testing.T) {
	w := newWorld(t)
	auth, secret := w.creds("1h")
	wrapped, err := w.wrap("60s", m{"password": secret.Data["password"]})
	w.ok(err)
	text, err := json.Marshal([]any{w.vault.Events(), w.vault.Leases(), w.vault.Tokens(), w.vault.Calls()})
	w.ok(err)
	for name, canary := range map[string]string{
		"token": auth.ClientToken, "password": secret.Data["password"].(string),
		"wrapping token": wrapped.WrapInfo.Token, "root token": w.vault.RootToken(),
	} {
		if strings.Contains(string(text), canary) {
			t.Errorf("the %s is in the log", name)
		}
	}
}

func TestMountDatabaseServesEveryConfigOfItsMount(t *testing.T) {
	w := newWorld(t)
	other := newTarget()
	w.ok(w.vault.MountDatabase("other", other))
	if err := w.vault.MountDatabase("other", other); err == nil {
		t.Fatal("mounted twice")
	}
	w.write(w.root, "other/config/any", m{"plugin_name": "postgresql-database-plugin", "allowed_roles": "*"})
	w.write(w.root, "other/roles/r", m{"db_name": "any", "creation_statements": []string{`CREATE ROLE "{{name}}"`}})
	secret := w.read(w.root, "other/creds/r")
	until, ok := other.validUntil(secret.Data["username"].(string))
	w.equal("no {{expiration}}, no VALID UNTIL", []any{until.IsZero(), ok}, []any{true, true})
	if w.db.count() != 0 {
		t.Fatal("the wrong database was called")
	}
}

func TestAClosedServerDoesNoMoreWork(t *testing.T) {
	clock := sandbox.NewStillClock(start)
	w := newWorldAt(t, clock)
	w.creds("1h")
	w.vault.Close()
	w.vault.Close()
	clock.Advance(10 * time.Hour)
	w.equal("users", w.db.count(), 1)
	w.equal("leases", len(w.vault.Leases()), 1)
}
