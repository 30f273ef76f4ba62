package slackchat

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"unicode"

	"github.com/slack-go/slack"

	"github.com/tigeraccess/tac/grants/world"
)

// Slack's limits, in characters. Whether Slack counts characters or UTF-16
// units is not said; units are never fewer, so units are counted.
const (
	mostHeader   = 150
	mostSection  = 3000
	mostField    = 2000
	mostFields   = 10 // of one section
	mostLabel    = 75
	mostActionID = 255
	mostValue    = 2000
	mostURL      = 3000
	mostButtons  = 25
)

// Our own limits. Slack refuses messages whose blocks hold more than some
// 11,000 characters together (msg_blocks_too_long; it names no number), and
// fallback texts over 4,000. With these the worst notice has 35 of the 50
// blocks that Slack takes.
const (
	mostLines    = 4000 // characters of all lines
	mostFacts    = 40
	mostFactText = 3000 // characters of all facts
	mostSecret   = 2000
	mostFallback = 3500 // after escaping
)

// ActionOpen is the action of the button that opens the pull request. Slack
// reports the press of it like any other; there is nothing to do.
const ActionOpen = "tac_open"

// audience says who sees a message.
type audience int

const (
	public audience = iota // a channel, or anything that may be edited later
	private
)

var errSecretInPublic = errors.New("a secret is said in a direct message only")

// message is a notice as Slack wants it.
type message struct {
	text   string // fallback for notifications and screen readers; escaped mrkdwn
	blocks []slack.Block
}

// options are how a message is sent: with the fallback text taken as it is,
// so that Slack neither formats it nor finds links or names in it. chat.update
// would otherwise look for them even where chat.postMessage does not.
func (m message) options() []slack.MsgOption {
	return []slack.MsgOption{
		slack.MsgOptionText(m.text, false),
		slack.MsgOptionBlocks(m.blocks...),
		slack.MsgOptionParse(false),
		slack.MsgOptionDisableMarkdown(),
		slack.MsgOptionDisableLinkUnfurl(),
		slack.MsgOptionDisableMediaUnfurl(),
	}
}

// render turns a notice into a message. All texts become plain_text, which
// Slack never interprets; what is too long is cut. Errors never quote it.
func render(n world.Notice, to audience) (message, error) {
	if !n.Secret.Empty() && to != private {
		return message{}, errSecretInPublic
	}
	var blocks []slack.Block
	if title := cut(visible(n.Title), mostHeader); title != "" {
		blocks = append(blocks, slack.NewHeaderBlock(plainText(title)))
	}
	blocks = append(blocks, lineSections(n.Lines)...)
	blocks = append(blocks, factSections(n.Facts)...)
	if len(blocks) == 0 {
		return message{}, errors.New("the notice says nothing")
	}
	m := message{text: fallback(n)}
	if !n.Secret.Empty() {
		secret, err := secretBlocks(n, m.text)
		if err != nil {
			return message{}, err
		}
		blocks = append(blocks, secret...)
	}
	actions, err := actionBlocks(n)
	if err != nil {
		return message{}, err
	}
	m.blocks = append(blocks, actions...)
	return m, nil
}

// visible returns s on one line, with everything that cannot be seen written
// out by number: marks that turn the writing direction would make approvers
// read something else than what is there.
func visible(s string) string {
	var b strings.Builder
	for _, r := range strings.ToValidUTF8(s, "\ufffd") {
		switch {
		case unicode.IsSpace(r):
			b.WriteByte(' ')
		case !unicode.IsPrint(r):
			fmt.Fprintf(&b, "[%U]", r)
		default:
			b.WriteRune(r)
		}
	}
	return strings.TrimSpace(b.String())
}

// units counts the UTF-16 units of s.
func units(s string) int {
	n := 0
	for _, r := range s {
		n += width(r)
	}
	return n
}

func width(r rune) int {
	if r > 0xffff {
		return 2
	}
	return 1
}

// cut returns s where it fits into most units, else as much of it as fits
// before an ellipsis.
func cut(s string, most int) string { return cutBy(s, most, width) }

func cutBy(s string, most int, width func(rune) int) string {
	n, fits := 0, 0 // fits: bytes that leave room for the ellipsis
	for i, r := range s {
		if n+1 <= most {
			fits = i
		}
		if n += width(r); n > most {
			if most < 1 {
				return ""
			}
			return strings.TrimRight(s[:fits], " ") + "…"
		}
	}
	return s
}

func plainText(s string) *slack.TextBlockObject {
	// Without emoji: ":skull:" stays what was typed.
	return slack.NewTextBlockObject(slack.PlainTextType, s, false, false)
}

// lineSections packs lines into as few sections as hold them.
func lineSections(lines []string) []slack.Block {
	var blocks []slack.Block
	var open string
	flush := func() {
		if open != "" {
			blocks = append(blocks, slack.NewSectionBlock(plainText(open), nil, nil))
			open = ""
		}
	}
	add := func(line string) {
		if open != "" && units(open)+1+units(line) > mostSection {
			flush()
		}
		if open != "" {
			open += "\n"
		}
		open += line
	}
	left := mostLines
	for i, line := range lines {
		line = visible(line)
		if line == "" {
			continue
		}
		if left == 0 {
			add(fmt.Sprintf("… and %d more", len(lines)-i))
			break
		}
		line = cut(line, min(left, mostSection))
		left -= units(line)
		add(line)
	}
	flush()
	return blocks
}

func factSections(facts []world.Fact) []slack.Block {
	var fields []*slack.TextBlockObject
	left := mostFactText
	for i, f := range facts {
		if len(fields) == mostFacts-1 && i < len(facts)-1 || left == 0 {
			fields = append(fields, plainText(fmt.Sprintf("… and %d more", len(facts)-i)))
			break
		}
		name, value := visible(f.Name), visible(f.Value)
		if name == "" && value == "" {
			continue
		}
		text := cut(strings.TrimSpace(name+"\n"+value), min(left, mostField))
		left -= units(text)
		fields = append(fields, plainText(text))
	}
	var blocks []slack.Block
	for len(fields) > 0 {
		n := min(len(fields), mostFields)
		blocks = append(blocks, slack.NewSectionBlock(nil, fields[:n:n], nil))
		fields = fields[n:]
	}
	return blocks
}

// secretBlocks shows the secret as preformatted rich text, which Slack takes
// literally and people can copy whole. It is never cut, and what else of the
// notice travels further than the message itself must not hold it.
func secretBlocks(n world.Notice, fallback string) ([]slack.Block, error) {
	secret := n.Secret.Reveal()
	if units(secret) > mostSecret {
		return nil, fmt.Errorf("the secret has over %d characters", mostSecret)
	}
	if strings.Contains(fallback, secret) || strings.Contains(n.Link, secret) {
		return nil, errors.New("the secret is also in a text or in the link of the notice")
	}
	for _, b := range n.Buttons {
		if strings.Contains(b.Action+"\n"+b.Value+"\n"+b.Label, secret) {
			return nil, errors.New("the secret is also in a button of the notice")
		}
	}
	blocks := lineSections([]string{n.SecretHint})
	return append(blocks, slack.NewRichTextBlock("", &slack.RichTextPreformatted{
		Type:     slack.RTEPreformatted,
		Elements: []slack.RichTextSectionElement{slack.NewRichTextSectionTextElement(secret, nil)},
	})), nil
}

// actionBlocks returns the link and the buttons. Within one block an action
// may stand once only, so its second button starts another block. Action and
// value are for machines: where they do not fit, cutting would change them.
func actionBlocks(n world.Notice) ([]slack.Block, error) {
	var buttons []*slack.ButtonBlockElement
	if link, ok := webLink(n.Link); ok {
		open := slack.NewButtonBlockElement(ActionOpen, "", plainText("Open pull request"))
		open.URL = link
		buttons = append(buttons, open)
	}
	for _, b := range n.Buttons {
		label := cut(visible(b.Label), mostLabel)
		switch {
		case b.Action == "" || b.Action == ActionOpen || units(b.Action) > mostActionID:
			return nil, fmt.Errorf("a button's action has to have 1 to %d characters and not be %s", mostActionID, ActionOpen)
		case units(b.Value) > mostValue:
			return nil, fmt.Errorf("the value of the button %s has over %d characters", b.Action, mostValue)
		case label == "":
			return nil, fmt.Errorf("the button %s has no label", b.Action)
		}
		buttons = append(buttons, slack.NewButtonBlockElement(b.Action, b.Value, plainText(label)))
	}
	if len(buttons) > mostButtons {
		return nil, fmt.Errorf("the notice has %d buttons; at most %d fit", len(buttons), mostButtons)
	}
	var blocks []slack.Block
	var row []slack.BlockElement
	taken := map[string]bool{}
	for _, b := range buttons {
		if taken[b.ActionID] {
			blocks = append(blocks, slack.NewActionBlock("", row...))
			row = nil
			clear(taken)
		}
		taken[b.ActionID] = true
		row = append(row, b)
	}
	if len(row) > 0 {
		blocks = append(blocks, slack.NewActionBlock("", row...))
	}
	return blocks, nil
}

// webLink returns raw as a button may carry it; false for what is not a plain
// web address (javascript:, slack:, https://github.com@elsewhere/).
func webLink(raw string) (string, bool) {
	u, err := url.Parse(raw)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Hostname() == "" || u.User != nil {
		return "", false
	}
	link := u.String()
	return link, units(link) <= mostURL
}

// fallback is what notifications show and screen readers read: all that the
// notice says, except for the secret.
func fallback(n world.Notice) string {
	texts := append([]string{n.Title}, n.Lines...)
	for _, f := range n.Facts {
		texts = append(texts, f.Name+": "+f.Value)
	}
	return escapedLines(texts)
}

// escapedLines joins texts into mrkdwn that calls nobody and links nowhere.
func escapedLines(texts []string) string {
	var lines []string
	for _, t := range texts {
		if t = visible(t); t != "" {
			lines = append(lines, t)
		}
	}
	return escape.Replace(cutBy(strings.Join(lines, "\n"), mostFallback, escapedWidth))
}

var escape = strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;")

func escapedWidth(r rune) int {
	switch r {
	case '&':
		return len("&amp;")
	case '<', '>':
		return len("&lt;")
	}
	return width(r)
}

// Ephemeral returns the JSON answer to a slash command that only its sender
// sees. Lines of text become lines; nothing in it is interpreted.
func Ephemeral(text string) []byte {
	lines := strings.Split(text, "\n")
	answer := struct {
		ResponseType string        `json:"response_type"`
		Text         string        `json:"text"`
		Mrkdwn       bool          `json:"mrkdwn"`
		Blocks       []slack.Block `json:"blocks,omitempty"`
	}{"ephemeral", escapedLines(lines), false, lineSections(lines)}
	body, err := json.Marshal(answer)
	if err != nil { // strings and our own blocks always encode
		return []byte(`{"response_type":"ephemeral","text":"Done, but the answer could not be written."}`)
	}
	return body
}
