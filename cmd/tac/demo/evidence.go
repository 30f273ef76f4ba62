package demo

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/hashicorp/vault/api"
	"github.com/jackc/pgx/v5"

	"github.com/tigeraccess/tac/bot/sandbox/target"
	"github.com/tigeraccess/tac/grants"
)

// What the stories claim is looked up where it can be seen by anybody: in
// Vault with an administrator's token, and in the database's own list of
// roles. tac's word is not taken for it.

// users asks the database, over its own protocol, which roles there are.
func (d *telling) users() ([]string, error) {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(target.AdminName, d.world.Postgres.AdminPassword()),
		Host: d.world.Postgres.Addr(), Path: "payments", RawQuery: "sslmode=disable&connect_timeout=5",
	}
	conn, err := pgx.Connect(d.ctx, u.String())
	if err != nil {
		return nil, fmt.Errorf("log in to the database as its administrator: %w", err)
	}
	defer conn.Close(d.ctx)
	rows, err := conn.Query(d.ctx, "SELECT rolname FROM pg_roles", pgx.QueryExecModeSimpleProtocol)
	if err != nil {
		return nil, fmt.Errorf("read pg_roles: %w", err)
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// leases asks Vault for all leases of the database's credentials.
func (d *telling) leases() ([]string, error) {
	list, err := d.ground.vault().Logical().ListWithContext(d.ctx, "sys/leases/lookup/"+d.ground.places().creds)
	if err != nil {
		return nil, fmt.Errorf("list the leases: %w", err)
	}
	return listed(list), nil
}

// alive is what lives at one moment.
type alive struct{ users, leases []string }

func (d *telling) alive() (a alive, err error) {
	if a.users, err = d.users(); err != nil {
		return a, err
	}
	a.leases, err = d.leases()
	return a, err
}

// since returns what lives now and did not then.
func (a alive) since(then alive) alive {
	return alive{users: without(a.users, then.users), leases: without(a.leases, then.leases)}
}

// and returns what lives at both moments.
func (a alive) and(b alive) alive {
	return alive{users: without(a.users, without(a.users, b.users)), leases: without(a.leases, without(a.leases, b.leases))}
}

func (a alive) none() bool { return len(a.users)+len(a.leases) == 0 }

func without(all, these []string) (left []string) {
	for _, one := range all {
		if !slices.Contains(these, one) {
			left = append(left, one)
		}
	}
	return left
}

func listed(s *api.Secret) (keys []string) {
	if s == nil {
		return nil
	}
	raw, _ := s.Data["keys"].([]any)
	for _, key := range raw {
		if text, ok := key.(string); ok {
			keys = append(keys, text)
		}
	}
	return keys
}

// written is what tac wrote down in Vault about a credential.
type written struct {
	Accessor     string `json:"accessor"`
	WrapAccessor string `json:"wrap_accessor"`
	LeaseID      string `json:"lease_id"`
	Username     string `json:"username"`
}

// record reads tac's record of a grant.
func (d *telling) record(id grants.ID) (written, error) {
	return readRecord(d.ctx, d.ground.vault(), d.ground.places().records+"/data/grants/"+string(id))
}

// unknown asks Vault whether it has really forgotten a token and its lease.
func (d *telling) unknown(r written) (bool, error) {
	for _, question := range []struct {
		path, key, value, answer string
	}{
		{"auth/token/lookup-accessor", "accessor", r.Accessor, "invalid accessor"},
		{"sys/leases/lookup", "lease_id", r.LeaseID, "invalid lease"},
	} {
		if question.value == "" {
			continue
		}
		_, err := d.ground.vault().Logical().WriteWithContext(d.ctx, question.path, map[string]any{question.key: question.value})
		if err == nil {
			return false, nil
		}
		var refused *api.ResponseError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), question.answer) {
			return false, fmt.Errorf("ask %s: %w", question.path, err)
		}
	}
	return r.Accessor != "", nil
}

// checkForgotten claims that nothing of a grant's credential lives in Vault.
func (d *telling) checkForgotten(id grants.ID, what string) error {
	r, err := d.record(id)
	if err != nil {
		return err
	}
	gone, err := d.unknown(r)
	if err != nil {
		return err
	}
	users, err := d.users()
	if err != nil {
		return err
	}
	d.check(gone && !slices.Contains(users, r.Username), "%s", what)
	return nil
}

func decode(data any, into any) error {
	text, err := json.Marshal(data)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}

// review is a review of a pull request, as GitHub shows it.
type review struct {
	User struct {
		Login string `json:"login"`
		Type  string `json:"type"`
	} `json:"user"`
	State  string `json:"state"`
	Body   string `json:"body"`
	Commit string `json:"commit_id"`
}

// by reports whether a human being of that name gave it.
func (r review) by(login string) bool { return r.User.Login == login && r.User.Type == "User" }

func (d *telling) reviews(pull int) (all []review, err error) {
	return all, d.onGitHub(fmt.Sprintf("/pulls/%d/reviews", pull), &all)
}

// issue is an issue, as GitHub shows it.
type issue struct {
	Number int    `json:"number"`
	Title  string `json:"title"`
	State  string `json:"state"`
	Body   string `json:"body"`
}

func (d *telling) issues(label string) (all []issue, err error) {
	return all, d.onGitHub("/issues?state=all&labels="+label, &all)
}

func titles(all []issue) string {
	var named []string
	for _, i := range all {
		named = append(named, fmt.Sprintf("#%d %s", i.Number, i.Title))
	}
	return strings.Join(named, "; ")
}

// onGitHub reads over GitHub's REST API what somebody who may see the grants
// repository sees there.
func (d *telling) onGitHub(path string, out any) error {
	token, err := d.world.GitHub.PAT("eve")
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(d.ctx, http.MethodGet, d.world.GitHub.URL()+"/repos/"+Repository+path, nil)
	if err != nil {
		return fmt.Errorf("ask GitHub for %s: %w", path, err)
	}
	request.Header.Set("Authorization", "Bearer "+token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("ask GitHub for %s: %w", path, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask GitHub for %s: status %d", path, response.StatusCode)
	}
	if err := json.NewDecoder(response.Body).Decode(out); err != nil {
		return fmt.Errorf("read GitHub's %s: %w", path, err)
	}
	return nil
}
