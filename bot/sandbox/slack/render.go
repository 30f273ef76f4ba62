package slack

import (
	"encoding/json"
	"regexp"
	"strings"
)

// Render returns what a person reads of a message, as lines: its blocks, or
// its text where it has none. A button is [Label], a select [Placeholder ▾],
// an input "Label: [...]", a link "label (address)"; mentions show names.
func (s *Server) Render(m Message) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(m.Blocks) == 0 {
		return s.mrkdwn(m.Text)
	}
	return s.lines(m.Blocks)
}

// RenderView returns what a person reads of a form or of an App Home.
func (s *Server) RenderView(v View) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := s.lines(v.Blocks)
	if v.Title != "" {
		text = v.Title + "\n" + text
	}
	if v.Submit != "" {
		text += "\n[" + v.Submit + "]"
	}
	return text
}

func (s *Server) lines(blocks []json.RawMessage) string {
	var lines []string
	for _, raw := range blocks {
		var b block
		if json.Unmarshal(raw, &b) == nil {
			lines = append(lines, s.blockLines(b)...)
		}
	}
	return strings.Join(lines, "\n")
}

func (s *Server) blockLines(b block) []string {
	switch b.Type {
	case "divider":
		return []string{"---"}
	case "image":
		return []string{"(" + b.AltText + ")"}
	case "input":
		return []string{s.shown(b.Label) + ": [...]"}
	case "context", "actions":
		var parts []string
		for _, raw := range b.Elements {
			var e element
			if json.Unmarshal(raw, &e) == nil {
				parts = append(parts, s.elementText(e))
			}
		}
		return []string{strings.Join(parts, " ")}
	case "section", "header":
		var lines []string
		if b.Text != nil {
			lines = append(lines, s.shown(b.Text))
		}
		for i := range b.Fields {
			lines = append(lines, s.shown(&b.Fields[i]))
		}
		if b.Accessory != nil {
			lines = append(lines, s.elementText(*b.Accessory))
		}
		return lines
	}
	return []string{"(" + b.Type + ")"}
}

func (s *Server) elementText(e element) string {
	var text string
	switch {
	case e.Type == "image":
		return "(" + e.AltText + ")"
	case e.Type == "button":
		return "[" + e.label().Text + "]"
	case e.Type == "mrkdwn" && json.Unmarshal(e.Text, &text) == nil:
		return s.mrkdwn(text)
	case e.Type == "plain_text" && json.Unmarshal(e.Text, &text) == nil:
		return text
	case e.Placeholder != nil:
		return "[" + e.Placeholder.Text + " ▾]"
	}
	return "[" + e.Type + "]"
}

func (s *Server) shown(t *textObject) string {
	switch {
	case t == nil:
		return ""
	case t.Type == "mrkdwn":
		return s.mrkdwn(t.Text)
	}
	return t.Text
}

// control finds what Slack makes live in mrkdwn: <@U1>, <!channel>, links.
var control = regexp.MustCompile(`<([^<>]+)>`)

var entities = strings.NewReplacer("&lt;", "<", "&gt;", ">", "&amp;", "&")

func (s *Server) mrkdwn(text string) string {
	text = control.ReplaceAllStringFunc(text, func(live string) string {
		target, label, labelled := strings.Cut(live[1:len(live)-1], "|")
		if target == "" {
			return live
		}
		switch kind, rest := target[0], target[1:]; {
		case kind == '@' && s.users[rest].name != "":
			return "@" + s.users[rest].name
		case kind == '#' && s.channels[rest] != nil:
			return "#" + s.channels[rest].name
		case labelled && (kind == '@' || kind == '#' || kind == '!'):
			return label
		case kind == '@' || kind == '#':
			return target
		case kind == '!':
			return "@" + rest
		case labelled:
			return label + " (" + target + ")"
		}
		return target
	})
	return entities.Replace(text)
}

// Mentions returns whom a message calls, in order, as Slack's control
// sequences without their brackets: "@U01ALICE", "!channel", "!subteam^S1".
// What somebody typed must never turn up here.
func Mentions(m Message) []string {
	var called []string
	find := func(text string) {
		for _, live := range control.FindAllStringSubmatch(text, -1) {
			target, _, _ := strings.Cut(live[1], "|")
			if strings.HasPrefix(target, "@") || (strings.HasPrefix(target, "!") && !strings.HasPrefix(target, "!date")) {
				called = append(called, target)
			}
		}
	}
	find(m.Text)
	for _, raw := range m.Blocks {
		var any any
		if json.Unmarshal(raw, &any) == nil {
			eachMrkdwn(any, find)
		}
	}
	return called
}

// eachMrkdwn visits the text of every mrkdwn text object, however deep.
func eachMrkdwn(v any, visit func(string)) {
	switch v := v.(type) {
	case []any:
		for _, one := range v {
			eachMrkdwn(one, visit)
		}
	case map[string]any:
		if text, ok := v["text"].(string); ok && v["type"] == "mrkdwn" {
			visit(text)
		}
		for _, one := range v {
			eachMrkdwn(one, visit)
		}
	}
}
