package github

import (
	"net/http"
	"slices"
	"strings"
)

func (c *call) getOrg() (answer, error) {
	org := c.world.orgs[strings.ToLower(c.r.PathValue("name"))]
	if org == nil {
		return answer{}, notFound()
	}
	return ok(c.s.orgFullJSON(org))
}

func (c *call) listMembers() (answer, error) {
	return ok(each(paginate(c, people(c.org.members)), c.s.userJSON))
}

func (c *call) getMember() (answer, error) {
	u, err := c.s.user(c.r.PathValue("user"))
	if err != nil || c.org.members[u.ID] == nil {
		return answer{}, failure(http.StatusNotFound, "Not Found")
	}
	return empty()
}

func people(byID map[int64]*User) []*User {
	list := make([]*User, 0, len(byID))
	for _, u := range byID {
		list = append(list, u)
	}
	sortBy(list, func(u *User) int64 { return u.ID })
	return list
}

func (c *call) team() (*Team, error) {
	t := c.org.teams[c.r.PathValue("slug")]
	if t == nil {
		return nil, notFound()
	}
	return t, nil
}

func (c *call) listTeams() (answer, error) {
	var list []*Team
	for _, t := range c.org.teams {
		list = append(list, t)
	}
	sortBy(list, func(t *Team) int64 { return t.ID })
	return ok(each(paginate(c, list), func(t *Team) object { return c.s.teamJSON(c.org, t, true) }))
}

func (c *call) getTeam() (answer, error) {
	t, err := c.team()
	if err != nil {
		return answer{}, err
	}
	o := c.s.teamJSON(c.org, t, true)
	o["members_count"], o["repos_count"] = len(c.org.activeMembers(c.s, t)), 0
	o["created_at"], o["updated_at"] = stamp(t.created), stamp(t.created)
	o["organization"] = c.s.orgFullJSON(c.org)
	return ok(o)
}

func (c *call) childTeams() (answer, error) {
	t, err := c.team()
	if err != nil {
		return answer{}, err
	}
	return ok(each(paginate(c, c.org.children(t)), func(t *Team) object { return c.s.teamJSON(c.org, t, true) }))
}

func (o *Org) children(parent *Team) []*Team {
	var list []*Team
	for _, t := range o.teams {
		if t.parent == parent.Slug {
			list = append(list, t)
		}
	}
	sortBy(list, func(t *Team) int64 { return t.ID })
	return list
}

// activeMembers lists the members of a team and of all teams below it, as
// GitHub does; invitations that wait for an answer are left out.
func (o *Org) activeMembers(s *Server, t *Team) []*User {
	found := map[int64]*User{}
	seen := map[string]bool{}
	var visit func(*Team)
	visit = func(t *Team) {
		if seen[t.Slug] {
			return
		}
		seen[t.Slug] = true
		for id, state := range t.states {
			if u := o.members[id]; u != nil && state == "active" {
				found[id] = u
			}
		}
		for _, child := range o.children(t) {
			visit(child)
		}
	}
	visit(t)
	return people(found)
}

func (c *call) teamMembers() (answer, error) {
	t, err := c.team()
	if err != nil {
		return answer{}, err
	}
	return ok(each(paginate(c, c.org.activeMembers(c.s, t)), c.s.userJSON))
}

// teamMembership answers 200 for a pending invitation too: "state" is what
// must be looked at. Membership by a child team counts.
func (c *call) teamMembership() (answer, error) {
	t, err := c.team()
	if err != nil {
		return answer{}, err
	}
	u, err := c.s.user(c.r.PathValue("user"))
	if err != nil {
		return answer{}, notFound()
	}
	state := t.states[u.ID]
	if state == "active" && c.org.members[u.ID] == nil {
		state = ""
	}
	if slices.Contains(c.org.activeMembers(c.s, t), u) {
		state = "active"
	}
	if state == "" {
		return answer{}, notFound()
	}
	return ok(object{
		"state": state, "role": "member",
		"url": c.s.url + "/organizations/" + c.org.account.Login + "/team/" + t.Slug + "/memberships/" + u.Login,
	})
}

func (s *Server) orgJSON(o *Org) object {
	api := s.url + "/orgs/" + o.account.Login
	return object{
		"login": o.account.Login, "id": o.account.ID, "node_id": nodeID("Organization", o.account.ID), "url": api,
		"repos_url": api + "/repos", "events_url": api + "/events", "hooks_url": api + "/hooks", "issues_url": api + "/issues",
		"members_url": api + "/members{/member}", "public_members_url": api + "/public_members{/member}",
		"avatar_url": s.url + "/avatars/o/" + o.account.Login, "description": "",
	}
}

func (s *Server) orgFullJSON(org *Org) object {
	o := s.orgJSON(org)
	for k, v := range (object{
		"html_url": s.url + "/" + org.account.Login, "has_organization_projects": false, "has_repository_projects": false,
		"public_repos": 0, "public_gists": 0, "followers": 0, "following": 0, "type": "Organization",
		"created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z", "archived_at": nil,
	}) {
		o[k] = v
	}
	return o
}

func (s *Server) teamJSON(org *Org, t *Team, withParent bool) object {
	api := s.url + "/orgs/" + org.account.Login + "/teams/" + t.Slug
	o := object{
		"id": t.ID, "node_id": nodeID("Team", t.ID), "name": t.Slug, "slug": t.Slug, "description": nil,
		"privacy": "closed", "notification_setting": "notifications_enabled", "permission": "pull", "type": "organization",
		"url": api, "members_url": api + "/members{/member}", "repositories_url": api + "/repos",
		"html_url": s.url + "/orgs/" + org.account.Login + "/teams/" + t.Slug,
	}
	if withParent {
		o["parent"] = nil
		if parent := org.teams[t.parent]; parent != nil {
			o["parent"] = s.teamJSON(org, parent, false)
		}
	}
	return o
}
