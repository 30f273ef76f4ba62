package slack

import (
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// A response URL may be used five times in half an hour (sandbox time).
const (
	hookUses = 5
	hookLife = 30 * time.Minute
)

// hook is what one response URL leads to.
type hook struct {
	user, channel string
	message       string // the TS of the message that was pressed, or empty
	expires       time.Time
	uses          int
}

// Response is one use of a response URL that was accepted.
type Response struct {
	URL     string
	UserID  string // whose act the URL was made for
	Channel string
	Body    string   // as received
	Message *Message // what it showed; nil where it removed a message
}

// reply is the body of a response URL, and of the answer to a command.
type reply struct {
	ResponseType    string          `json:"response_type"`
	Text            string          `json:"text"`
	Blocks          json.RawMessage `json:"blocks"`
	ThreadTS        string          `json:"thread_ts"`
	ReplaceOriginal bool            `json:"replace_original"`
	DeleteOriginal  bool            `json:"delete_original"`
}

// newHook makes a response URL under kind, "commands" or "actions"; s.mu is
// held.
func (s *Server) newHook(kind, userID, channelID, messageTS string) string {
	path := "/" + kind + "/" + TeamID + "/" + s.newID("") + "/" + random(12)
	s.hooks[path] = &hook{user: userID, channel: channelID, message: messageTS, expires: s.clock.Now().Add(hookLife)}
	return s.URL() + path
}

// Responses returns every accepted use of a response URL, oldest first.
func (s *Server) Responses() []Response {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.responses)
}

// serveHook takes a reply to a response URL. As with Slack, no token is asked
// for: whoever knows the URL may use it.
func (s *Server) serveHook(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, bodyLimit))
	if err != nil {
		return // the client has gone
	}
	code := s.useHook(r.URL.Path, body)
	if code == "" {
		_, _ = io.WriteString(w, "ok") // the client may be gone
		return
	}
	status := http.StatusNotFound
	if code == "invalid_payload" || code == "invalid_blocks" || code == "no_text" {
		status = http.StatusBadRequest
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(fields{"ok": false, "error": code})
}

// useHook returns Slack's error code, or nothing where the reply was applied.
func (s *Server) useHook(path string, body []byte) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.hooks[path]
	switch {
	case h == nil || s.clock.Now().After(h.expires):
		return "expired_url"
	case h.uses >= hookUses:
		return "used_url"
	}
	var say reply
	if json.Unmarshal(body, &say) != nil {
		return "invalid_payload"
	}
	m, err := s.apply(h, say)
	if err != nil {
		return err.Error()
	}
	h.uses++
	s.responses = append(s.responses, Response{URL: s.URL() + path, UserID: h.user, Channel: h.channel, Body: string(body), Message: m})
	return ""
}

// apply shows a reply and returns what is shown; s.mu is held.
func (s *Server) apply(h *hook, say reply) (*Message, error) {
	c := s.channels[h.channel]
	if c == nil {
		return nil, refuse("expired_url")
	}
	original := c.find(h.message)
	if say.DeleteOriginal {
		s.takeAway(c, h, original)
		return nil, nil
	}
	said := url.Values{"text": {say.Text}, "blocks": {string(say.Blocks)}, "thread_ts": {say.ThreadTS}}
	m, err := s.compose(args{Values: said, by: s.tokens[s.token]})
	if err != nil {
		return nil, err
	}
	switch {
	case say.ReplaceOriginal && original != nil:
		m.Metadata = original.Metadata
		s.edit(original, m)
		m = original
	case say.ReplaceOriginal && h.message != "":
		s.takeAway(c, h, nil) // an ephemeral message: the new one takes its place
		s.whisper(c.id, h.user, m)
	case say.ResponseType == "in_channel":
		s.post(c, m)
	default:
		s.whisper(c.id, h.user, m)
	}
	shown := *m
	return &shown, nil
}

// takeAway removes the message that was pressed, be it an ephemeral one.
func (s *Server) takeAway(c *channel, h *hook, original *Message) {
	if original != nil {
		c.remove(original)
		return
	}
	s.ephemerals = slices.DeleteFunc(s.ephemerals, func(m Message) bool {
		return m.OnlyFor == h.user && m.TS == h.message
	})
}
