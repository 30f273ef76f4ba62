package githubpr

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/google/go-github/v60/github"

	"github.com/tigeraccess/tac/grants/world"
	"github.com/tigeraccess/tac/policies"
)

// Team returns a team's members by number, in rising order. Pending
// invitations are no members. A team that is not there, or that our App may
// not see, is an error that names it: unknown, never empty.
//
// GitHub's list of a team holds the members of its child teams too and does
// not tell which is which. Where child teams are not asked for, whoever is in
// one of them is therefore left out, even somebody who is in the team itself
// as well: the mistake must fall on the side of less access. Such a person
// can be named in the role directly. The list of a direct child holds all
// that is below it, so looking one level down is enough.
func (c *Client) Team(ctx context.Context, ref policies.TeamRef) (policies.Team, error) {
	doing := fmt.Sprintf("read team %s/%s", ref.Org, ref.Slug)
	if !isName(ref.Org) || !isName(ref.Slug) {
		return policies.Team{}, fmt.Errorf("%s: that is not the name of a team", doing)
	}
	ctx = withETag(ctx)
	at := c.cfg.Now()
	team, _, err := c.api.Teams.GetTeamBySlug(ctx, ref.Org, ref.Slug)
	if err != nil {
		failure := c.failed(doing, err)
		if answered(failure, 404) {
			return policies.Team{}, fmt.Errorf("%w: %w (or the App may not see it)", failure, world.ErrNotFound)
		}
		return policies.Team{}, failure
	}
	if team.GetID() <= 0 || !strings.EqualFold(team.GetSlug(), ref.Slug) {
		return policies.Team{}, fmt.Errorf("%s: the answer is about %q", doing, team.GetSlug())
	}
	members, err := c.teamMembers(ctx, ref.Org, ref.Slug)
	if err != nil {
		return policies.Team{}, fmt.Errorf("%s: %w", doing, err)
	}
	if !ref.IncludeChildTeams {
		if err := c.leaveOutChildren(ctx, ref, members); err != nil {
			return policies.Team{}, fmt.Errorf("%s: %w", doing, err)
		}
	}
	return policies.Team{
		ID: team.GetID(), Slug: team.GetSlug(), ReadAt: at,
		Members: slices.Sorted(maps.Keys(members)),
		Source:  "github:team:" + ref.Org + "/" + ref.Slug + "#" + strconv.FormatInt(team.GetID(), 10),
	}, nil
}

func (c *Client) teamMembers(ctx context.Context, org, slug string) (map[int64]bool, error) {
	listed, err := all(func(at github.ListOptions) ([]*github.User, *github.Response, error) {
		return c.api.Teams.ListTeamMembersBySlug(ctx, org, slug, &github.TeamListTeamMembersOptions{Role: "all", ListOptions: at})
	})
	if err != nil {
		return nil, c.failed("list the members of "+slug, err)
	}
	return idsOf(listed)
}

func (c *Client) leaveOutChildren(ctx context.Context, ref policies.TeamRef, members map[int64]bool) error {
	children, err := all(func(at github.ListOptions) ([]*github.Team, *github.Response, error) {
		return c.api.Teams.ListChildTeamsByParentSlug(ctx, ref.Org, ref.Slug, &at)
	})
	if err != nil {
		return c.failed("list the child teams of "+ref.Slug, err)
	}
	for _, child := range children {
		if !isName(child.GetSlug()) {
			return fmt.Errorf("a child team of %s has no name", ref.Slug)
		}
		below, err := c.teamMembers(ctx, ref.Org, child.GetSlug())
		if err != nil {
			return err
		}
		for id := range below {
			delete(members, id)
		}
	}
	return nil
}

// Members returns the numbers of the organisation's members; ok is false
// where the repository belongs to a person and not to an organisation.
func (c *Client) Members(ctx context.Context) (members map[int64]bool, ok bool, err error) {
	const doing = "list the organisation's members"
	at, err := c.installedOn(ctx)
	if err != nil {
		return nil, false, fmt.Errorf("%s: %w", doing, err)
	}
	if !at.organisation {
		return nil, false, nil
	}
	ctx = withETag(ctx)
	listed, err := all(func(at github.ListOptions) ([]*github.User, *github.Response, error) {
		return c.api.Organizations.ListMembers(ctx, c.cfg.Owner, &github.ListMembersOptions{Filter: "all", Role: "all", ListOptions: at})
	})
	if err != nil {
		return nil, false, c.failed(doing, err)
	}
	if members, err = idsOf(listed); err != nil {
		return nil, false, fmt.Errorf("%s: %w", doing, err)
	}
	if len(members) == 0 { // it has an owner at least
		return nil, false, errors.New(doing + ": the answer has none")
	}
	return members, true, nil
}

func idsOf(users []*github.User) (map[int64]bool, error) {
	ids := make(map[int64]bool, len(users))
	for _, u := range users {
		if u.GetID() <= 0 {
			return nil, errors.New("a member has no id")
		}
		ids[u.GetID()] = true
	}
	return ids, nil
}
