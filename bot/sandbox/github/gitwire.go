package github

import (
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	gitobject "github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/storage/memory"
)

// maxBody bounds what the server reads of one request.
const maxBody = 100 << 20

const (
	uploadPack  = "git-upload-pack"
	receivePack = "git-receive-pack"
)

type gitRequest struct {
	owner, name string
	service     string
	advertise   bool
}

// parseGitPath recognises the requests of the smart HTTP transport. They are
// told by how the path ends, since every path of the API that begins with an
// account ends otherwise.
func parseGitPath(r *http.Request) (gitRequest, bool) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/"), "/")
	if len(parts) < 3 {
		return gitRequest{}, false
	}
	g := gitRequest{owner: parts[0], name: strings.TrimSuffix(parts[1], ".git")}
	switch rest := strings.Join(parts[2:], "/"); {
	case rest == "info/refs" && r.Method == http.MethodGet:
		g.service, g.advertise = r.URL.Query().Get("service"), true
	case (rest == uploadPack || rest == receivePack) && r.Method == http.MethodPost:
		g.service = rest
	default:
		return gitRequest{}, false
	}
	return g, true
}

func (s *Server) serveGit(w http.ResponseWriter, r *http.Request, g gitRequest) {
	if g.service != uploadPack && g.service != receivePack {
		http.Error(w, "Please upgrade your git client.", http.StatusForbidden)
		return
	}
	body, err := gitBody(r)
	if err != nil {
		http.Error(w, "unreadable request", http.StatusBadRequest)
		return
	}
	out, fail := s.gitAnswer(r, g, body)
	if fail != nil {
		if fail.status == http.StatusUnauthorized {
			w.Header().Set("WWW-Authenticate", `Basic realm="GitHub"`)
		}
		http.Error(w, fail.message, fail.status)
		return
	}
	kind := "result"
	if g.advertise {
		kind = "advertisement"
	}
	w.Header().Set("Content-Type", "application/x-"+g.service+"-"+kind)
	w.Header().Set("Cache-Control", "no-cache, max-age=0, must-revalidate")
	_, _ = w.Write(out) // the client may already be gone
}

func gitBody(r *http.Request) ([]byte, error) {
	var in io.Reader = http.MaxBytesReader(nil, r.Body, maxBody)
	if r.Header.Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, err
		}
		in = io.LimitReader(z, maxBody)
	}
	return io.ReadAll(in)
}

func (s *Server) gitAnswer(r *http.Request, g gitRequest, body []byte) ([]byte, *apiError) {
	var push *incoming
	if g.service == receivePack && !g.advertise {
		var err error
		if push, err = parsePush(body); err != nil {
			return nil, failure(http.StatusBadRequest, err.Error())
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	repo, who, fail := s.gitAccess(r, g)
	if fail != nil {
		return nil, fail
	}
	var out []byte
	var err error
	switch {
	case g.advertise:
		out, err = repo.advertise(g.service)
	case push == nil && g.service == uploadPack:
		out, err = repo.upload(body)
	default:
		out, err = s.receive(repo, who, push)
	}
	if err != nil {
		return nil, failure(http.StatusInternalServerError, err.Error())
	}
	return out, nil
}

// gitAccess judges the credentials of a git request: a token as the password
// of HTTP Basic, with any user name, as on GitHub.
func (s *Server) gitAccess(r *http.Request, g gitRequest) (*Repo, actor, *apiError) {
	var who actor
	if name, password, ok := r.BasicAuth(); ok {
		found, err := s.actorOf(password)
		if err != nil && name != "" && password == "" {
			found, err = s.actorOf(name)
		}
		if err != nil {
			return nil, who, failure(http.StatusUnauthorized, "Invalid username or token.")
		}
		who = found
	}
	repo := s.live.repos[repoKey(g.owner, g.name)]
	writes := g.service == receivePack
	switch {
	case who.user == nil && (repo == nil || !repo.public || writes):
		return nil, who, failure(http.StatusUnauthorized, "Authentication required.")
	case repo == nil || !s.mayRepo(who, repo, "contents", "read"):
		return nil, who, failure(http.StatusNotFound, "Repository not found.")
	case writes && !s.mayRepo(who, repo, "contents", "write"):
		return nil, who, failure(http.StatusForbidden, "Write access to repository not granted.")
	}
	return repo, who, nil
}

func (r *Repo) advertise(service string) ([]byte, error) {
	adv := packp.NewAdvRefs()
	adv.Prefix = [][]byte{[]byte("# service=" + service), pktline.Flush}
	for name, hash := range r.refs {
		adv.References[name.String()] = hash
		if service == uploadPack {
			target, err := r.git.peel(hash, func(plumbing.Hash) {})
			if err != nil {
				return nil, err
			}
			if target != hash {
				adv.Peeled[name.String()] = target
			}
		}
	}
	caps := []capability.Capability{capability.OFSDelta, capability.NoProgress}
	if service == receivePack {
		caps = []capability.Capability{
			capability.ReportStatus, capability.DeleteRefs, capability.OFSDelta, capability.Atomic, "no-thin",
		}
	} else if head, ok := r.refs[r.defaultRef()]; ok {
		caps = append(caps, capability.MultiACKDetailed, capability.Shallow)
		adv.Head = &head
		if err := adv.Capabilities.Add(capability.SymRef, "HEAD:"+r.defaultRef().String()); err != nil {
			return nil, err
		}
	}
	for _, c := range caps {
		if err := adv.Capabilities.Set(c); err != nil {
			return nil, err
		}
	}
	if err := adv.Capabilities.Set(capability.Agent, "git/github-sandbox"); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err := adv.Encode(&out)
	return out.Bytes(), err
}

// fetch is a request of upload-pack.
type fetch struct {
	wants    []plumbing.Hash
	haves    []plumbing.Hash // of those the client named, the ones known here
	detailed bool            // the client speaks multi_ack_detailed
	done     bool            // the client has named all it has and wants the pack
	shallow  []plumbing.Hash // what the client has without its parents
	depth    int             // how many commits it wants of each line; 0: all that is new
	asks     bool            // it says more than what it wants, and waits for an answer to that
}

func (r *Repo) parseFetch(body []byte) fetch {
	var f fetch
	flushed := false
	lines := pktline.NewScanner(bytes.NewReader(body))
	for lines.Scan() {
		line := strings.TrimSuffix(string(lines.Bytes()), "\n")
		if flushed = flushed || line == ""; flushed && line != "" {
			f.asks = true
		}
		verb, rest, _ := strings.Cut(line, " ")
		hash, capabilities, _ := strings.Cut(rest, " ")
		switch verb {
		case "want":
			f.wants = append(f.wants, plumbing.NewHash(hash))
			f.detailed = f.detailed || strings.Contains(capabilities, "multi_ack_detailed")
		case "have":
			if h := plumbing.NewHash(hash); r.git.graph[h] != nil || r.git.known(h) {
				f.haves = append(f.haves, h)
			}
		case "shallow":
			if h := plumbing.NewHash(rest); r.git.known(h) {
				f.shallow = append(f.shallow, h)
			}
		case "deepen":
			// What is no number is no depth, and gets everything.
			f.depth, _ = strconv.Atoi(rest)
			f.depth = max(f.depth, 0)
		case "done":
			f.done = true
		}
	}
	return f
}

// upload answers one round of a fetch. HTTP has no memory: what was common in
// one round counts in the next only if the client says it again, which git
// does for commits that were acknowledged as "common" and not for others. A
// client without multi_ack_detailed therefore gets its one ACK in the round
// that ends in the pack, and NAK before; otherwise it would leave out of its
// last request what the pack is to be based on, and misread the answer.
func (r *Repo) upload(body []byte) ([]byte, error) {
	f := r.parseFetch(body)
	if len(f.wants) == 0 {
		return nil, nil
	}
	var out bytes.Buffer
	answer := pktline.NewEncoder(&out)
	if h, missing := r.notAdvertised(f.wants); missing {
		err := answer.Encodef("ERR upload-pack: not our ref %s", h)
		return out.Bytes(), err
	}
	edge, err := r.git.horizonOf(f)
	if err != nil {
		return nil, err
	}
	if f.depth > 0 {
		if err := answer.EncodeString(edge.lines()...); err != nil {
			return nil, err
		}
		if err := answer.Flush(); err != nil || !f.asks {
			return out.Bytes(), err
		}
	}
	lines, err := r.acknowledge(f)
	if err != nil {
		return nil, err
	}
	if err := answer.EncodeString(lines...); err != nil || !f.done {
		return out.Bytes(), err
	}
	missing := func() ([]plumbing.Hash, error) { return r.git.missing(f.wants, f.haves) }
	if f.depth > 0 || len(f.shallow) > 0 {
		missing = func() ([]plumbing.Hash, error) { return r.git.missingWithin(f, edge) }
	}
	need, err := missing()
	if err != nil {
		return nil, err
	}
	_, err = packfile.NewEncoder(&out, r.git.store, false).Encode(need, 0)
	return out.Bytes(), err
}

// acknowledge says which of the client's commits are known.
func (r *Repo) acknowledge(f fetch) ([]string, error) {
	if len(f.haves) == 0 || !f.detailed && !f.done {
		return []string{"NAK\n"}, nil
	}
	if !f.detailed {
		return []string{"ACK " + f.haves[0].String() + "\n"}, nil
	}
	var lines []string
	for _, h := range f.haves {
		lines = append(lines, "ACK "+h.String()+" common\n")
	}
	last := "ACK " + f.haves[len(f.haves)-1].String()
	if f.done {
		return append(lines, last+"\n"), nil
	}
	enough, err := r.git.coversAll(f.wants, f.haves)
	if err != nil {
		return nil, err
	}
	if enough {
		lines = append(lines, last+" ready\n")
	}
	return append(lines, "NAK\n"), nil
}

// coversAll reports whether every want has an ancestor among the haves: there
// is no use in hearing of more then.
func (o *objects) coversAll(wants, haves []plumbing.Hash) (bool, error) {
	for _, w := range wants {
		tip, err := o.peel(w, func(plumbing.Hash) {})
		if err != nil {
			return false, err
		}
		covered := false
		for _, h := range haves {
			if covered, err = o.isAncestor(h, tip); err != nil || covered {
				break
			}
		}
		if err != nil || !covered {
			return false, err
		}
	}
	return true, nil
}

// known reports whether h is a complete commit of this database.
func (o *objects) known(h plumbing.Hash) bool {
	if _, err := o.commit(h); err != nil {
		return false
	}
	_, err := o.node(h)
	return err == nil
}

func (r *Repo) notAdvertised(wants []plumbing.Hash) (plumbing.Hash, bool) {
	tips := map[plumbing.Hash]bool{}
	for _, h := range r.refs {
		tips[h] = true
	}
	for _, h := range wants {
		if !tips[h] {
			return h, true
		}
	}
	return plumbing.ZeroHash, false
}

// incoming is a push, unpacked into a store of its own so that nothing of it
// reaches the repository before it has been looked at.
type incoming struct {
	commands  []*packp.Command
	atomic    bool
	report    bool
	objects   *memory.Storage
	unpackErr error
}

func parsePush(body []byte) (*incoming, error) {
	if len(body) == 0 || bytes.Equal(body, pktline.FlushPkt) {
		return nil, nil // a probe for credentials
	}
	request := packp.NewReferenceUpdateRequest()
	in := bytes.NewReader(pushed(body))
	if err := request.Decode(in); err != nil {
		return nil, fmt.Errorf("decode push: %w", err)
	}
	push := &incoming{
		commands: request.Commands,
		atomic:   request.Capabilities.Supports(capability.Atomic),
		report:   request.Capabilities.Supports(capability.ReportStatus),
		objects:  memory.NewStorage(),
	}
	if in.Len() == 0 {
		return push, nil
	}
	if err := packfile.UpdateObjectStorage(push.objects, in); err != nil && !errors.Is(err, packfile.ErrEmptyPackfile) {
		push.unpackErr = err
		return push, nil
	}
	push.unpackErr = decodable(push.objects)
	return push, nil
}

// decodable fails where a received object is not what it claims to be.
func decodable(store *memory.Storage) error {
	for h, raw := range store.Objects {
		if _, err := gitobject.DecodeObject(store, raw); err != nil {
			return fmt.Errorf("object %s: %w", h, err)
		}
	}
	return nil
}

// receive carries out a push under the server's mutex and answers with the
// report of it. A nil push is a client that only wanted to authenticate.
func (s *Server) receive(repo *Repo, who actor, push *incoming) ([]byte, error) {
	if push == nil {
		return nil, nil
	}
	report := packp.NewReportStatus()
	report.UnpackStatus = "ok"
	var fresh []plumbing.Hash // objects that only this push has brought
	if push.unpackErr != nil {
		report.UnpackStatus = "index-pack failed: " + push.unpackErr.Error()
	} else {
		for h, raw := range push.objects.Objects {
			if repo.git.store.HasEncodedObject(h) == nil {
				continue
			}
			fresh = append(fresh, h)
			if _, err := repo.git.store.SetEncodedObject(raw); err != nil {
				return nil, err
			}
		}
	}
	kept := false
	for i, refusal := range s.updateRefs(repo, who, push) {
		status := "ok"
		if refusal != nil {
			status = refusal.Error()
		}
		kept = kept || refusal == nil
		report.CommandStatuses = append(report.CommandStatuses, &packp.CommandStatus{
			ReferenceName: push.commands[i].Name, Status: status,
		})
	}
	if !kept {
		repo.git.forget(fresh) // a refused push leaves nothing behind
	}
	if !push.report {
		return nil, nil
	}
	var out bytes.Buffer
	err := report.Encode(&out)
	return out.Bytes(), err
}

// updateRefs judges and carries out the commands of a push, in their order;
// the result has the refusal of each, nil where it was done.
func (s *Server) updateRefs(repo *Repo, who actor, push *incoming) []error {
	refusals := make([]error, len(push.commands))
	refused := push.unpackErr != nil
	if push.atomic || refused {
		for i, c := range push.commands {
			refusals[i] = s.judgeRef(repo, who, refUpdate{c.Name, c.Old, c.New, true})
			refused = refused || refusals[i] != nil
		}
		for i := range refusals {
			switch {
			case push.unpackErr != nil:
				refusals[i] = errors.New("unpacker error")
			case refused && refusals[i] == nil:
				refusals[i] = errors.New("atomic push failure")
			}
		}
		if refused {
			return refusals
		}
	}
	for i, c := range push.commands {
		refusals[i] = s.changeRef(repo, who, refUpdate{c.Name, c.Old, c.New, true})
	}
	return refusals
}
