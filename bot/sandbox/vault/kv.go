package vault

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const kvDefaultMaxVersions = 10

type kvStore struct {
	upgrading   int // how many calls are still refused; see SlowMounts
	casRequired bool
	maxVersions int
	secrets     map[string]*kvSecret
}

type kvSecret struct {
	versions    map[int]*kvVersion
	current     int
	oldest      int
	created     time.Time
	updated     time.Time
	casRequired bool
	maxVersions int
	custom      map[string]string
	updatedBy   map[string]any // see attribution
}

// kvVersion never changes its data once written, so answers may share it.
type kvVersion struct {
	data      map[string]any
	created   time.Time
	deleted   time.Time // zero while it lives
	destroyed bool
	createdBy map[string]any
	deletedBy map[string]any
}

func (v *kvVersion) readable() bool { return !v.destroyed && v.deleted.IsZero() }

func kvRoutes() []route {
	return []route{
		{pattern: "config", ops: ops{opRead: (*Server).readKVConfig, opUpdate: (*Server).writeKVConfig}},
		{pattern: "data/{path...}", exists: kvExists, ops: ops{opRead: (*Server).readKV, opUpdate: (*Server).writeKV, opDelete: (*Server).deleteKV}},
		{pattern: "delete/{path...}", ops: ops{opUpdate: (*Server).deleteKVVersions}},
		{pattern: "undelete/{path...}", ops: ops{opUpdate: (*Server).undeleteKVVersions}},
		{pattern: "destroy/{path...}", ops: ops{opUpdate: (*Server).destroyKVVersions}},
		{pattern: "metadata/{path...}", exists: kvExists, ops: ops{opRead: (*Server).readKVMetadata, opUpdate: (*Server).writeKVMetadata, opDelete: (*Server).deleteKVMetadata, opList: (*Server).listKV}},
	}
}

// kvRefusal is what a path answers that is none of version 2's, or nil. The
// texts are those that tell people that they use the paths of version 1.
func kvRefusal(rt *route, r *request) *response {
	const wrong = "Invalid path for a versioned K/V secrets engine. See the API docs for the appropriate API endpoints to use. If using the Vault CLI, use 'vault kv %s' for this operation."
	root := rt != nil && strings.HasPrefix(rt.pattern, "data/") && r.vars["path"] == "" && !strings.HasSuffix(r.path, "/")
	verb := map[operation]string{opRead: "get", opList: "list", opUpdate: "put", opDelete: "delete"}[r.op]
	switch {
	case root && r.op != opList:
		return &response{status: 404, warnings: []string{"Non-listing operations on the root of a K/V v2 mount are not supported."}}
	case rt == nil, r.op == opList && rt.ops[opList] == nil, strings.HasSuffix(r.path, "/") && r.op == opRead:
		return &response{status: 404, warnings: []string{fmt.Sprintf(wrong, verb)}}
	}
	return nil
}

var errUpgrading = badRequest("Upgrading from non-versioned to versioned data. This backend will be unavailable for a brief period and will resume service shortly.")

// attribution is who did what to a version.
func attribution(t *token, operation string) map[string]any {
	// The real one counts a token without an entity by its policies.
	sum := sha256.Sum256([]byte(strings.Join(t.policies, "\x7f")))
	by := map[string]any{"actor": t.displayName, "client_id": base64.StdEncoding.EncodeToString(sum[:]), "operation": operation}
	if t.entity != "" {
		by["client_id"], by["entity_id"] = t.entity, t.entity
	}
	return by
}

func kvExists(_ *Server, r *request) bool {
	return r.mount.kv.secrets[r.vars["path"]] != nil
}

func (s *Server) readKVConfig(r *request) (*response, error) {
	st := r.mount.kv
	return &response{data: map[string]any{"cas_required": st.casRequired, "max_versions": st.maxVersions, "delete_version_after": "0s"}}, nil
}

func (s *Server) writeKVConfig(r *request) (*response, error) {
	st := *r.mount.kv
	st.casRequired = r.in.flag("cas_required", st.casRequired)
	if r.in.has("max_versions") {
		st.maxVersions = r.in.number("max_versions")
	}
	if r.in.err != nil {
		return nil, r.in.err
	}
	r.mount.kv = &st
	return nil, nil
}

func (s *Server) readKV(r *request) (*response, error) {
	sec := r.mount.kv.secrets[r.vars["path"]]
	number := r.in.number("version")
	if r.in.err != nil {
		return nil, r.in.err
	}
	if sec == nil || sec.current == 0 {
		return nil, notFound()
	}
	if number == 0 {
		number = sec.current
	}
	v := sec.versions[number]
	if v == nil {
		return nil, notFound()
	}
	resp := &response{data: map[string]any{"data": v.data, "metadata": sec.describe(number)}}
	if !v.readable() {
		resp.data["data"], resp.status = nil, 404
	}
	return resp, nil
}

func (sec *kvSecret) describe(number int) map[string]any {
	v := sec.versions[number]
	deletion := ""
	if !v.deleted.IsZero() {
		deletion = stamp(v.deleted)
	}
	m := map[string]any{
		"created_time": stamp(v.created), "deletion_time": deletion, "destroyed": v.destroyed,
		"version": number, "custom_metadata": nil,
	}
	if sec.custom != nil {
		m["custom_metadata"] = sec.custom
	}
	return m
}

func (s *Server) writeKV(r *request) (*response, error) {
	path, st := r.vars["path"], r.mount.kv
	if strings.HasSuffix(r.path, "/") {
		return nil, badRequest("cannot write to a path ending in '/'")
	}
	options := r.in.sub("options")
	sec := st.secrets[path]
	if _, given := r.in.m["data"]; !given && r.in.err == nil {
		return nil, badRequest("no data provided")
	}
	data := plainNumbers(r.in.sub("data").m).(map[string]any)
	if r.in.err != nil {
		return nil, r.in.err
	}
	cas := options.number("cas")
	if options.err != nil {
		return nil, badRequest("error parsing check-and-set parameter")
	}
	current := 0
	if sec != nil {
		current = sec.current
	}
	switch {
	case options.has("cas") && cas != current:
		return nil, badRequest("check-and-set parameter did not match the current version")
	case !options.has("cas") && (st.casRequired || sec != nil && sec.casRequired):
		return nil, badRequest("check-and-set parameter required for this call")
	}
	now := s.clock.Now()
	if sec == nil {
		sec = &kvSecret{versions: map[int]*kvVersion{}, created: now}
		st.secrets[path] = sec
	}
	operation := "update"
	if current == 0 {
		operation = "create"
	}
	by := attribution(r.token, operation)
	sec.updatedBy = by
	sec.append(&kvVersion{data: data, created: now, createdBy: by}, st.maxVersions)
	s.emit(Event{Kind: KVWritten, Path: r.mount.path + path, Version: sec.current, Data: data, Accessor: r.token.accessor})
	return &response{data: sec.describe(sec.current)}, nil
}

func (sec *kvSecret) append(v *kvVersion, mountMax int) {
	sec.current++
	sec.updated = v.created
	sec.versions[sec.current] = v
	keep := kvDefaultMaxVersions
	if mountMax > 0 {
		keep = mountMax
	}
	if sec.maxVersions > 0 {
		keep = sec.maxVersions
	}
	for n := range sec.versions {
		if n <= sec.current-keep {
			delete(sec.versions, n)
			sec.oldest = sec.current - keep + 1 // 0 until something was dropped
		}
	}
}

// plainNumbers writes numbers as the real one's storage gives them back:
// those that are not whole have gone through a float64.
func plainNumbers(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k := range v {
			v[k] = plainNumbers(v[k])
		}
	case []any:
		for i := range v {
			v[i] = plainNumbers(v[i])
		}
	case json.Number:
		if f, err := v.Float64(); err == nil {
			if text, err := json.Marshal(f); err == nil {
				return json.Number(text)
			}
		}
	}
	return v
}

// deleteKV is the soft delete of the current version: the record stays and
// keeps its number, so that cas=0 does not succeed afterwards.
func (s *Server) deleteKV(r *request) (*response, error) {
	if sec := r.mount.kv.secrets[r.vars["path"]]; sec != nil {
		s.softDelete(r, sec, sec.current)
	}
	return nil, nil
}

func (s *Server) softDelete(r *request, sec *kvSecret, number int) {
	v := sec.versions[number]
	if v == nil || !v.readable() {
		return
	}
	v.deleted, v.deletedBy = s.clock.Now(), attribution(r.token, string(r.op))
	sec.updatedBy = v.deletedBy
	s.emit(Event{Kind: KVDeleted, Path: r.mount.path + r.vars["path"], Version: number, Accessor: r.token.accessor, Reason: "deleted"})
}

func (s *Server) deleteKVVersions(r *request) (*response, error) {
	return s.eachKVVersion(r, func(sec *kvSecret, n int) {
		s.softDelete(r, sec, n)
		sec.updatedBy = attribution(r.token, string(r.op)) // also where nothing was left to delete
	})
}

func (s *Server) undeleteKVVersions(r *request) (*response, error) {
	return s.eachKVVersion(r, func(sec *kvSecret, n int) {
		if v := sec.versions[n]; v != nil && !v.destroyed {
			v.deleted, v.deletedBy = time.Time{}, nil
		}
		sec.updatedBy = attribution(r.token, "undelete")
	})
}

func (s *Server) destroyKVVersions(r *request) (*response, error) {
	return s.eachKVVersion(r, func(sec *kvSecret, n int) {
		if v := sec.versions[n]; v != nil {
			sec.versions[n] = &kvVersion{created: v.created, deleted: v.deleted, destroyed: true, createdBy: v.createdBy, deletedBy: v.deletedBy}
			s.emit(Event{Kind: KVDeleted, Path: r.mount.path + r.vars["path"], Version: n, Accessor: r.token.accessor, Reason: "destroyed"})
		}
	})
}

func (s *Server) eachKVVersion(r *request, f func(*kvSecret, int)) (*response, error) {
	numbers, ok := r.in.m["versions"].([]any)
	if !ok || len(numbers) == 0 {
		return nil, badRequest("No version number provided")
	}
	sec := r.mount.kv.secrets[r.vars["path"]]
	for i, raw := range numbers {
		n, err := strconv.ParseInt(fmt.Sprint(raw), 10, 64)
		if err != nil {
			r.in.wrong("versions", "1 error(s) decoding:\n\n* cannot parse '[%d]' as int: %s", i, err)
			return nil, r.in.err
		}
		if sec != nil {
			f(sec, int(n))
		}
	}
	return nil, nil
}

func (s *Server) readKVMetadata(r *request) (*response, error) {
	sec := r.mount.kv.secrets[r.vars["path"]]
	if sec == nil {
		return nil, notFound()
	}
	versions := map[string]any{}
	for n := range sec.versions {
		d := sec.describe(n)
		delete(d, "version")
		delete(d, "custom_metadata")
		d["created_by"], d["deleted_by"] = orNull(sec.versions[n].createdBy), orNull(sec.versions[n].deletedBy)
		versions[strconv.Itoa(n)] = d
	}
	d := map[string]any{
		"cas_required": sec.casRequired, "created_time": stamp(sec.created), "updated_time": stamp(sec.updated),
		"current_version": sec.current, "oldest_version": sec.oldest, "max_versions": sec.maxVersions,
		"delete_version_after": "0s", "custom_metadata": nil, "versions": versions, "last_updated_by": orNull(sec.updatedBy),
	}
	if sec.custom != nil {
		d["custom_metadata"] = sec.custom
	}
	return &response{data: d}, nil
}

// orNull keeps an absent map from being written as an empty one.
func orNull(m map[string]any) any {
	if m == nil {
		return nil
	}
	return m
}

func (s *Server) writeKVMetadata(r *request) (*response, error) {
	path := r.vars["path"]
	if path == "" {
		return nil, coreError(404, "unsupported path")
	}
	now := s.clock.Now()
	updated := kvSecret{versions: map[int]*kvVersion{}, created: now, updated: now}
	if sec := r.mount.kv.secrets[path]; sec != nil {
		updated = *sec
	}
	updated.casRequired = r.in.flag("cas_required", updated.casRequired)
	if r.in.has("max_versions") {
		updated.maxVersions = r.in.number("max_versions")
	}
	if r.in.has("custom_metadata") {
		updated.custom = r.in.textMap("custom_metadata")
	}
	if r.in.err != nil {
		return nil, r.in.err
	}
	r.mount.kv.secrets[path] = &updated
	return nil, nil
}

// deleteKVMetadata forgets that the record ever was: afterwards cas=0
// succeeds again. No policy of tac grants it.
func (s *Server) deleteKVMetadata(r *request) (*response, error) {
	path := r.vars["path"]
	if sec := r.mount.kv.secrets[path]; sec != nil {
		delete(r.mount.kv.secrets, path)
		s.emit(Event{Kind: KVDeleted, Path: r.mount.path + path, Version: sec.current, Accessor: r.token.accessor, Reason: "metadata deleted"})
	}
	return nil, nil
}

func (s *Server) listKV(r *request) (*response, error) {
	return listing(childrenOf(maps.Keys(r.mount.kv.secrets), r.vars["path"]))
}

// childrenOf lists what lies directly below a folder: names, and folders with
// a slash at their end.
func childrenOf(paths func(func(string) bool), folder string) []string {
	if folder != "" {
		folder += "/"
	}
	var out []string
	for p := range paths {
		rest, ok := strings.CutPrefix(p, folder)
		if !ok || rest == "" {
			continue
		}
		if name, _, nested := strings.Cut(rest, "/"); nested {
			rest = name + "/"
		}
		out = append(out, rest)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
