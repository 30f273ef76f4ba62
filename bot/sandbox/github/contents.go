package github

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	gitobject "github.com/go-git/go-git/v5/plumbing/object"
)

func (c *call) getRepo() (answer, error) {
	o := c.s.repoJSON(c.repo)
	level := rank(c.s.level(c.who.user, c.repo))
	o["permissions"] = object{"admin": level >= 3, "maintain": level >= 3, "push": level >= 2, "triage": level >= 2, "pull": true}
	o["network_count"], o["subscribers_count"] = 0, 0 // what is embedded elsewhere has not these two
	return ok(o)
}

func (c *call) refJSON(name plumbing.ReferenceName, h plumbing.Hash) object {
	kind := "commit"
	if _, err := gitobject.GetTag(c.repo.git.store, h); err == nil {
		kind = "tag"
	}
	return object{
		"ref": name.String(), "node_id": nodeID("Ref", c.repo.id) + encode64([]byte(name)),
		"url": c.s.repoAPI(c.repo) + "/git/" + name.String(),
		"object": object{
			"type": kind, "sha": h.String(),
			"url": fmt.Sprintf("%s/git/%ss/%s", c.s.repoAPI(c.repo), kind, h),
		},
	}
}

func (c *call) refName() plumbing.ReferenceName {
	return plumbing.ReferenceName("refs/" + c.r.PathValue("ref"))
}

func (c *call) getRef() (answer, error) {
	h, found := c.repo.refs[c.refName()]
	if !found {
		return answer{}, notFound()
	}
	return ok(c.refJSON(c.refName(), h))
}

// matchingRefs lists the refs that begin with the given name.
func (c *call) matchingRefs() (answer, error) {
	list := []any{}
	for _, name := range c.repo.refNames() {
		if strings.HasPrefix(name.String(), c.refName().String()) {
			list = append(list, c.refJSON(name, c.repo.refs[name]))
		}
	}
	return ok(paginate(c, list))
}

// refFailure puts the refusal of a ref change in the words of the REST API.
func refFailure(err error) error {
	var rule ruleViolation
	message := err.Error()
	switch {
	case errors.As(err, &rule):
		message = "Repository rule violations found\n\n" + string(rule) + "\n\n"
	case errors.Is(err, errNotFastForward):
		message = "Update is not a fast forward"
	case strings.HasPrefix(message, "missing necessary"):
		message = "Object does not exist"
	default:
		message = strings.ToUpper(message[:1]) + message[1:]
	}
	return failure(http.StatusUnprocessableEntity, message)
}

func (c *call) createRef() (answer, error) {
	var in struct{ Ref, SHA string }
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	u := refUpdate{name: plumbing.ReferenceName(in.Ref), new: plumbing.NewHash(in.SHA)}
	if err := c.s.changeRef(c.repo, c.who, u); err != nil {
		return answer{}, refFailure(err)
	}
	return created(c.refJSON(u.name, u.new))
}

func (c *call) updateRef() (answer, error) {
	var in struct {
		SHA   string
		Force bool
	}
	if err := c.decode(&in); err != nil {
		return answer{}, err
	}
	current, found := c.repo.refs[c.refName()]
	if !found {
		return answer{}, failure(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	u := refUpdate{name: c.refName(), old: current, new: plumbing.NewHash(in.SHA), force: in.Force}
	if u.new != current {
		if err := c.s.changeRef(c.repo, c.who, u); err != nil {
			return answer{}, refFailure(err)
		}
	}
	return ok(c.refJSON(u.name, u.new))
}

func (c *call) deleteRef() (answer, error) {
	current, found := c.repo.refs[c.refName()]
	if !found {
		return answer{}, failure(http.StatusUnprocessableEntity, "Reference does not exist")
	}
	if err := c.s.changeRef(c.repo, c.who, refUpdate{name: c.refName(), old: current}); err != nil {
		return answer{}, refFailure(err)
	}
	return empty()
}

// commits serves /commits/{ref} and /commits/{ref}/check-runs: a ref may have
// slashes of its own, so the path cannot tell them apart.
func (c *call) commits() (answer, error) {
	rest := c.r.PathValue("rest")
	if ref, is := strings.CutSuffix(rest, "/check-runs"); is {
		return c.listChecks(ref)
	}
	h, found := c.repo.resolve(rest)
	if !found {
		return answer{}, failure(http.StatusUnprocessableEntity, "No commit found for SHA: "+rest)
	}
	o, err := c.s.commitJSON(c.repo, h)
	if err != nil {
		return answer{}, err
	}
	n, err := c.repo.git.node(h)
	if err != nil {
		return answer{}, err
	}
	var before plumbing.Hash
	if len(n.parents) > 0 {
		parent, err := c.repo.git.node(n.parents[0])
		if err != nil {
			return answer{}, err
		}
		before = parent.tree
	}
	changes, err := c.repo.git.diff(before, n.tree)
	if err != nil {
		return answer{}, err
	}
	deleted, added := 0, 0
	for _, ch := range changes {
		d, a := c.repo.git.lines(ch)
		deleted, added = deleted+d, added+a
	}
	o["stats"] = object{"additions": added, "deletions": deleted, "total": added + deleted}
	o["files"] = each(changes, func(ch change) object { return c.fileJSON(&pull{headSHA: h}, ch) })
	return ok(o)
}

// listCommits is the log of a branch, newest first.
func (c *call) listCommits() (answer, error) {
	ref := c.r.URL.Query().Get("sha")
	if ref == "" {
		ref = c.repo.defaultBranch
	}
	tip, found := c.repo.resolve(ref)
	if !found {
		return answer{}, notFound()
	}
	nodes, err := c.repo.git.between(plumbing.ZeroHash, tip)
	if err != nil {
		return answer{}, err
	}
	newest := make([]*node, 0, len(nodes))
	for i := len(nodes) - 1; i >= 0; i-- {
		newest = append(newest, nodes[i])
	}
	list := []any{}
	for _, n := range paginate(c, newest) {
		o, err := c.s.commitJSON(c.repo, n.hash)
		if err != nil {
			return answer{}, err
		}
		list = append(list, o)
	}
	return ok(list)
}

func (c *call) getBranch() (answer, error) {
	name := c.r.PathValue("branch")
	h, found := c.repo.refs[branchRef(name)]
	if !found {
		return answer{}, failure(http.StatusNotFound, "Branch not found")
	}
	o, err := c.s.commitJSON(c.repo, h)
	if err != nil {
		return answer{}, err
	}
	self := c.s.repoAPI(c.repo) + "/branches/" + url.PathEscape(name)
	protected := c.repo.rules != nil && (name == c.repo.defaultBranch || strings.HasPrefix(name, "grant/"))
	return ok(object{
		"name": name, "commit": o, "protected": protected, "protection_url": self + "/protection",
		"protection": object{"enabled": protected, "required_status_checks": object{"enforcement_level": "off", "contexts": []any{}, "checks": []any{}}},
		"_links":     object{"self": self, "html": c.s.url + "/" + c.repo.fullName() + "/tree/" + name},
	})
}

// getContents answers a file, or the list of a directory, at a ref.
func (c *call) getContents() (answer, error) {
	ref := c.r.URL.Query().Get("ref")
	if ref == "" {
		ref = c.repo.defaultBranch
	}
	h, found := c.repo.resolve(ref)
	if !found {
		return answer{}, failure(http.StatusNotFound, "No commit found for the ref "+ref)
	}
	n, err := c.repo.git.node(h)
	if err != nil {
		return answer{}, err
	}
	name := strings.Trim(c.r.PathValue("path"), "/")
	entry, err := c.entryAt(n.tree, name)
	if err != nil {
		return answer{}, err
	}
	if entry.Mode != filemode.Dir {
		o, err := c.contentJSON(name, ref, entry, true)
		if err != nil {
			return answer{}, err
		}
		return ok(o)
	}
	entries, err := c.repo.git.entries(entry.Hash)
	if err != nil {
		return answer{}, err
	}
	list := []any{}
	for _, e := range entries {
		o, err := c.contentJSON(path.Join(name, e.Name), ref, e, false)
		if err != nil {
			return answer{}, err
		}
		list = append(list, o)
	}
	return ok(list)
}

// entryAt returns what has a name in a tree; the empty name is the tree's own.
func (c *call) entryAt(tree plumbing.Hash, name string) (gitobject.TreeEntry, error) {
	entry := gitobject.TreeEntry{Mode: filemode.Dir, Hash: tree}
	for _, part := range strings.FieldsFunc(name, func(r rune) bool { return r == '/' }) {
		if entry.Mode != filemode.Dir {
			return entry, notFound()
		}
		entries, err := c.repo.git.entries(entry.Hash)
		if err != nil {
			return entry, err
		}
		next, found := byName(entries)[part]
		if !found {
			return entry, notFound()
		}
		entry = next
	}
	return entry, nil
}

func (c *call) contentJSON(name, ref string, e gitobject.TreeEntry, whole bool) (object, error) {
	kinds := map[filemode.FileMode]string{filemode.Dir: "dir", filemode.Symlink: "symlink", filemode.Submodule: "submodule"}
	kind := kinds[e.Mode]
	if kind == "" {
		kind = "file"
	}
	html := fmt.Sprintf("%s/%s/blob/%s/%s", c.s.url, c.repo.fullName(), ref, name)
	self := fmt.Sprintf("%s/contents/%s?ref=%s", c.s.repoAPI(c.repo), name, url.QueryEscape(ref))
	blob := c.s.repoAPI(c.repo) + "/git/blobs/" + e.Hash.String()
	o := object{
		"type": kind, "name": path.Base(name), "path": name, "sha": e.Hash.String(), "size": 0,
		"url": self, "html_url": html, "git_url": blob, "download_url": html + "?raw=true",
		"_links": object{"self": self, "git": blob, "html": html},
	}
	if kind == "file" || kind == "symlink" {
		content, err := c.repo.git.blob(e.Hash)
		if err != nil {
			return nil, err
		}
		o["size"] = len(content)
		if whole {
			o["encoding"], o["content"] = "base64", encode64(content)
		}
	}
	return o, nil
}
