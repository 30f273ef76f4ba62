package vault

import (
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// token is a live token. An ended one is in no map any more.
type token struct {
	id, accessor string
	policies     []string
	path         string // API path that created it
	displayName  string
	meta         map[string]string
	kind         string // service
	role         string
	parent       *token // nil for an orphan
	children     map[*token]bool
	leases       map[*lease]bool // the index that ending the token goes by
	orphan       bool
	renewable    bool
	entity       string // of the auth method's login
	numUses      int    // 0 without limit; -1 in its last request

	created     time.Time
	creationTTL time.Duration
	expire      time.Time     // zero without end
	period      time.Duration // of a periodic token, or of its role
	askedPeriod time.Duration // the token's own: lookup shows it, and not the role's
	// explicitMax is the limit as asked for: lookup shows it unclamped.
	explicitMax time.Duration
	// renewMax bounds renewals. For a role's token it is the role's value
	// and not the token's own, which makes renewable tokens outlive it.
	renewMax time.Duration
	maxTTL   time.Duration // of the auth method
	renewed  time.Time
	cidrs    []netip.Prefix

	ending  bool // its end has begun; nobody may use it, lookups say "bad token"
	wrapped *wrapped
}

// rootPath is where the token of sys/init comes from. It has no lease, so that
// lookups tell less of it.
const rootPath = "auth/token/root"

func (t *token) endedAt(now time.Time) bool { return !t.expire.IsZero() && !t.expire.After(now) }

func (t *token) root() bool { return slices.Contains(t.policies, "root") }

// addToken fills in what every token has, files it and tells of it.
func (s *Server) addToken(t *token) {
	if t.id == "" {
		t.id = "hvs." + randomText(90)
	}
	t.accessor = randomText(24)
	t.kind = "service"
	t.children, t.leases = map[*token]bool{}, map[*lease]bool{}
	if t.parent != nil {
		t.parent.children[t] = true
	}
	s.tokens[t.id], s.accessors[t.accessor] = t, t
	s.dueBy(t.expire)
	kind := TokenCreated
	if t.wrapped != nil {
		kind = Wrapped
	}
	s.emit(Event{Kind: kind, Accessor: t.accessor, Path: t.path, Ends: t.expire, Meta: t.meta})
}

// liveToken finds a token that may be used.
func (s *Server) liveToken(id string) *token {
	t := s.tokens[id]
	if t == nil || t.ending || t.numUses < 0 || t.endedAt(s.clock.Now()) {
		return nil
	}
	return t
}

func (s *Server) authenticate(r *request) (*token, error) {
	if r.rawTok == "" {
		return nil, errNoToken()
	}
	t := s.liveToken(r.rawTok)
	if t == nil {
		return nil, errInvalidToken()
	}
	if len(t.cidrs) > 0 && !fromAny(t.cidrs, r.http.RemoteAddr) {
		return nil, errNoToken()
	}
	return t, nil
}

func fromAny(cidrs []netip.Prefix, remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && slices.ContainsFunc(cidrs, func(p netip.Prefix) bool { return p.Contains(addr.Unmap()) })
}

// endToken removes a token and its children for good and queues their leases;
// the caller starts the queue with drainDue.
func (s *Server) endToken(t *token, reason string) {
	if s.tokens[t.id] != t {
		return
	}
	t.ending = true
	delete(s.tokens, t.id)
	delete(s.accessors, t.accessor)
	s.emit(Event{Kind: TokenRevoked, Accessor: t.accessor, Path: t.path, Meta: t.meta, Reason: reason})
	for l := range t.leases {
		if s.leases[l.id] == l && !l.queued {
			s.enqueue(l)
		}
	}
	for child := range t.children {
		s.endToken(child, "parent "+reason)
	}
	if t.parent != nil {
		delete(t.parent.children, t)
	}
}

// revokeToken ends a token by an API call, which first waits for the locks of
// its leases: behind a synchronous revocation that hangs in its database it
// hangs too. Meanwhile nobody can use the token.
func (s *Server) revokeToken(t *token) error {
	t.ending = true
	for _, l := range t.allLeases() {
		if err := s.outside(l.lock.Lock); err != nil {
			l.lock.Unlock()
			t.ending = false // the process died before it could write that
			return err
		}
		l.lock.Unlock()
	}
	s.endToken(t, "revoked")
	s.drainDue(s.clock.Now())
	return nil
}

// allLeases returns the leases of a token and of its descendants.
func (t *token) allLeases() []*lease {
	out := slices.Collect(maps.Keys(t.leases))
	for child := range t.children {
		out = append(out, child.allLeases()...)
	}
	return out
}

func (s *Server) lookupSelf(r *request) (*response, error) {
	return &response{data: s.describe(r.token, true)}, nil
}

func (s *Server) lookupToken(r *request) (*response, error) {
	id := r.in.text("token")
	if id == "" {
		id = r.rawTok
	}
	t := s.tokens[id]
	if t == nil {
		return nil, &apiError{403, []string{"bad token"}}
	}
	return &response{data: s.describe(t, true)}, nil
}

func (s *Server) lookupAccessor(r *request) (*response, error) {
	accessor, err := wantedAccessor(r)
	if err != nil {
		return nil, err
	}
	t := s.accessors[accessor]
	if t == nil {
		return nil, coreError(400, "invalid accessor")
	}
	return &response{data: s.describe(t, false)}, nil
}

func wantedAccessor(r *request) (string, error) {
	accessor := r.in.text("accessor")
	if r.in.err == nil && accessor == "" {
		return "", coreError(400, "missing accessor")
	}
	return accessor, r.in.err
}

func (s *Server) describe(t *token, withID bool) map[string]any {
	id := ""
	if withID {
		id = t.id
	}
	d := map[string]any{
		"id": id, "accessor": t.accessor, "policies": t.policies, "path": t.path,
		"display_name": t.displayName, "meta": t.meta, "type": t.kind, "orphan": t.orphan,
		"num_uses": t.numUses, "entity_id": t.entity,
		"creation_time": t.created.Unix(), "creation_ttl": seconds(t.creationTTL),
		"expire_time": nil, "ttl": int64(0), "explicit_max_ttl": seconds(t.explicitMax),
	}
	if t.meta == nil {
		d["meta"] = nil
	}
	if t.ending {
		d["num_uses"] = -1 // how Vault marks a token whose end has begun
	}
	if t.path != rootPath {
		d["renewable"], d["issue_time"] = t.renewable, stamp(t.created)
	}
	if !t.expire.IsZero() {
		d["expire_time"] = stamp(t.expire)
		d["ttl"] = seconds(t.expire.Sub(s.clock.Now()))
	}
	if t.role != "" {
		d["role"] = t.role
	}
	if t.askedPeriod > 0 {
		d["period"] = seconds(t.askedPeriod)
	}
	if len(t.cidrs) > 0 {
		d["bound_cidrs"] = cidrTexts(t.cidrs)
	}
	if !t.renewed.IsZero() {
		d["last_renewal"], d["last_renewal_time"] = stamp(t.renewed), t.renewed.Unix()
	}
	return d
}

// stamp is the time format of Vault's JSON.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) }

func (s *Server) authOf(t *token) map[string]any {
	ttl := time.Duration(0)
	if !t.expire.IsZero() {
		ttl = t.expire.Sub(s.clock.Now())
	}
	auth := map[string]any{
		"client_token": t.id, "accessor": t.accessor, "policies": t.policies,
		"metadata": t.meta, "lease_duration": seconds(ttl),
		"renewable": t.renewable, "entity_id": t.entity, "token_type": t.kind, "orphan": t.orphan,
		"mfa_requirement": nil, "num_uses": max(t.numUses, 0),
	}
	if len(t.policies) > 0 {
		auth["token_policies"] = t.policies
	}
	return auth
}

func (s *Server) revokeAccessor(r *request) (*response, error) {
	accessor, err := wantedAccessor(r)
	if err != nil {
		return nil, err
	}
	t := s.accessors[accessor]
	if t == nil {
		return &response{warnings: []string{"No token found with this accessor"}}, nil
	}
	return nil, s.revokeToken(t)
}

func (s *Server) revokeTokenByID(r *request) (*response, error) {
	id := r.in.text("token")
	if id == "" {
		return nil, badRequest("missing token ID")
	}
	t := s.tokens[id]
	if t == nil {
		return nil, nil
	}
	return nil, s.revokeToken(t)
}

func (s *Server) revokeSelf(r *request) (*response, error) {
	return nil, s.revokeToken(r.token)
}

func (s *Server) renewSelf(r *request) (*response, error) {
	increment := r.in.duration("increment")
	if r.in.err != nil {
		return nil, r.in.err
	}
	t, now := r.token, s.clock.Now()
	if t.path == rootPath {
		return nil, badRequest("invalid lease ID")
	}
	if !t.renewable || t.expire.IsZero() {
		return nil, badRequest("lease is not renewable")
	}
	ttl, warnings, err := clampTTL(now, increment, ttlBounds{
		absent: t.creationTTL, period: t.period, max: t.maxTTL, explicitMax: t.renewMax, issued: t.created,
	})
	if err != nil {
		return nil, badRequest("%s", err)
	}
	t.expire, t.renewed = now.Add(ttl), now
	s.dueBy(t.expire)
	return &response{auth: s.authOf(t), warnings: warnings}, nil
}

// cleanPolicies lower-cases, sorts and removes duplicates.
func cleanPolicies(in []string, withDefault bool) []string {
	out := []string{}
	for _, p := range in {
		if p = strings.ToLower(strings.TrimSpace(p)); p != "" {
			out = append(out, p)
		}
	}
	if withDefault && !slices.Contains(out, "root") {
		out = append(out, "default")
	}
	if slices.Contains(out, "root") {
		return []string{"root"} // it allows all that the others could
	}
	slices.Sort(out)
	return slices.Compact(out)
}
