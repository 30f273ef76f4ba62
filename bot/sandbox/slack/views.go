package slack

import (
	"encoding/json"
	"errors"
	"slices"
	"time"
)

// triggerLife is how long, in sandbox time, a trigger id opens a form.
const triggerLife = 3 * time.Second

// View is a form (modal) that is open on a person's screen, or an App Home.
type View struct {
	ID              string
	UserID          string // whose screen it is on
	Type            string // "modal" or "home"
	CallbackID      string
	ExternalID      string
	PrivateMetadata string
	Title           string
	Submit          string // the label of the submit button
	Hash            string // changes with every update
	Blocks          []json.RawMessage

	raw map[string]json.RawMessage // what the app sent
}

type trigger struct {
	user    string
	expires time.Time
	used    bool
}

// newTrigger makes a trigger id for what a person has just done; s.mu is held.
func (s *Server) newTrigger(userID string) string {
	id := s.newID("") + "." + random(8)
	s.triggers[id] = &trigger{user: userID, expires: s.clock.Now().Add(triggerLife)}
	return id
}

// Views returns the forms that are open, oldest first. One is open from
// views.open until its submission is accepted.
func (s *Server) Views() []View {
	s.mu.Lock()
	defer s.mu.Unlock()
	open := make([]View, 0, len(s.views))
	for _, v := range s.views {
		open = append(open, *v)
	}
	return open
}

// Home returns a person's App Home and whether the bot has published one.
func (s *Server) Home(userID string) (View, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := s.homes[userID]
	if !ok {
		return View{}, false
	}
	return *v, true
}

func (s *Server) viewsOpen(args args) (fields, error) {
	t := s.triggers[args.Get("trigger_id")]
	switch {
	case t == nil:
		return nil, refuse("invalid_arguments", "invalid `trigger_id`")
	case t.used:
		return nil, refuse("exchanged_trigger_id")
	case s.clock.Now().After(t.expires):
		return nil, refuse("expired_trigger_id")
	}
	v, err := s.readView(args.Get("view"), "modal")
	if err != nil {
		return nil, err
	}
	if v.ExternalID != "" && slices.ContainsFunc(s.views, func(o *View) bool { return o.ExternalID == v.ExternalID }) {
		return nil, refuse("duplicate_external_id")
	}
	t.used = true
	v.ID, v.UserID = s.newID("V"), t.user
	s.views = append(s.views, v)
	return fields{"view": v.fields()}, nil
}

func (s *Server) viewsPublish(args args) (fields, error) {
	userID := args.Get("user_id")
	if _, ok := s.users[userID]; !ok {
		return nil, refuse("invalid_arguments", "invalid `user_id`")
	}
	before := s.homes[userID]
	if hash := args.Get("hash"); hash != "" && before != nil && hash != before.Hash {
		return nil, refuse("hash_conflict")
	}
	v, err := s.readView(args.Get("view"), "home")
	if err != nil {
		return nil, err
	}
	v.ID, v.UserID = s.newID("V"), userID
	if before != nil {
		v.ID = before.ID
	}
	s.homes[userID] = v
	return fields{"view": v.fields()}, nil
}

func (s *Server) viewsUpdate(args args) (fields, error) {
	v := s.viewOf(args.Get("view_id"), args.Get("external_id"))
	if v == nil {
		return nil, refuse("not_found")
	}
	if hash := args.Get("hash"); hash != "" && hash != v.Hash {
		return nil, refuse("hash_conflict")
	}
	next, err := s.readView(args.Get("view"), v.Type)
	if err != nil {
		return nil, err
	}
	next.ID, next.UserID = v.ID, v.UserID
	*v = *next
	return fields{"view": v.fields()}, nil
}

// viewOf finds an open form or an App Home; nil where there is none.
func (s *Server) viewOf(id, externalID string) *View {
	is := func(v *View) bool {
		return (id != "" && v.ID == id) || (id == "" && externalID != "" && v.ExternalID == externalID)
	}
	for _, v := range s.views {
		if is(v) {
			return v
		}
	}
	for _, v := range s.homes {
		if is(v) {
			return v
		}
	}
	return nil
}

func (s *Server) closeView(v *View) {
	s.views = slices.DeleteFunc(s.views, func(o *View) bool { return o == v })
}

// readView reads and checks a view of a wanted type, and gives it a hash.
func (s *Server) readView(raw, want string) (*View, error) {
	const sizeLimit = 250_000
	if len(raw) > sizeLimit {
		return nil, refuse("view_too_large")
	}
	var in struct {
		Type            string          `json:"type"`
		Title           *textObject     `json:"title"`
		Submit          *textObject     `json:"submit"`
		CallbackID      string          `json:"callback_id"`
		ExternalID      string          `json:"external_id"`
		PrivateMetadata string          `json:"private_metadata"`
		Blocks          json.RawMessage `json:"blocks"`
	}
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(raw), &in) != nil || json.Unmarshal([]byte(raw), &object) != nil || object == nil {
		return nil, refuse("invalid_arguments", "[ERROR] invalid `view`")
	}
	check := checker{}
	if in.Type != want {
		check.fail("/view/type", "must be %s", want)
	}
	v := &View{
		Type: in.Type, CallbackID: in.CallbackID, ExternalID: in.ExternalID, PrivateMetadata: in.PrivateMetadata,
		Hash: s.nextTS() + "." + random(4), raw: object,
	}
	const titleLimit = 24
	if want == "modal" {
		check.text("/view/title", in.Title, "plain_text", titleLimit)
	}
	if in.Title != nil {
		v.Title = in.Title.Text
	}
	if in.Submit != nil {
		check.text("/view/submit", in.Submit, "plain_text", titleLimit)
		v.Submit = in.Submit.Text
	}
	check.length("/view/callback_id", in.CallbackID, 0, 255)
	check.length("/view/private_metadata", in.PrivateMetadata, 0, 3000)
	var err error
	var bad *refusal
	if v.Blocks, err = s.readBlocks(string(in.Blocks), viewBlocks); errors.As(err, &bad) {
		check.problems = append(check.problems, bad.messages...)
		check.fail("/view/blocks", "%s", bad.code)
	}
	if in.Blocks == nil {
		check.fail("/view", "missing required field: blocks")
	}
	if want == "modal" && in.Submit == nil && hasInput(v.Blocks) {
		check.fail("/view/submit", "missing required field: a modal with an input block needs submit")
	}
	if check.problems != nil {
		return nil, refuse("invalid_arguments", check.problems...)
	}
	return v, nil
}

func hasInput(blocks []json.RawMessage) bool {
	return slices.ContainsFunc(blocks, func(raw json.RawMessage) bool {
		var b block
		return json.Unmarshal(raw, &b) == nil && b.Type == "input"
	})
}

// fields is the view as Slack sends it: what the app sent, and what Slack adds.
func (v *View) fields() fields {
	f := fields{"callback_id": "", "external_id": "", "private_metadata": "", "clear_on_close": false, "notify_on_close": false}
	for key, raw := range v.raw {
		f[key] = raw
	}
	f["id"], f["root_view_id"], f["previous_view_id"] = v.ID, v.ID, nil
	f["team_id"], f["app_id"], f["bot_id"], f["app_installed_team_id"] = TeamID, AppID, BotID, TeamID
	f["hash"], f["blocks"] = v.Hash, v.Blocks
	f["state"] = fields{"values": fields{}}
	return f
}
