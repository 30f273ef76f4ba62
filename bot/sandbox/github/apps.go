package github

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"
)

// keys holds the key of each App of this process by its id: making one takes
// as long as a whole test otherwise does.
var keys sync.Map

// keyOf returns the key of an App, the same for every server of this process.
// 1024 bits are quick to make and guard nothing outside of a test.
func keyOf(id int64) (*rsa.PrivateKey, error) {
	if key, ok := keys.Load(id); ok {
		return key.(*rsa.PrivateKey), nil
	}
	made, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		return nil, err
	}
	key, _ := keys.LoadOrStore(id, made)
	return key.(*rsa.PrivateKey), nil
}

// AddApp registers a GitHub App with a new key, a client id and secret, and
// the permissions that the product asks for. Take permissions away before
// installing it to test a set-up that lacks them.
func (s *Server) AddApp(slug string, id int64) (*App, error) {
	key, err := keyOf(id)
	if err != nil {
		return nil, fmt.Errorf("make the key of app %s: %w", slug, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	app := &App{
		Slug: slug, ID: id,
		ClientID:     "Iv1." + randomHex(8),
		ClientSecret: randomHex(20),
		PrivateKeyPEM: pem.EncodeToMemory(&pem.Block{
			Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key),
		}),
		Permissions: map[string]string{
			"contents": "write", "pull_requests": "write", "checks": "write",
			"issues": "write", "metadata": "read", "members": "read",
		},
		key:     keyVerifier{&key.PublicKey},
		created: s.now(),
	}
	app.Bot = s.addUser(slug+"[bot]", s.nextID(), "Bot")
	s.apps[id] = app
	return app, nil
}

// Install puts the App on an account, for each of its repositories, with the
// permissions the App has now.
func (s *Server) Install(app *App, account string, id int64) (*Installation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	owner, err := s.user(account)
	if err != nil {
		return nil, fmt.Errorf("install %s: %w", app.Slug, err)
	}
	i := &Installation{ID: id, App: app, account: owner, permissions: maps.Clone(app.Permissions), created: s.now()}
	s.installs[id] = i
	return i, nil
}

// Uninstall takes the installation away, and its tokens with it.
func (s *Server) Uninstall(i *Installation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.installs, i.ID)
	for secret, t := range s.tokens {
		if t.install == i {
			delete(s.tokens, secret)
		}
	}
}

// SetTokenLife sets how long installation tokens made from now on live, by
// the wall clock. The default is GitHub's hour.
func (s *Server) SetTokenLife(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.life = d
}

func (c *call) createInstallationToken() (answer, error) {
	id, err := c.number("id")
	if err != nil {
		return answer{}, err
	}
	i := c.s.installs[id]
	if i == nil || i.App != c.who.app {
		return answer{}, notFound()
	}
	var in struct {
		Repositories  []string          `json:"repositories"`
		RepositoryIDs []int64           `json:"repository_ids"`
		Permissions   map[string]string `json:"permissions"`
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	granted := maps.Clone(i.permissions)
	if len(in.Permissions) > 0 {
		for name, level := range in.Permissions {
			if rank(level) == 0 || rank(i.permissions[name]) < rank(level) {
				return answer{}, failure(http.StatusUnprocessableEntity, "The permissions requested are not granted to this installation.")
			}
		}
		granted = maps.Clone(in.Permissions)
		granted["metadata"] = "read" // always included
	}
	chosen, fail := c.s.chooseRepos(i.account, in.Repositories, in.RepositoryIDs)
	if fail != nil {
		return answer{}, fail
	}
	t := token{kind: "installation", user: i.App.Bot, app: i.App, install: i, permissions: granted, expires: time.Now().Add(c.s.life)}
	body := object{"permissions": granted, "repository_selection": "all"}
	if len(chosen) > 0 {
		t.repos = map[int64]bool{}
		for _, r := range chosen {
			t.repos[r.id] = true
		}
		body["repository_selection"] = "selected"
		body["repositories"] = each(chosen, c.s.repoJSON)
	}
	made := c.s.issue(c.s.installationPrefix(i.App), t)
	body["token"] = made.secret
	body["expires_at"] = stamp(made.expires)
	return created(body)
}

func (s *Server) chooseRepos(account *User, names []string, ids []int64) ([]*Repo, *apiError) {
	var chosen []*Repo
	for _, name := range names {
		r := s.live.repos[repoKey(account.Login, name)]
		if r == nil {
			return nil, errNoSuchRepo()
		}
		chosen = append(chosen, r)
	}
	for _, id := range ids {
		var found *Repo
		for _, r := range s.live.repos {
			if r.id == id && r.owner == account {
				found = r
			}
		}
		if found == nil {
			return nil, errNoSuchRepo()
		}
		chosen = append(chosen, found)
	}
	return chosen, nil
}

func errNoSuchRepo() *apiError {
	return failure(http.StatusUnprocessableEntity, "There is at least one repository that does not exist or is not accessible to the parent installation.")
}

func (c *call) revokeInstallationToken() (answer, error) {
	if c.who.install == nil {
		return answer{}, forbidden("Resource not accessible by integration")
	}
	delete(c.s.tokens, c.who.token.secret)
	return empty()
}

func (c *call) getApp() (answer, error) { return ok(c.s.appJSON(c.who.app)) }

func (c *call) installationOfRepo() (answer, error) {
	r := c.world.repos[repoKey(c.r.PathValue("owner"), c.r.PathValue("repo"))]
	if r == nil {
		return answer{}, notFound()
	}
	return c.installationOn(r.owner)
}

func (c *call) installationOfOrg() (answer, error) {
	if c.org == nil {
		return answer{}, notFound()
	}
	return c.installationOn(c.org.account)
}

func (c *call) installationOn(account *User) (answer, error) {
	for _, i := range c.s.installs {
		if i.App == c.who.app && i.account == account {
			return ok(c.s.installationJSON(i))
		}
	}
	return answer{}, notFound()
}

func (c *call) getInstallation() (answer, error) {
	id, err := c.number("id")
	if err != nil {
		return answer{}, err
	}
	if i := c.s.installs[id]; i != nil && i.App == c.who.app {
		return ok(c.s.installationJSON(i))
	}
	return answer{}, notFound()
}

func (c *call) listInstallations() (answer, error) {
	var list []*Installation
	for _, i := range c.s.installs {
		if i.App == c.who.app {
			list = append(list, i)
		}
	}
	sortBy(list, func(i *Installation) int64 { return i.ID })
	return ok(each(paginate(c, list), c.s.installationJSON))
}

func (s *Server) appJSON(a *App) object {
	return object{
		"id": a.ID, "slug": a.Slug, "node_id": nodeID("Integration", a.ID), "client_id": a.ClientID,
		"owner": s.userJSON(a.Bot), "name": a.Slug, "description": "", "external_url": s.url,
		"html_url": s.url + "/apps/" + a.Slug, "created_at": stamp(a.created), "updated_at": stamp(a.created),
		"permissions": a.Permissions, "events": hookEvents, "installations_count": len(s.installs),
	}
}

func (s *Server) installationJSON(i *Installation) object {
	return object{
		"id": i.ID, "app_id": i.App.ID, "app_slug": i.App.Slug, "client_id": i.App.ClientID,
		"target_id": i.account.ID, "target_type": i.account.Type, "account": s.userJSON(i.account),
		"single_file_name": nil, "repository_selection": "selected", "permissions": i.permissions, "events": hookEvents,
		"access_tokens_url": fmt.Sprintf("%s/app/installations/%d/access_tokens", s.url, i.ID),
		"repositories_url":  s.url + "/installation/repositories",
		"html_url":          fmt.Sprintf("%s/organizations/%s/settings/installations/%d", s.url, i.account.Login, i.ID),
		"created_at":        stamp(i.created), "updated_at": stamp(i.created),
		"suspended_by": nil, "suspended_at": nil,
	}
}

func isBot(login string) bool { return strings.HasSuffix(login, "[bot]") }
