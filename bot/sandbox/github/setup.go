package github

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
)

// AddUser adds a person, or returns the one of that login and id. Adding a
// login again with another id is what a renamed and re-registered account
// looks like: the login is the new person's from then on.
func (s *Server) AddUser(login string, id int64) *User {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addUser(login, id, "User")
}

// RenameUser gives an account another login; its id stays. The old login is
// free for anybody to register.
func (s *Server) RenameUser(login, to string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.user(login)
	if err != nil {
		return err
	}
	if other := s.users[strings.ToLower(to)]; other != nil && other != u {
		return fmt.Errorf("rename %s: login %s is taken", login, to)
	}
	delete(s.users, strings.ToLower(login))
	u.Login = to
	s.users[strings.ToLower(to)] = u
	return nil
}

func (s *Server) addUser(login string, id int64, kind string) *User {
	if u, ok := s.users[strings.ToLower(login)]; ok && u.ID == id {
		return u
	}
	u := &User{Login: login, ID: id, Type: kind, Name: login, Email: fmt.Sprintf("%d+%s@users.noreply.github.com", id, login)}
	s.users[strings.ToLower(login)] = u
	return u
}

// AddOrg adds an organisation, or returns the one of that login.
func (s *Server) AddOrg(login string) *Org {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addOrg(login)
}

func (s *Server) addOrg(login string) *Org {
	if o := s.live.orgs[strings.ToLower(login)]; o != nil {
		return o
	}
	o := &Org{account: s.addUser(login, s.nextID(), "Organization"), members: map[int64]*User{}, teams: map[string]*Team{}}
	s.live.orgs[strings.ToLower(login)] = o
	return o
}

// AddMember makes people members of the organisation.
func (s *Server) AddMember(org string, logins ...string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.addOrg(org)
	for _, login := range logins {
		u, err := s.user(login)
		if err != nil {
			return fmt.Errorf("add to organisation %s: %w", org, err)
		}
		if o.members[u.ID] == nil {
			o.members[u.ID] = u
			s.emitMember(o, u, "member_added")
		}
	}
	return nil
}

// RemoveMember takes somebody out of the organisation and all of its teams.
// Webhooks tell of each team first and of the organisation last.
func (s *Server) RemoveMember(org, login string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	u, err := s.user(login)
	if err != nil {
		return fmt.Errorf("remove from organisation %s: %w", org, err)
	}
	o := s.addOrg(org)
	if o.members[u.ID] == nil {
		return nil
	}
	for _, t := range slices.SortedFunc(maps.Values(o.teams), func(a, b *Team) int { return cmp.Compare(a.ID, b.ID) }) {
		if t.states[u.ID] == "active" {
			s.emitMembership(o, t, u, "removed")
		}
		delete(t.states, u.ID)
	}
	delete(o.members, u.ID)
	s.emitMember(o, u, "member_removed")
	return nil
}

// AddTeam adds a team, and its members to it and to the organisation. A team
// of the same slug is replaced: with another id, that is a slug that somebody
// has taken over.
func (s *Server) AddTeam(org, slug string, id int64, members ...string) (*Team, error) {
	s.mu.Lock()
	o := s.addOrg(org)
	t := &Team{ID: id, Slug: slug, org: o.account, states: map[int64]string{}, created: s.now()}
	o.teams[slug] = t
	s.emitTeam(o, t, "created")
	s.mu.Unlock()
	return t, s.SetTeamMembers(org, slug, members...)
}

// SetTeamMembers makes exactly these people the team's active members.
func (s *Server) SetTeamMembers(org, slug string, members ...string) error {
	return s.changeTeam(org, slug, members, "active", true)
}

// InviteToTeam gives people a pending membership: the API answers 200 for
// them, and they are not members.
func (s *Server) InviteToTeam(org, slug string, logins ...string) error {
	return s.changeTeam(org, slug, logins, "pending", false)
}

func (s *Server) changeTeam(org, slug string, logins []string, state string, replace bool) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.addOrg(org)
	t := o.teams[slug]
	if t == nil {
		return fmt.Errorf("team %s/%s does not exist", org, slug)
	}
	states := map[int64]string{}
	if !replace {
		states = maps.Clone(t.states)
	}
	for _, login := range logins {
		u, err := s.user(login)
		if err != nil {
			return fmt.Errorf("team %s/%s: %w", org, slug, err)
		}
		states[u.ID] = state
		if state == "active" {
			o.members[u.ID] = u
		}
	}
	before := t.states
	t.states = states
	for _, u := range people(o.members) {
		switch was, is := before[u.ID] == "active", states[u.ID] == "active"; {
		case was && !is:
			s.emitMembership(o, t, u, "removed")
		case is && !was:
			s.emitMembership(o, t, u, "added")
		}
	}
	return nil
}

// SetParentTeam makes child a team below parent; an empty parent takes it out.
func (s *Server) SetParentTeam(org, child, parent string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.addOrg(org)
	if o.teams[child] == nil || parent != "" && o.teams[parent] == nil {
		return fmt.Errorf("team %s or %s of %s does not exist", child, parent, org)
	}
	o.teams[child].parent = parent
	return nil
}

// RemoveTeam deletes a team.
func (s *Server) RemoveTeam(org, slug string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o := s.addOrg(org)
	if t := o.teams[slug]; t != nil {
		s.emitTeam(o, t, "deleted")
	}
	delete(o.teams, slug)
}

// AddRepo adds an empty, private repository of an organisation or a person.
func (s *Server) AddRepo(owner, name, defaultBranch string) (*Repo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	account, err := s.user(owner)
	if err != nil {
		return nil, fmt.Errorf("add repository %s: %w", name, err)
	}
	r := &Repo{
		id: s.nextID(), owner: account, name: name, defaultBranch: defaultBranch,
		created: s.now(), pushed: s.now(), git: newObjects(),
		refs: map[plumbing.ReferenceName]plumbing.Hash{}, grants: map[int64]string{},
	}
	s.live.repos[repoKey(owner, name)] = r
	return r, nil
}

// Fork makes a fork of repo ("owner/name") under login, with the same name
// and branches; login owns it. Its branches can be offered to repo in pull
// requests as "login:branch".
func (s *Server) Fork(repo, login string) (*Repo, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	parent, err := s.live.repo(repo)
	if err != nil {
		return nil, err
	}
	account, err := s.user(login)
	if err != nil {
		return nil, fmt.Errorf("fork %s: %w", repo, err)
	}
	f := &Repo{
		id: s.nextID(), owner: account, name: parent.name, defaultBranch: parent.defaultBranch, public: parent.public,
		fork: true, created: s.now(), pushed: s.now(), git: parent.git,
		refs: map[plumbing.ReferenceName]plumbing.Hash{}, grants: map[int64]string{},
	}
	for name, h := range parent.refs {
		if name.IsBranch() {
			f.refs[name] = h
		}
	}
	s.live.repos[repoKey(login, parent.name)] = f
	return f, nil
}

// SetPublic makes a repository readable by anybody, without an account too,
// or takes that back.
func (s *Server) SetPublic(repo string, public bool) error {
	return s.withRepo(repo, func(r *Repo) error {
		r.public = public
		return nil
	})
}

// Grant gives people a level ("read", "write" or "admin") on a repository; an
// empty level takes it away.
func (s *Server) Grant(repo, level string, logins ...string) error {
	return s.withRepo(repo, func(r *Repo) error {
		for _, login := range logins {
			u, err := s.user(login)
			if err != nil {
				return fmt.Errorf("grant %s on %s: %w", level, repo, err)
			}
			r.grants[u.ID] = level
		}
		return nil
	})
}

// Protect switches the branch rules of the product on: nobody may force-push
// or delete the default branch; only app may push to it directly; only app
// may touch refs/heads/grant/**; merging into the default branch needs the
// check run tac/policy, by app, to have passed.
func (s *Server) Protect(repo string, app *App) error {
	return s.withRepo(repo, func(r *Repo) error {
		r.rules = &rules{app: app, bypass: map[int64]bool{}}
		return nil
	})
}

// Unprotect switches the branch rules off.
func (s *Server) Unprotect(repo string) error {
	return s.withRepo(repo, func(r *Repo) error {
		r.rules = nil
		return nil
	})
}

// AllowBypass lets people push straight to the protected default branch, as
// an administrator could who put themselves on the bypass list.
func (s *Server) AllowBypass(repo string, logins ...string) error {
	return s.withRepo(repo, func(r *Repo) error {
		if r.rules == nil {
			return fmt.Errorf("repository %s is not protected", repo)
		}
		for _, login := range logins {
			u, err := s.user(login)
			if err != nil {
				return fmt.Errorf("bypass on %s: %w", repo, err)
			}
			r.rules.bypass[u.ID] = true
		}
		return nil
	})
}

func (s *Server) withRepo(repo string, f func(*Repo) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.live.repo(repo)
	if err != nil {
		return err
	}
	return f(r)
}

func (r *Repo) refNames() []plumbing.ReferenceName {
	names := make([]plumbing.ReferenceName, 0, len(r.refs))
	for name := range r.refs {
		names = append(names, name)
	}
	sort.Slice(names, func(i, j int) bool { return names[i] < names[j] })
	return names
}
