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

// TestHTTPSemantics holds what the Go client hides: methods, statuses, bodies.
func TestHTTPSemantics(t *testing.T) {
	w := newWorld(t)
	w.ok(w.record(0, m{"n": 1}))
	root := "X-Vault-Token: " + w.vault.RootToken()
	rows := []struct {
		name, method, path, header, body string
		status                           int
		want                             string
	}{
		{"no token is denied", "GET", "tac/data/grants/g1", "", "", 403, "permission denied"},
		{"a bearer token is a token", "GET", "tac/data/grants/g1", "Authorization: Bearer " + w.bot.Token(), "", 200, `"version":1`},
		{"?list=true is a LIST", "GET", "tac/metadata/grants?list=true", root, "", 200, `"keys":["g1"]`},
		{"a LIST of nothing is 404 with an empty list of errors", "LIST", "tac/metadata/none", root, "", 404, `{"errors":[]}`},
		{"a GET of nothing is 404 with an empty list of errors", "GET", "tac/data/none", root, "", 404, `{"errors":[]}`},
		{"an unknown mount is 404", "GET", "nowhere/x", root, "", 404, `no handler for route`},
		{"an unknown path of sys is 404", "GET", "sys/nowhere", root, "", 404, `unsupported path`},
		{"a wrong method is 405", "DELETE", "database/creds/orders-ro", root, "", 405, "unsupported operation"},
		{"PATCH is 405", "PATCH", "tac/data/grants/g1", root, "{}", 405, "unsupported operation"},
		{"broken JSON is 400", "POST", "tac/data/grants/g1", root, "{", 400, "error parsing JSON"},
		{"a missing accessor is 400", "POST", "auth/token/lookup-accessor", root, "{}", 400, "missing accessor"},
		{"a missing lease id is 400", "PUT", "sys/leases/revoke", root, "{}", 400, "lease_id must be specified"},
		{"a number that is none is 400", "PUT", "tac/data/grants/g1", root, `{"options":{"cas":"x"},"data":{}}`, 400, "converting input"},
		{"a record without data is 400", "PUT", "tac/data/grants/g1", root, `{"options":{"cas":1}}`, 400, "no data provided"},
		{"a wrap ttl that is none is 400", "GET", "tac/data/grants/g1", root + "\nX-Vault-Wrap-TTL: soon", "", 400, "X-Vault-Wrap-TTL"},
		{"an unknown role of creds is 400", "GET", "database/creds/none", root, "", 400, "unknown role: none"},
		{"a role that the config does not allow is 500", "GET", "database/creds/stray", root, "", 500, "is not an allowed role"},
		{"a queued revocation is 202", "PUT", "sys/leases/revoke", root, `{"lease_id":"database/creds/orders-ro/x"}`, 202, "request_id"},
		{"leases by type need the type", "GET", "sys/leases", root, "", 400, "irrevocable"},
		{"irrevocable leases are listed", "GET", "sys/leases?type=irrevocable", root, "", 200, `"lease_count":0`},
		{"a role reads back in seconds", "GET", "database/roles/orders-ro", root, "", 200, `"default_ttl":300`},
		{"a config never shows a password", "GET", "database/config/orders", root, "", 200, `"connection_url"`},
		{"a token role reads back", "GET", "auth/token/roles/tac", root, "", 200, `"allowed_policies_glob":["tac-*"]`},
		{"mounts are listed", "GET", "sys/mounts", root, "", 200, `"tac/":{`},
		{"auth methods are listed", "GET", "sys/auth", root, "", 200, `"approle/":{`},
		{"a path in use cannot be mounted", "POST", "sys/mounts/tac", root, `{"type":"kv","options":{"version":"2"}}`, 400, "path is already in use at tac/"},
		{"a policy reads back as written", "GET", "sys/policies/acl/tac-bot", root, "", 200, `# the bot`},
		{"a bad policy is 400", "PUT", "sys/policies/acl/x", root, `{"policy":"path"}`, 400, "failed to parse policy"},
		{"seal-status needs no token", "GET", "sys/seal-status", "", "", 200, `"sealed":false`},
		{"the bot may not seal", "PUT", "sys/seal", "X-Vault-Token: " + w.bot.Token(), "", 403, "permission denied"},
		{"root may seal", "PUT", "sys/seal", root, "", 204, ""},
		{"sealed is 503", "GET", "tac/data/grants/g1", root, "", 503, `{"errors":["Vault is sealed"]}`},
	}
	w.write(w.root, "database/roles/stray", m{"db_name": "orders", "creation_statements": "CREATE"})
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			status, body := w.raw(row.method, row.path, row.header, row.body)
			if status != row.status || !strings.Contains(body, row.want) || strings.Contains(body, `"password":`) {
				t.Fatalf("got %d %s, want %d %s", status, body, row.status, row.want)
			}
		})
	}
}

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
