package slack

import (
	"crypto/subtle"
	"net/http"
	"slices"
	"strings"
)

// account is whom a token lets act, and in what.
type account struct {
	user, bot string // bot is empty for a person
	scopes    []string
}

// BotScopes are what the bot's own token has: all that the served part of the
// Web API may need.
var BotScopes = []string{
	"chat:write", "im:write", "im:read", "channels:read", "channels:history", "groups:history", "im:history",
	"users:read", "users:read.email", "commands",
}

// Needed scopes by method. Those of conversations depend on their kind, so
// their methods ask by themselves; what is not named here needs none.
var methodScopes = map[string]string{
	"chat.delete":         "chat:write",
	"chat.postEphemeral":  "chat:write",
	"chat.postMessage":    "chat:write",
	"chat.update":         "chat:write",
	"conversations.open":  "im:write",
	"users.info":          "users:read",
	"users.lookupByEmail": "users:read.email",
}

// AddToken returns a token by which the Web API acts as userID: as the bot
// itself for BotUserID, or as a person. It has these scopes and no others.
func (s *Server) AddToken(userID string, scopes ...string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	token := "xoxp-" + random(16)
	a := &account{user: userID, scopes: slices.Clone(scopes)}
	if userID == BotUserID {
		token, a.bot = "xoxb-"+random(16), BotID
	}
	s.tokens[token] = a
	return token
}

// SetScopes changes the scopes of the bot's own token, as installing the app
// anew does.
func (s *Server) SetScopes(scopes ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[s.token].scopes = slices.Clone(scopes)
}

// need refuses where the account lacks a scope, in Slack's words.
func (a *account) need(scope string) error {
	if scope == "" || slices.Contains(a.scopes, scope) {
		return nil
	}
	return &refusal{code: "missing_scope", needed: scope, provided: strings.Join(a.scopes, ",")}
}

// authorize finds the account of a request, and tells the scopes of its token
// in the headers that every answer of Slack's has; s.mu is held.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request, args args) (*account, error) {
	token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok && r.Method == http.MethodPost {
		token = args.Get("token") // Slack takes no token from a query string
	}
	if token == "" {
		return nil, refuse("not_authed")
	}
	var found *account
	for known, a := range s.tokens {
		if subtle.ConstantTimeCompare([]byte(token), []byte(known)) == 1 {
			found = a
		}
	}
	if found == nil {
		return nil, refuse("invalid_auth")
	}
	w.Header().Set("X-OAuth-Scopes", strings.Join(found.scopes, ","))
	needed := methodScopes[r.PathValue("method")]
	if needed != "" {
		w.Header().Set("X-Accepted-OAuth-Scopes", needed)
	}
	return found, found.need(needed)
}

// readScope is the scope to look into a conversation: of its messages, or of
// what it is.
func (c *channel) readScope(what string) string {
	if c.user != "" {
		return "im:" + what
	}
	return "channels:" + what
}
