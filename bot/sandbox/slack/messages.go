package slack

import (
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Slack's limits, in characters, for the text of a message: a longer one is
// cut when it is posted, and refused when it comes by chat.update.
const (
	textLimit   = 40_000
	updateLimit = 4_000
)

// Message is one message, as it stands now.
type Message struct {
	Author   string // the id of who said it; BotUserID but for other tokens
	Channel  string // the channel's id; D... for a direct message
	TS       string // its id and time; does not change when it is edited
	ThreadTS string // the message it answers in a thread, or empty
	Text     string
	Blocks   []json.RawMessage // as stored: Slack adds a block_id where none was given
	Metadata *Metadata

	// OnlyFor is the id of the one person who sees an ephemeral message.
	OnlyFor string
	// Edits are the earlier versions, oldest first; theirs is empty.
	Edits []Message

	editedTS string // of the last edit that people are shown as an edit
}

// Metadata is what an app may attach to a message for itself and other apps.
type Metadata struct {
	EventType    string         `json:"event_type"`
	EventPayload map[string]any `json:"event_payload"`
}

type channel struct {
	id, name string
	user     string // the person, where this is a direct message
	created  time.Time
	messages []*Message // oldest first
}

func (c *channel) find(ts string) *Message {
	for _, m := range c.messages {
		if m.TS == ts {
			return m
		}
	}
	return nil
}

// Messages returns the messages of a channel (id or name), oldest first, with
// those in threads.
func (s *Server) Messages(channelID string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.channelOf(channelID).copies()
}

// DMs returns the bot's direct messages to a person, oldest first.
func (s *Server) DMs(userID string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.dm(userID).copies()
}

// Ephemerals returns what a person alone was shown, oldest first: by
// chat.postEphemeral, a response URL, or the answer to a command.
func (s *Server) Ephemerals(userID string) []Message {
	s.mu.Lock()
	defer s.mu.Unlock()
	var shown []Message
	for _, m := range s.ephemerals {
		if m.OnlyFor == userID {
			shown = append(shown, m)
		}
	}
	return shown
}

func (c *channel) copies() []Message {
	if c == nil {
		return nil
	}
	all := make([]Message, 0, len(c.messages))
	for _, m := range c.messages {
		version := *m
		version.Edits = slices.Clone(m.Edits)
		all = append(all, version)
	}
	return all
}

// channelOf finds a channel by id or name; nil where there is none.
func (s *Server) channelOf(ref string) *channel {
	if c := s.channels[ref]; c != nil {
		return c
	}
	name := strings.TrimPrefix(ref, "#")
	for _, c := range s.channels {
		if name != "" && c.name == name {
			return c
		}
	}
	return nil
}

// dm finds the direct messages with a person; nil where none were opened.
func (s *Server) dm(userID string) *channel {
	for _, c := range s.channels {
		if userID != "" && c.user == userID {
			return c
		}
	}
	return nil
}

// openDM opens the direct messages with a person; nil for an unknown person.
func (s *Server) openDM(userID string) (c *channel, fresh bool) {
	if c := s.dm(userID); c != nil {
		return c, false
	}
	if _, ok := s.users[userID]; !ok {
		return nil, false
	}
	c = &channel{id: s.newID("D"), user: userID, created: s.clock.Now()}
	s.channels[c.id] = c
	return c, true
}

// compose reads what a new message says, and checks it.
func (s *Server) compose(args args) (*Message, error) {
	m := &Message{Author: args.by.user, Text: truncated(args.Get("text")), ThreadTS: args.Get("thread_ts")}
	if a := args.Get("attachments"); a != "" && a != "[]" {
		return nil, refuse("invalid_attachments", "the sandbox keeps no attachments")
	}
	var err error
	if m.Blocks, err = s.readBlocks(args.Get("blocks"), messageBlocks); err != nil {
		return nil, err
	}
	if m.Metadata, err = readMetadata(args.Get("metadata")); err != nil {
		return nil, err
	}
	if m.Text == "" && len(m.Blocks) == 0 {
		return nil, refuse("no_text")
	}
	return m, nil
}

func truncated(text string) string {
	if utf8.RuneCountInString(text) <= textLimit {
		return text
	}
	return string([]rune(text)[:textLimit])
}

// warned adds the warning that Slack gives where it cut the text.
func warned(answer fields, args args) fields {
	if utf8.RuneCountInString(args.Get("text")) > textLimit {
		const warning = "message_truncated"
		answer["warning"] = warning
		answer["response_metadata"] = fields{
			"warnings": []string{warning}, "messages": []string{"[WARN] Your message was truncated but still posted"},
		}
	}
	return answer
}

func readMetadata(raw string) (*Metadata, error) {
	if raw == "" || raw == "{}" {
		return nil, nil
	}
	var m Metadata
	if json.Unmarshal([]byte(raw), &m) != nil {
		return nil, refuse("invalid_metadata_format")
	}
	if m.EventType == "" || m.EventPayload == nil {
		return nil, refuse("invalid_metadata_schema")
	}
	return &m, nil
}

func (s *Server) chatPostMessage(args args) (fields, error) {
	c := s.channelOf(args.Get("channel"))
	if c == nil {
		c, _ = s.openDM(args.Get("channel"))
	}
	if c == nil {
		return nil, refuse("channel_not_found")
	}
	m, err := s.compose(args)
	if err != nil {
		return nil, err
	}
	if m.ThreadTS != "" && c.find(m.ThreadTS) == nil {
		return nil, refuse("thread_not_found")
	}
	s.post(c, m)
	return warned(fields{"channel": c.id, "ts": m.TS, "message": m.fields(true)}, args), nil
}

func (s *Server) post(c *channel, m *Message) {
	m.Channel, m.TS = c.id, s.nextTS()
	c.messages = append(c.messages, m)
}

func (s *Server) chatPostEphemeral(args args) (fields, error) {
	c := s.channelOf(args.Get("channel"))
	if c == nil {
		return nil, refuse("channel_not_found")
	}
	if _, ok := s.users[args.Get("user")]; !ok || (c.user != "" && c.user != args.Get("user")) {
		return nil, refuse("user_not_in_channel")
	}
	m, err := s.compose(args)
	if err != nil {
		return nil, err
	}
	s.whisper(c.id, args.Get("user"), m)
	return warned(fields{"message_ts": m.TS}, args), nil
}

func (s *Server) whisper(channelID, userID string, m *Message) {
	m.Channel, m.OnlyFor, m.TS = channelID, userID, s.nextTS()
	s.ephemerals = append(s.ephemerals, *m)
}

// message finds a message by channel id and time, as chat.update and
// chat.delete want it: the id of a person is no channel to them.
func (s *Server) message(args args, key string) (*channel, *Message, error) {
	c := s.channels[args.Get("channel")]
	if c == nil {
		return nil, nil, refuse("channel_not_found")
	}
	m := c.find(args.Get(key))
	if m == nil {
		return nil, nil, refuse("message_not_found")
	}
	return c, m, nil
}

func (s *Server) chatUpdate(args args) (fields, error) {
	c, m, err := s.message(args, "ts")
	switch {
	case err != nil:
		return nil, err
	case m.Author != args.by.user:
		return nil, refuse("cant_update_message")
	case utf8.RuneCountInString(args.Get("text")) > updateLimit:
		return nil, refuse("msg_too_long")
	}
	next, err := s.compose(args)
	if err != nil {
		return nil, err
	}
	if !args.Has("metadata") {
		next.Metadata = m.Metadata
	}
	s.edit(m, next)
	return fields{"channel": c.id, "ts": m.TS, "text": m.Text, "message": m.fields(true)}, nil
}

// edit replaces what a message says. A text without blocks removes the blocks,
// and only then are people shown that the message was edited: Slack's rules.
func (s *Server) edit(m, next *Message) {
	before := *m
	before.Edits = nil
	m.Edits = append(m.Edits, before)
	m.Text, m.Blocks, m.Metadata = next.Text, next.Blocks, next.Metadata
	if len(m.Blocks) == 0 {
		m.editedTS = s.nextTS()
	}
}

func (s *Server) chatDelete(args args) (fields, error) {
	c, m, err := s.message(args, "ts")
	if err != nil {
		return nil, err
	}
	if m.Author != args.by.user {
		return nil, refuse("cant_delete_message")
	}
	c.remove(m)
	return fields{"channel": c.id, "ts": m.TS}, nil
}

func (c *channel) remove(m *Message) {
	c.messages = slices.DeleteFunc(c.messages, func(x *Message) bool { return x == m })
}

func (s *Server) chatGetPermalink(args args) (fields, error) {
	c, m, err := s.message(args, "message_ts")
	if err != nil {
		return nil, err
	}
	link := "https://" + TeamDomain + ".slack.com/archives/" + c.id + "/p" + strings.ReplaceAll(m.TS, ".", "")
	return fields{"channel": c.id, "permalink": link}, nil
}

func (m *Message) fields(withMetadata bool) fields {
	f := fields{
		"type": "message", "text": m.Text, "ts": m.TS, "team": TeamID, "user": m.Author,
	}
	if m.Author == BotUserID {
		f["bot_id"], f["app_id"] = BotID, AppID
	}
	if len(m.Blocks) > 0 {
		f["blocks"] = m.Blocks
	}
	if m.ThreadTS != "" {
		f["thread_ts"] = m.ThreadTS
	}
	if m.editedTS != "" {
		f["edited"] = fields{"user": m.Author, "ts": m.editedTS}
	}
	if withMetadata && m.Metadata != nil {
		f["metadata"] = m.Metadata
	}
	return f
}

func (s *Server) conversationsOpen(args args) (fields, error) {
	c, fresh := s.channels[args.Get("channel")], false
	switch users := args.Get("users"); {
	case users == "" && c == nil && args.Get("channel") != "":
		return nil, refuse("channel_not_found")
	case users == "" && c == nil:
		return nil, refuse("users_list_not_supplied")
	case strings.Contains(users, ","):
		return nil, refuse("method_not_supported_for_channel_type", "the sandbox has no group messages")
	case users != "":
		if c, fresh = s.openDM(users); c == nil {
			return nil, refuse("user_not_found")
		}
	}
	answer := fields{"channel": fields{"id": c.id}}
	if args.Get("return_im") == "true" {
		answer["channel"] = c.fields()
	}
	if !fresh {
		answer["no_op"], answer["already_open"] = true, true
	}
	return answer, nil
}

func (s *Server) conversationsInfo(args args) (fields, error) {
	c := s.channels[args.Get("channel")]
	if c == nil {
		return nil, refuse("channel_not_found")
	}
	if err := args.by.need(c.readScope("read")); err != nil {
		return nil, err
	}
	return fields{"channel": c.fields()}, nil
}

func (c *channel) fields() fields {
	f := fields{"id": c.id, "created": c.created.Unix(), "is_archived": false, "is_im": c.user != "", "is_channel": c.user == ""}
	if c.user != "" {
		f["user"], f["is_user_deleted"], f["is_open"] = c.user, false, true
		return f
	}
	f["name"], f["name_normalized"], f["is_member"], f["is_private"] = c.name, c.name, true, false
	return f
}

func (s *Server) conversationsHistory(args args) (fields, error) {
	return s.page(args, func(m *Message) bool { return m.ThreadTS == "" }, true)
}

func (s *Server) conversationsReplies(args args) (fields, error) {
	c, ts := s.channels[args.Get("channel")], args.Get("ts")
	if c != nil && c.find(ts) == nil {
		return nil, refuse("thread_not_found")
	}
	return s.page(args, func(m *Message) bool { return m.TS == ts || m.ThreadTS == ts }, false)
}

// page answers the messages that want holds for, a page at a time. The cursor
// is the time of the last message of the page before.
func (s *Server) page(args args, want func(*Message) bool, newestFirst bool) (fields, error) {
	c := s.channels[args.Get("channel")]
	if c == nil {
		return nil, refuse("channel_not_found")
	}
	if err := args.by.need(c.readScope("history")); err != nil {
		return nil, err
	}
	found := slices.DeleteFunc(slices.Clone(c.messages), func(m *Message) bool { return !want(m) || !within(m.TS, args.Values) })
	if newestFirst {
		slices.Reverse(found)
	}
	if cursor := args.Get("cursor"); cursor != "" {
		after, err := base64.StdEncoding.DecodeString(cursor)
		at := slices.IndexFunc(found, func(m *Message) bool { return m.TS == string(after) })
		if err != nil || at < 0 {
			return nil, refuse("invalid_cursor")
		}
		found = found[at+1:]
	}
	limit, err := strconv.Atoi(args.Get("limit"))
	if err != nil || limit <= 0 || limit > 999 {
		limit = 100
	}
	answer := fields{"has_more": len(found) > limit}
	if len(found) > limit {
		found = found[:limit]
		answer["response_metadata"] = fields{"next_cursor": base64.StdEncoding.EncodeToString([]byte(found[limit-1].TS))}
	}
	all := args.Get("include_all_metadata")
	messages := make([]fields, 0, len(found))
	for _, m := range found {
		messages = append(messages, m.fields(all == "1" || all == "true"))
	}
	answer["messages"] = messages
	return answer, nil
}

// within tells whether a message time lies between oldest and latest, which
// count themselves only where inclusive is set.
func within(ts string, args url.Values) bool {
	oldest, latest := args.Get("oldest"), args.Get("latest")
	inclusive := args.Get("inclusive") == "1" || args.Get("inclusive") == "true"
	if inclusive && (ts == oldest || ts == latest) {
		return true
	}
	return (oldest == "" || oldest == "0" || later(ts, oldest)) && (latest == "" || latest == "now" || later(latest, ts))
}

// later compares two times exactly, which floating point would not.
func later(a, b string) bool {
	x, y := micros(a), micros(b)
	return x > y
}

func micros(ts string) int64 {
	seconds, fraction, _ := strings.Cut(ts, ".")
	n, err := strconv.ParseInt(seconds+(fraction + "000000")[:6], 10, 64)
	if err != nil {
		return 0
	}
	return n
}
