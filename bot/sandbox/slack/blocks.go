package slack

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// Slack's limits: blocks per message and per view; the rest are characters or
// elements of one block.
const (
	messageBlocks = 50
	viewBlocks    = 100
)

// textOfBlocks is how many characters all blocks of a message may hold. Slack
// refuses more but names no number: people measured that 9,597 are taken and
// 11,341 are not (slackapi/bolt-js issue 2867).
const textOfBlocks = 11_000

type textObject struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// block holds the parts of every kind of block that are checked or shown.
type block struct {
	Type      string            `json:"type"`
	BlockID   string            `json:"block_id"`
	Text      *textObject       `json:"text"`
	Fields    []textObject      `json:"fields"`
	Elements  []json.RawMessage `json:"elements"`
	Accessory *element          `json:"accessory"`
	Label     *textObject       `json:"label"`
	Element   *element          `json:"element"`
	AltText   string            `json:"alt_text"`
}

// element is a button, a select, an input, an image, or a text of a context
// block, whose text is a string and not an object.
type element struct {
	Type        string          `json:"type"`
	ActionID    string          `json:"action_id"`
	Value       string          `json:"value"`
	URL         string          `json:"url"`
	Style       string          `json:"style"`
	Text        json.RawMessage `json:"text"`
	Placeholder *textObject     `json:"placeholder"`
	AltText     string          `json:"alt_text"`
}

func (e *element) label() textObject {
	var t textObject
	if json.Unmarshal(e.Text, &t) != nil {
		return textObject{}
	}
	return t
}

// blockTypes are the kinds of blocks that exist; the value tells whether this
// package looks inside.
var blockTypes = map[string]bool{
	"actions": true, "context": true, "divider": true, "header": true, "image": true, "input": true, "section": true,
	"call": false, "file": false, "markdown": false, "rich_text": false, "video": false,
}

// checker collects what is wrong with blocks, in Slack's words.
type checker struct {
	problems []string
	ids      map[string]bool
}

func (c *checker) fail(pointer, format string, args ...any) {
	c.problems = append(c.problems, fmt.Sprintf("[ERROR] %s [json-pointer:%s]", fmt.Sprintf(format, args...), pointer))
}

// readBlocks reads and checks a JSON array of blocks, and gives each a
// block_id that has none. An empty text means no blocks. s.mu is held.
func (s *Server) readBlocks(raw string, most int) ([]json.RawMessage, error) {
	if raw == "" {
		return nil, nil
	}
	var all []json.RawMessage
	if json.Unmarshal([]byte(raw), &all) != nil {
		return nil, refuse("invalid_blocks_format")
	}
	check := checker{ids: map[string]bool{}}
	if len(all) > most {
		check.fail("/blocks", "no more than %d items allowed", most)
	}
	for i, one := range all {
		var b block
		at := fmt.Sprintf("/blocks/%d", i)
		if err := json.Unmarshal(one, &b); err != nil {
			check.fail(at, "not a block: %s", err)
			continue
		}
		check.block(at, b)
		all[i] = s.named(one, b)
	}
	if check.problems != nil {
		return nil, refuse("invalid_blocks", check.problems...)
	}
	if most == messageBlocks && textIn(all) > textOfBlocks {
		return nil, refuse("msg_blocks_too_long")
	}
	return all, nil
}

// textIn counts the characters of every text of blocks, however deep.
func textIn(blocks []json.RawMessage) int {
	n := 0
	var count func(v any)
	count = func(v any) {
		switch v := v.(type) {
		case []any:
			for _, one := range v {
				count(one)
			}
		case map[string]any:
			if text, ok := v["text"].(string); ok {
				n += utf8.RuneCountInString(text)
			}
			for _, one := range v {
				count(one)
			}
		}
	}
	for _, raw := range blocks {
		var v any
		if json.Unmarshal(raw, &v) == nil {
			count(v)
		}
	}
	return n
}

func (s *Server) named(raw json.RawMessage, b block) json.RawMessage {
	var object map[string]json.RawMessage
	if b.BlockID != "" || json.Unmarshal(raw, &object) != nil || object == nil {
		return raw
	}
	object["block_id"] = json.RawMessage(`"` + s.newID("b") + `"`)
	named, err := json.Marshal(object)
	if err != nil {
		return raw
	}
	return named
}

func (c *checker) block(at string, b block) {
	inside, known := blockTypes[b.Type]
	if !known {
		c.fail(at+"/type", "unsupported type: %s", b.Type)
	}
	if b.BlockID != "" {
		c.length(at+"/block_id", b.BlockID, 1, 255)
		if c.ids[b.BlockID] {
			c.fail(at+"/block_id", "block_id %q already exists", b.BlockID)
		}
		c.ids[b.BlockID] = true
	}
	if !inside {
		return
	}
	switch b.Type {
	case "section":
		c.section(at, b)
	case "header":
		c.text(at+"/text", b.Text, "plain_text", 150)
	case "context":
		c.elements(at, b, 10)
	case "actions":
		c.elements(at, b, 25)
	case "input":
		c.text(at+"/label", b.Label, "plain_text", 2000)
		if b.Element == nil {
			c.fail(at, "missing required field: element")
		}
	case "image":
		c.length(at+"/alt_text", b.AltText, 1, 2000)
	}
}

func (c *checker) section(at string, b block) {
	if b.Text == nil && len(b.Fields) == 0 {
		c.fail(at, "must have text or fields")
	}
	if b.Text != nil {
		c.text(at+"/text", b.Text, "", 3000)
	}
	if len(b.Fields) > 10 {
		c.fail(at+"/fields", "no more than 10 items allowed")
	}
	for i := range b.Fields {
		c.text(fmt.Sprintf("%s/fields/%d", at, i), &b.Fields[i], "", 2000)
	}
	if b.Accessory != nil {
		c.element(at+"/accessory", *b.Accessory)
	}
}

func (c *checker) elements(at string, b block, most int) {
	if len(b.Elements) == 0 || len(b.Elements) > most {
		c.fail(at+"/elements", "must have between 1 and %d items", most)
	}
	actions := map[string]bool{}
	for i, raw := range b.Elements {
		at := fmt.Sprintf("%s/elements/%d", at, i)
		var e element
		if err := json.Unmarshal(raw, &e); err != nil {
			c.fail(at, "not an element: %s", err)
			continue
		}
		if b.Type == "context" {
			c.contextElement(at, e)
			continue
		}
		c.element(at, e)
		if e.ActionID != "" && actions[e.ActionID] {
			c.fail(at+"/action_id", "`action_id` %q already exists in this block", e.ActionID)
		}
		actions[e.ActionID] = true
	}
}

func (c *checker) contextElement(at string, e element) {
	if e.Type == "image" {
		c.length(at+"/alt_text", e.AltText, 1, 2000)
		return
	}
	var text string
	if (e.Type != "mrkdwn" && e.Type != "plain_text") || json.Unmarshal(e.Text, &text) != nil {
		c.fail(at, "a context block holds texts and images, not %q", e.Type)
		return
	}
	c.length(at+"/text", text, 1, 3000)
}

// element checks an interactive element; all but the button only in what they
// have in common.
func (c *checker) element(at string, e element) {
	if e.Type == "" {
		c.fail(at, "missing required field: type")
	}
	c.length(at+"/action_id", e.ActionID, 0, 255)
	if e.Type != "button" {
		return
	}
	label := e.label()
	c.text(at+"/text", &label, "plain_text", 75)
	c.length(at+"/value", e.Value, 0, 2000)
	c.length(at+"/url", e.URL, 0, 3000)
	if e.Style != "" && e.Style != "primary" && e.Style != "danger" {
		c.fail(at+"/style", "must be primary or danger")
	}
}

// text checks a text object of a wanted kind (either where empty).
func (c *checker) text(at string, t *textObject, kind string, most int) {
	if t == nil {
		c.fail(at, "missing required field")
		return
	}
	if (t.Type != "plain_text" && t.Type != "mrkdwn") || (kind != "" && t.Type != kind) {
		c.fail(at+"/type", "unsupported type of text: %s", t.Type)
	}
	c.length(at+"/text", t.Text, 1, most)
}

func (c *checker) length(at, text string, least, most int) {
	n := utf8.RuneCountInString(text)
	if n > most {
		c.fail(at, "must be less than %d characters", most+1)
	}
	if n < least {
		c.fail(at, "must be more than %d characters", least-1)
	}
}
