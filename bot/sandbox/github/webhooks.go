package github

import (
	"encoding/json"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// hookEvents are the events the server's Apps are subscribed to.
var hookEvents = []string{"check_run", "issues", "membership", "organization", "pull_request", "pull_request_review", "push", "team"}

// SetWebhook makes the App receive its events at url, signed with secret. An
// empty url switches them off. An App hears of the accounts it is installed on.
func (s *Server) SetWebhook(app *App, url, secret string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	app.hookURL, app.hookSecret = url, secret
}

// emit queues an event for every App that is to hear of the repository.
func (s *Server) emit(repo *Repo, who actor, event, action string, payload object) {
	if s.heard(repo.owner) {
		payload["repository"] = s.repoJSON(repo)
		s.emitTo(repo.owner, who, event, action, payload)
	}
}

// emitTo queues an event for every App on an account. It is called under the
// mutex and never waits; the payload is rendered at once, so it tells of this
// moment and not of the moment of delivery.
func (s *Server) emitTo(account *User, who actor, event, action string, payload object) {
	for _, i := range s.installs {
		if i.account != account || i.App.hookURL == "" {
			continue
		}
		if action != "" {
			payload["action"] = action
		}
		payload["sender"] = s.userJSON(who.user)
		payload["installation"] = object{"id": i.ID, "node_id": nodeID("Integration", i.ID)}
		if org := s.live.orgs[strings.ToLower(account.Login)]; org != nil {
			payload["organization"] = s.orgJSON(org)
		}
		body, err := json.Marshal(payload)
		if err != nil {
			continue // cannot happen: payloads are made of plain values
		}
		s.hooks.add(Delivery{
			ID: s.nextID(), GUID: uuid(), Event: event, Action: action, Body: body,
			At: s.clock.Now(), app: i.App, url: i.App.hookURL, secret: i.App.hookSecret,
		})
	}
}

// heard reports whether anybody receives the events of an account; payloads
// are worth making only then.
func (s *Server) heard(account *User) bool {
	for _, i := range s.installs {
		if i.account == account && i.App.hookURL != "" {
			return true
		}
	}
	return false
}

func (s *Server) emitPull(p *pull, who actor, action string, more object) {
	if !s.heard(p.repo.owner) {
		return
	}
	payload := object{"number": p.number, "pull_request": s.pullFullJSON(p)}
	for k, v := range more {
		payload[k] = v
	}
	s.emit(p.repo, who, "pull_request", action, payload)
}

func (s *Server) emitReview(p *pull, who actor, r *review, action string) {
	shown := s.reviewJSON(p, r)
	shown["state"] = strings.ToLower(r.state) // lower case in webhooks, upper case in the API
	s.emit(p.repo, who, "pull_request_review", action, object{"review": shown, "pull_request": s.pullJSON(p)})
}

func (s *Server) emitCheck(repo *Repo, who actor, run *checkRun, action string) {
	s.emit(repo, who, "check_run", action, object{"check_run": s.checkJSON(repo, run)})
}

// emitMember tells of somebody who came into the organisation or left it. An
// owner of it did that, who is not modelled: the organisation stands for them.
func (s *Server) emitMember(o *Org, u *User, action string) {
	if !s.heard(o.account) {
		return
	}
	api := s.url + "/orgs/" + o.account.Login
	s.emitTo(o.account, actor{user: o.account}, "organization", action, object{"membership": object{
		"url": api + "/memberships/" + u.Login, "organization_url": api, "state": "active", "role": "member", "user": s.userJSON(u),
	}})
}

// emitMembership tells of somebody who came into a team or left it.
func (s *Server) emitMembership(o *Org, t *Team, u *User, action string) {
	if s.heard(o.account) {
		s.emitTo(o.account, actor{user: o.account}, "membership", action, object{
			"scope": "team", "member": s.userJSON(u), "team": s.teamJSON(o, t, true),
		})
	}
}

// emitTeam tells of a team that was made or deleted.
func (s *Server) emitTeam(o *Org, t *Team, action string) {
	if s.heard(o.account) {
		s.emitTo(o.account, actor{user: o.account}, "team", action, object{"team": s.teamJSON(o, t, true)})
	}
}

func (s *Server) emitPush(repo *Repo, who actor, u refUpdate, forced bool) {
	if !s.heard(repo.owner) {
		return
	}
	var head any
	commits := []any{}
	if !u.new.IsZero() {
		since := u.old
		if since.IsZero() && u.name != repo.defaultRef() {
			since = repo.refs[repo.defaultRef()] // a new branch tells of its own commits only
		}
		if list, err := repo.git.between(since, u.new); err == nil {
			for _, n := range list[max(0, len(list)-20):] {
				commits = append(commits, s.pushCommitJSON(repo, n))
			}
			if len(commits) > 0 {
				head = commits[len(commits)-1]
			}
		}
	}
	pusher := object{"name": who.user.Login, "email": who.user.Email}
	s.emit(repo, who, "push", "", object{
		"ref": u.name.String(), "before": u.old.String(), "after": u.new.String(), "base_ref": nil,
		"created": u.old.IsZero(), "deleted": u.new.IsZero(), "forced": forced, "commits": commits, "head_commit": head,
		"compare": s.url + "/" + repo.fullName() + "/compare/" + u.old.String() + "..." + u.new.String(),
		"pusher":  pusher,
	})
}

func (s *Server) pushCommitJSON(repo *Repo, n *node) object {
	c, err := repo.git.commit(n.hash)
	if err != nil {
		return nil
	}
	added, removed, modified := []string{}, []string{}, []string{}
	var before plumbing.Hash
	if len(n.parents) > 0 {
		if parent, err := repo.git.node(n.parents[0]); err == nil {
			before = parent.tree
		}
	}
	changes, err := repo.git.diff(before, n.tree)
	if err != nil {
		return nil
	}
	for _, ch := range changes {
		switch {
		case ch.before.Hash.IsZero():
			added = append(added, ch.path)
		case ch.after.Hash.IsZero():
			removed = append(removed, ch.path)
		default:
			modified = append(modified, ch.path)
		}
	}
	return object{
		"id": n.hash.String(), "tree_id": n.tree.String(), "distinct": true, "message": c.Message,
		"timestamp": stamp(c.Committer.When), "url": s.url + "/" + repo.fullName() + "/commit/" + n.hash.String(),
		"author":    object{"name": c.Author.Name, "email": c.Author.Email, "date": stamp(c.Author.When)},
		"committer": object{"name": c.Committer.Name, "email": c.Committer.Email, "date": stamp(c.Committer.When)},
		"added":     added, "removed": removed, "modified": modified,
	}
}
