package vault

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

const kvDefaultMaxVersions = 10

type kvStore struct {
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
}

// kvVersion never changes its data once written, so answers may share it.
type kvVersion struct {
	data      map[string]any
	created   time.Time
	deleted   time.Time // zero while it lives
	destroyed bool
}

func (v *kvVersion) readable() bool { return !v.destroyed && v.deleted.IsZero() }

func kvRoutes() []route {
	return []route{
		{pattern: "config", upsert: true, ops: ops{opRead: (*Server).readKVConfig, opUpdate: (*Server).writeKVConfig}},
		{pattern: "data/{path...}", exists: kvExists, ops: ops{opRead: (*Server).readKV, opUpdate: (*Server).writeKV, opDelete: (*Server).deleteKV}},
		{pattern: "delete/{path...}", ops: ops{opUpdate: (*Server).deleteKVVersions}},
		{pattern: "undelete/{path...}", ops: ops{opUpdate: (*Server).undeleteKVVersions}},
		{pattern: "destroy/{path...}", ops: ops{opUpdate: (*Server).destroyKVVersions}},
		{pattern: "metadata/{path...}", upsert: true, ops: ops{opRead: (*Server).readKVMetadata, opUpdate: (*Server).writeKVMetadata, opDelete: (*Server).deleteKVMetadata, opList: (*Server).listKV}},
	}
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
	if path == "" {
		return nil, coreError(404, "unsupported path")
	}
	options := r.in.sub("options")
	sec := st.secrets[path]
	if !r.in.has("data") {
		return nil, badRequest("no data provided")
	}
	data := r.in.sub("data").m
	cas := options.number("cas")
	for _, f := range []*fields{r.in, options} {
		if f.err != nil {
			return nil, f.err
		}
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
	sec.append(&kvVersion{data: data, created: now}, st.maxVersions)
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
		}
	}
	sec.oldest = slices.Min(slices.Collect(maps.Keys(sec.versions)))
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
	v.deleted = s.clock.Now()
	s.emit(Event{Kind: KVDeleted, Path: r.mount.path + r.vars["path"], Version: number, Accessor: r.token.accessor, Reason: "deleted"})
}

func (s *Server) deleteKVVersions(r *request) (*response, error) {
	return s.eachKVVersion(r, func(sec *kvSecret, n int) { s.softDelete(r, sec, n) })
}

func (s *Server) undeleteKVVersions(r *request) (*response, error) {
	return s.eachKVVersion(r, func(sec *kvSecret, n int) {
		if v := sec.versions[n]; v != nil {
			v.deleted = time.Time{}
		}
	})
}

func (s *Server) destroyKVVersions(r *request) (*response, error) {
	return s.eachKVVersion(r, func(sec *kvSecret, n int) {
		if v := sec.versions[n]; v != nil {
			sec.versions[n] = &kvVersion{created: v.created, deleted: v.deleted, destroyed: true}
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
	for _, raw := range numbers {
		number, ok := raw.(json.Number)
		if !ok {
			return nil, badRequest("versions must be numbers")
		}
		n, err := strconv.Atoi(number.String())
		if err != nil {
			return nil, badRequest("versions must be numbers")
		}
		if sec != nil {
			f(sec, n)
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
		versions[strconv.Itoa(n)] = d
	}
	d := map[string]any{
		"cas_required": sec.casRequired, "created_time": stamp(sec.created), "updated_time": stamp(sec.updated),
		"current_version": sec.current, "oldest_version": sec.oldest, "max_versions": sec.maxVersions,
		"delete_version_after": "0s", "custom_metadata": nil, "versions": versions,
	}
	if sec.custom != nil {
		d["custom_metadata"] = sec.custom
	}
	return &response{data: d}, nil
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
