package slack

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	formType = "application/x-www-form-urlencoded"
	// verificationToken is the field that signatures have replaced; Slack still
	// sends it, and nobody should read it.
	verificationToken = "legacy-verification-token"
)

// Command has a person type a slash command ("/tac") with text in a channel,
// and sends it to the app at target. For a direct message with the bot, give
// the person's own id as the channel.
func (s *Server) Command(target, userID, channelID, command, text string) (*Answer, error) {
	s.mu.Lock()
	u, ok := s.users[userID]
	c := s.placeOf(userID, channelID)
	if !ok || c == nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("command of %s in %s: no such person or channel", userID, channelID)
	}
	triggerID, responseURL := s.newTrigger(userID), s.newHook("commands", userID, c.id, "")
	form := url.Values{
		"token": {verificationToken}, "team_id": {TeamID}, "team_domain": {TeamDomain},
		"channel_id": {c.id}, "channel_name": {c.shownName()}, "user_id": {u.id}, "user_name": {u.name},
		"command": {command}, "text": {text}, "api_app_id": {AppID}, "is_enterprise_install": {"false"},
		"response_url": {responseURL}, "trigger_id": {triggerID},
	}
	s.mu.Unlock()
	return s.act(target, form, triggerID, responseURL)
}

// placeOf finds where a person writes: a channel, or their direct messages
// with the bot. Nobody is in another's direct messages.
func (s *Server) placeOf(userID, channelID string) *channel {
	if channelID == userID {
		c, _ := s.openDM(userID)
		return c
	}
	c := s.channelOf(channelID)
	if c != nil && c.user != "" && c.user != userID {
		return nil
	}
	return c
}

func (c *channel) shownName() string {
	if c.user != "" {
		return "directmessage"
	}
	return c.name
}

func (s *Server) act(target string, form url.Values, triggerID, responseURL string) (*Answer, error) {
	a, err := s.Deliver(Delivery{URL: target, ContentType: formType, Body: form.Encode()})
	if err != nil {
		return nil, err
	}
	a.TriggerID, a.ResponseURL = triggerID, responseURL
	if err := s.showAnswer(a); err != nil {
		return nil, err
	}
	return a, nil
}

func (s *Server) interact(target string, payload fields, triggerID, responseURL string) (*Answer, error) {
	payload["token"], payload["api_app_id"], payload["trigger_id"] = verificationToken, AppID, triggerID
	payload["team"] = fields{"id": TeamID, "domain": TeamDomain}
	payload["enterprise"], payload["is_enterprise_install"] = nil, false
	text, err := json.Marshal(payload)
	if err != nil {
		return nil, fmt.Errorf("write interaction: %w", err)
	}
	return s.act(target, url.Values{"payload": {string(text)}}, triggerID, responseURL)
}

// pressed is where a button is.
type pressed struct {
	block   block
	element element
	channel *channel
	message *Message
	view    *View
}

// Press has a person press a button and sends it to the app at target. Where
// is the time (TS) of a message, or the id of a view. The button is found by
// its action id, and by its value too unless value is empty. A button that
// only an earlier version of the message shows may be pressed as well: a
// screen may lag behind. Whoever cannot see the message cannot press.
func (s *Server) Press(target, userID, where, actionID, value string) (*Answer, error) {
	s.mu.Lock()
	u, ok := s.users[userID]
	b := s.button(userID, where, actionID, value)
	if !ok || b == nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("press %q by %s at %s: no such button is on their screen", actionID, userID, where)
	}
	action := fields{
		"type": "button", "action_id": b.element.ActionID, "block_id": b.block.BlockID,
		"text": b.element.Text, "value": b.element.Value, "action_ts": s.nextTS(),
	}
	payload := fields{"type": "block_actions", "user": u.actor(), "actions": []any{action}, "state": fields{"values": fields{}}}
	triggerID, responseURL := s.newTrigger(userID), ""
	if b.view != nil {
		payload["container"] = fields{"type": "view", "view_id": b.view.ID}
		payload["view"] = b.view.fields()
	} else {
		ephemeral := b.message.OnlyFor != ""
		responseURL = s.newHook("actions", userID, b.channel.id, b.message.TS)
		payload["response_url"] = responseURL
		payload["channel"] = fields{"id": b.channel.id, "name": b.channel.shownName()}
		payload["container"] = fields{
			"type": "message", "message_ts": b.message.TS, "channel_id": b.channel.id, "is_ephemeral": ephemeral,
		}
		if !ephemeral { // Slack does not send what it does not keep
			payload["message"] = b.message.fields(true)
		}
	}
	s.mu.Unlock()
	return s.interact(target, payload, triggerID, responseURL)
}

func (u user) actor() fields {
	return fields{"id": u.id, "username": u.name, "name": u.name, "team_id": TeamID}
}

// button finds a button on a person's screen; s.mu is held.
func (s *Server) button(userID, where, actionID, value string) *pressed {
	if v := s.viewOf(where, ""); v != nil && v.UserID == userID {
		return findButton(v.Blocks, actionID, value, pressed{view: v})
	}
	for _, c := range s.channels {
		m := c.find(where)
		if m == nil || (c.user != "" && c.user != userID) {
			continue
		}
		at := pressed{channel: c, message: m}
		found := findButton(m.Blocks, actionID, value, at)
		for i := len(m.Edits) - 1; i >= 0 && found == nil; i-- {
			found = findButton(m.Edits[i].Blocks, actionID, value, at)
		}
		return found
	}
	for i, m := range s.ephemerals {
		if m.TS == where && m.OnlyFor == userID {
			at := pressed{channel: s.channels[m.Channel], message: &s.ephemerals[i]}
			return findButton(m.Blocks, actionID, value, at)
		}
	}
	return nil
}

func findButton(blocks []json.RawMessage, actionID, value string, at pressed) *pressed {
	for _, raw := range blocks {
		var b block
		if json.Unmarshal(raw, &b) != nil {
			continue
		}
		elements := b.Elements
		if b.Accessory != nil {
			var parts struct{ Accessory json.RawMessage }
			_ = json.Unmarshal(raw, &parts) // it was read just above
			elements = append(elements, parts.Accessory)
		}
		for _, raw := range elements {
			var e element
			if json.Unmarshal(raw, &e) == nil && e.Type == "button" && e.ActionID == actionID && (value == "" || e.Value == value) {
				at.block, at.element = b, e
				return &at
			}
		}
	}
	return nil
}

// SubmitView has a person submit an open form and sends it to the app at
// target. State holds, by block id and action id, what each input says, in
// Slack's shape: {"type": "plain_text_input", "value": "2h"}. The form closes
// unless the app answers with errors or with an updated view.
func (s *Server) SubmitView(target, userID, viewID string, state map[string]map[string]any) (*Answer, error) {
	s.mu.Lock()
	u, ok := s.users[userID]
	v := s.viewOf(viewID, "")
	if !ok || v == nil || v.UserID != userID || v.Type != "modal" {
		s.mu.Unlock()
		return nil, fmt.Errorf("submit %s by %s: no such form is on their screen", viewID, userID)
	}
	view := v.fields()
	view["state"] = fields{"values": state}
	payload := fields{"type": "view_submission", "user": u.actor(), "view": view, "response_urls": []any{}}
	triggerID := s.newTrigger(userID)
	s.mu.Unlock()
	a, err := s.interact(target, payload, triggerID, "")
	if err != nil || a.Status != http.StatusOK {
		return a, err
	}
	return a, s.afterSubmit(v, a)
}

// afterSubmit does to the form what the answer asks for.
func (s *Server) afterSubmit(v *View, a *Answer) error {
	var said struct {
		Action string          `json:"response_action"`
		View   json.RawMessage `json:"view"`
	}
	if len(strings.TrimSpace(string(a.Body))) > 0 {
		if err := json.Unmarshal(a.Body, &said); err != nil {
			return fmt.Errorf("answer of %s: %w", a.Delivery.URL, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch said.Action {
	case "errors":
	case "update":
		next, err := s.readView(string(said.View), "modal")
		if err != nil {
			return fmt.Errorf("answer of %s: %w", a.Delivery.URL, err)
		}
		next.ID, next.UserID = v.ID, v.UserID
		*v = *next
	default:
		s.closeView(v)
	}
	return nil
}

// OpenHome has a person open the app's home tab and sends the event to the app
// at target.
func (s *Server) OpenHome(target, userID string) (*Answer, error) {
	s.mu.Lock()
	c, _ := s.openDM(userID)
	if c == nil {
		s.mu.Unlock()
		return nil, fmt.Errorf("open home of %s: no such person", userID)
	}
	event := fields{"type": "app_home_opened", "user": userID, "channel": c.id, "tab": "home", "event_ts": s.nextTS()}
	if v := s.homes[userID]; v != nil {
		event["view"] = v.fields()
	}
	body, err := json.Marshal(fields{
		"token": verificationToken, "team_id": TeamID, "api_app_id": AppID, "type": "event_callback",
		"event": event, "event_id": s.newID("Ev"), "event_time": time.Now().Unix(), "is_ext_shared_channel": false,
		"authorizations": []any{fields{"team_id": TeamID, "user_id": BotUserID, "is_bot": true, "is_enterprise_install": false}},
	})
	s.mu.Unlock()
	if err != nil {
		return nil, fmt.Errorf("write event: %w", err)
	}
	return s.Deliver(Delivery{URL: target, ContentType: "application/json", Body: string(body)})
}
