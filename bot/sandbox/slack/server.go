// Package slack is one Slack workspace in process, over real HTTP. It serves
// the part of the Web API that a bot needs, keeps what the bot said and how it
// edited it, and acts as the people: it sends slash commands, button presses,
// form submissions and events, signed as Slack signs them.
//
// Shapes, limits and error codes follow Slack's documentation: what Slack
// refuses is refused here, so that a message which only works in the sandbox
// fails in a test and not in a workspace. What is not kept (attachments,
// channel membership, other workspaces) is refused or absent, never half there.
//
// Message times, trigger ids and response URLs follow the sandbox clock;
// signatures follow wall time, because their verifiers read it themselves.
package slack

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
)

// The workspace's fixed identities.
const (
	TeamID     = "T0TAC0000"
	TeamDomain = "acme"
	AppID      = "A0TAC0000"
	BotUserID  = "U0TACBOT0"
	BotID      = "B0TACBOT0"
)

// bodyLimit is how many bytes of a request body are read at most.
const bodyLimit = 1 << 20

// Server is the workspace. It is safe for concurrent use.
type Server struct {
	sandbox.Wire

	// Patience is how long, in wall time, Slack waits for the answer to what
	// it delivers. New sets 3 seconds, as Slack has it; change it before the
	// first delivery only.
	Patience time.Duration

	clock    *sandbox.Clock
	http     *http.Server
	listener net.Listener
	served   chan struct{} // closed when the server has ended
	client   *http.Client  // posts what people do
	secret   string
	token    string

	mu         sync.Mutex
	users      map[string]user
	channels   map[string]*channel // by id, direct messages among them
	ephemerals []Message
	views      []*View
	homes      map[string]*View // App Home by user id
	triggers   map[string]*trigger
	hooks      map[string]*hook // response URLs by path
	tokens     map[string]*account
	responses  []Response
	lastMicro  int64 // of the last message time given
	serial     int   // of the last id given
}

type user struct{ id, name, email string }

// New starts a workspace with a bot in it on a free port of 127.0.0.1. Close
// ends it.
func New(clock *sandbox.Clock) (*Server, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for slack: %w", err)
	}
	s := &Server{
		Patience: 3 * time.Second,
		clock:    clock,
		listener: listener,
		served:   make(chan struct{}),
		client: &http.Client{
			Transport:     &http.Transport{},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		secret:   random(16),
		token:    "xoxb-" + random(16),
		users:    map[string]user{},
		channels: map[string]*channel{},
		homes:    map[string]*View{},
		triggers: map[string]*trigger{},
		hooks:    map[string]*hook{},
	}
	s.tokens = map[string]*account{s.token: {user: BotUserID, bot: BotID, scopes: BotScopes}}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/{method}", s.serveMethod)
	mux.HandleFunc("POST /commands/", s.serveHook)
	mux.HandleFunc("POST /actions/", s.serveHook)
	s.http = &http.Server{Handler: s.Handler(clock, mux), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(s.served)
		_ = s.http.Serve(listener) // returns when Close closes it
	}()
	return s, nil
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails, and crashes the program rather than return less
	return hex.EncodeToString(b)
}

// URL returns the address of the server, without a slash at its end. The Web
// API is under URL()+"/api/".
func (s *Server) URL() string { return "http://" + s.listener.Addr().String() }

// SigningSecret returns the secret that deliveries are signed with.
func (s *Server) SigningSecret() string { return s.secret }

// BotToken returns the bot's own token. AddToken makes others.
func (s *Server) BotToken() string { return s.token }

// Close ends the server and its connections.
func (s *Server) Close() error {
	err := s.http.Close()
	<-s.served
	s.client.CloseIdleConnections()
	return err
}

// AddUser adds a person to the workspace, or replaces the one of that id.
func (s *Server) AddUser(id, name, email string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.users[id] = user{id: id, name: name, email: email}
}

// AddChannel adds a public channel that the bot is a member of. A channel that
// exists keeps its messages.
func (s *Server) AddChannel(id, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if c := s.channels[id]; c != nil {
		c.name = name
		return
	}
	s.channels[id] = &channel{id: id, name: name, created: s.clock.Now()}
}

// Limit has the next times calls of a method ("chat.postMessage"; empty for
// every method) answered 429 with Retry-After, rounded up to seconds. Negative
// times never end; ClearFaults ends them.
func (s *Server) Limit(method string, times int, retryAfter time.Duration) {
	if times == 0 {
		return
	}
	seconds := int((retryAfter + time.Second - 1) / time.Second)
	s.Order(sandbox.Fault{
		Path: "/api/" + method, Times: times, When: sandbox.Answer, Status: http.StatusTooManyRequests,
		Header: http.Header{"Retry-After": {strconv.Itoa(seconds)}, "Content-Type": {"application/json; charset=utf-8"}},
		Body:   `{"ok":false,"error":"ratelimited"}`,
	})
}

// refusal is an answer with "ok": false. Its text is Slack's error code.
type refusal struct {
	code             string
	messages         []string // response_metadata.messages
	needed, provided string   // scopes, of missing_scope
}

func (r *refusal) Error() string { return r.code }

func refuse(code string, messages ...string) error { return &refusal{code: code, messages: messages} }

type fields = map[string]any

// args are what a method is called with, and by whom.
type args struct {
	url.Values
	by *account
}

// methods is the part of the Web API that is served. Each runs with s.mu held.
var methods = map[string]func(*Server, args) (fields, error){
	"auth.test":             (*Server).authTest,
	"chat.delete":           (*Server).chatDelete,
	"chat.getPermalink":     (*Server).chatGetPermalink,
	"chat.postEphemeral":    (*Server).chatPostEphemeral,
	"chat.postMessage":      (*Server).chatPostMessage,
	"chat.update":           (*Server).chatUpdate,
	"conversations.history": (*Server).conversationsHistory,
	"conversations.info":    (*Server).conversationsInfo,
	"conversations.open":    (*Server).conversationsOpen,
	"conversations.replies": (*Server).conversationsReplies,
	"users.info":            (*Server).usersInfo,
	"users.lookupByEmail":   (*Server).usersLookupByEmail,
	"views.open":            (*Server).viewsOpen,
	"views.publish":         (*Server).viewsPublish,
	"views.update":          (*Server).viewsUpdate,
}

func (s *Server) serveMethod(w http.ResponseWriter, r *http.Request) {
	answer, err := s.call(w, r)
	var no *refusal
	switch {
	case errors.As(err, &no):
		answer = fields{"ok": false, "error": no.code}
		if no.messages != nil {
			answer["response_metadata"] = fields{"messages": no.messages}
		}
		if no.needed != "" {
			answer["needed"], answer["provided"] = no.needed, no.provided
		}
	case err != nil:
		answer = fields{"ok": false, "error": "internal_error"}
	default:
		answer["ok"] = true
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	_ = json.NewEncoder(w).Encode(answer) // the client may already be gone
}

func (s *Server) call(w http.ResponseWriter, r *http.Request) (fields, error) {
	values, err := arguments(r)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	called := args{Values: values}
	if called.by, err = s.authorize(w, r, called); err != nil {
		return nil, err
	}
	method, ok := methods[r.PathValue("method")]
	if !ok {
		return nil, refuse("unknown_method")
	}
	return method(s, called)
}

// arguments reads a form, a query or a JSON object into one shape; a JSON
// value that is not a string keeps its JSON text.
func arguments(r *http.Request) (url.Values, error) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit+1))
	if err != nil {
		return nil, fmt.Errorf("read body of %s: %w", r.URL.Path, err)
	}
	if len(body) > bodyLimit {
		return nil, refuse("request_too_large")
	}
	if !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		args, err := url.ParseQuery(string(body))
		if err != nil {
			return nil, refuse("invalid_form_data")
		}
		if r.Method == http.MethodGet {
			maps.Copy(args, r.URL.Query())
		}
		return args, nil
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(body, &object); err != nil {
		return nil, refuse("invalid_json")
	}
	args := url.Values{}
	for key, raw := range object {
		var text string
		if json.Unmarshal(raw, &text) != nil {
			text = string(raw)
		}
		if string(raw) != "null" {
			args.Set(key, text)
		}
	}
	return args, nil
}

func (s *Server) authTest(args args) (fields, error) {
	me := fields{
		"url": "https://" + TeamDomain + ".slack.com/", "team": "Acme", "user": "tac",
		"team_id": TeamID, "user_id": args.by.user, "is_enterprise_install": false,
	}
	if args.by.bot != "" {
		me["bot_id"] = args.by.bot
		return me, nil
	}
	u, ok := s.users[args.by.user]
	if !ok {
		return nil, refuse("account_inactive")
	}
	me["user"] = u.name
	return me, nil
}

func (s *Server) usersInfo(args args) (fields, error) {
	u, ok := s.users[args.Get("user")]
	if !ok {
		return nil, refuse("user_not_found")
	}
	return fields{"user": u.fields()}, nil
}

func (s *Server) usersLookupByEmail(args args) (fields, error) {
	email := args.Get("email")
	for _, id := range slices.Sorted(maps.Keys(s.users)) {
		if u := s.users[id]; email != "" && strings.EqualFold(u.email, email) {
			return fields{"user": u.fields()}, nil
		}
	}
	return nil, refuse("users_not_found")
}

func (u user) fields() fields {
	return fields{
		"id": u.id, "team_id": TeamID, "name": u.name, "real_name": u.name, "deleted": false,
		"is_bot": false, "is_admin": false, "is_owner": false, "is_restricted": false,
		"is_ultra_restricted": false, "is_app_user": false, "tz": "Etc/UTC", "tz_offset": 0,
		"profile": fields{"email": u.email, "real_name": u.name, "display_name": u.name, "team": TeamID},
	}
}

// nextTS returns the time of a new message; each is later than the one before,
// even on a clock that stands still. s.mu is held.
func (s *Server) nextTS() string {
	s.lastMicro = max(s.clock.Now().UnixMicro(), s.lastMicro+1)
	return fmt.Sprintf("%d.%06d", s.lastMicro/1e6, s.lastMicro%1e6)
}

// newID returns an id that the workspace has not used; s.mu is held.
func (s *Server) newID(prefix string) string {
	s.serial++
	return fmt.Sprintf("%s%08d", prefix, s.serial)
}
