package slackchat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/slack-go/slack"
)

// Form asks one person for one line of text, on their own screen. All texts
// are shown as they are; what is too long is cut, but for Action and Value.
type Form struct {
	Action, Value string   // come back in the Interaction
	Title         string   // on top
	Lines         []string // above the field
	Label, Hint   string   // of the field
	Submit        string   // on the button that sends it
}

// Slack's limits for forms, in characters.
const (
	mostTitle     = 24 // also of the labels of the form's own buttons
	mostLabelText = 2000
	mostMetadata  = 3000
)

// mostAnswerText is how much fits into the field: as much as a reason holds.
const mostAnswerText = 500

// The field's names, by which its value and what is wrong with it are found.
const (
	fieldBlock  = "tac_field"
	fieldAction = "tac_text"
)

// OpenForm opens a form on the screen of whoever did what trigger is of, which
// Slack allows for three seconds. It needs no scope.
func (c *Client) OpenForm(ctx context.Context, trigger string, f Form) error {
	view, err := f.view()
	if err != nil {
		return fmt.Errorf("slack form: %w", err)
	}
	if _, err := c.api.OpenViewContext(ctx, trigger, view); err != nil {
		return fmt.Errorf("slack views.open: %w", readError(err))
	}
	return nil
}

func (f Form) view() (slack.ModalViewRequest, error) {
	if f.Action == "" || units(f.Action) > mostActionID || units(f.Value) > mostMetadata {
		return slack.ModalViewRequest{}, errors.New("it has no action, or an action or a value that is too long")
	}
	field := slack.NewPlainTextInputBlockElement(nil, fieldAction)
	field.MaxLength = mostAnswerText
	field.FocusOnLoad = true
	hint := plainText(cut(visible(f.Hint), mostLabelText))
	if hint.Text == "" {
		hint = nil
	}
	return slack.ModalViewRequest{
		Type: slack.VTModal, CallbackID: f.Action, PrivateMetadata: f.Value,
		Title:  plainText(cut(visible(f.Title), mostTitle)),
		Submit: plainText(cut(visible(f.Submit), mostTitle)),
		Close:  plainText("Cancel"),
		Blocks: slack.Blocks{BlockSet: append(lineSections(f.Lines),
			slack.NewInputBlock(fieldBlock, plainText(cut(visible(f.Label), mostLabelText)), hint, field))},
	}, nil
}

// Objection returns the JSON answer to a form that leaves it open, with what
// was written in it, and shows text at the field.
func Objection(text string) []byte {
	answer := map[string]any{
		"response_action": "errors",
		"errors":          map[string]string{fieldBlock: cut(visible(text), mostSection)},
	}
	body, err := json.Marshal(answer)
	if err != nil { // strings always encode
		return nil
	}
	return body
}

// submission is the payload of a form that was sent.
type submission struct {
	CallbackID      string `json:"callback_id"`
	PrivateMetadata string `json:"private_metadata"`
	State           struct {
		Values map[string]map[string]struct {
			Value string `json:"value"`
		} `json:"values"`
	} `json:"state"`
}
