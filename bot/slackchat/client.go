// Package slackchat is how tac talks in Slack, and how it understands what
// Slack tells it:
//
//   - client.go says notices: one message per subject, edited in place;
//   - transport.go carries the calls, and makes none that Slack does not want
//     or would not answer;
//   - render.go turns a notice into Block Kit, so that nothing anybody typed
//     can become a mention, a link or formatting;
//   - parse.go reads what people type after /tac;
//   - verify.go proves that a delivery is Slack's, and reads it.
//
// It holds no rules about access. Types of the Slack library do not leave it.
package slackchat

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/slack-go/slack"

	"github.com/tigeraccess/tac/grants/world"
)

// Config says where Slack is and who we are there.
type Config struct {
	// APIURL is the base of the Web API; empty means Slack's own. Plain http
	// is taken on loopback addresses only, since the token goes there.
	APIURL string
	// BotToken is the token of our app's bot user. It needs the scopes
	// chat:write, im:write, and channels:history, groups:history and
	// im:history to look for what was posted before a crash.
	BotToken world.Secret
	// HTTP makes the calls; nil means a client that gives up after 15
	// seconds. It is copied; redirects are never followed.
	HTTP *http.Client
}

// Client is one bot in one workspace. It is safe for concurrent use. A call
// that Slack asked us not to make yet, or that would hang as others do or did
// a moment ago, fails at once with RateLimited or NotAnswering.
type Client struct {
	api *slack.Client

	mu   sync.Mutex
	self Identity // empty until it was asked for
}

// Identity is who the bot token makes us.
type Identity struct {
	TeamID string
	UserID string
	BotID  string
}

// RateLimited says that Slack wants no call of this kind before After is over.
type RateLimited struct{ After time.Duration }

func (e RateLimited) Error() string {
	return fmt.Sprintf("slack asks to wait %s before the next call", e.After)
}

// RetryAfter returns how long to wait; callers that do not know this package
// find it by an interface of this one method.
func (e RateLimited) RetryAfter() time.Duration { return e.After }

// MessageGone says that a message can never be edited again: it was deleted,
// is not ours, or the workspace forbids late edits. Posting anew is the way
// on. It matches world.ErrLost, for somebody else was first.
type MessageGone struct {
	Channel, TS string
	Code        string // Slack's own word for it
}

func (e MessageGone) Error() string {
	return fmt.Sprintf("message %s in %s cannot be edited any more: %s", e.TS, e.Channel, e.Code)
}

// Is makes errors.Is(err, world.ErrLost) hold.
func (e MessageGone) Is(target error) bool { return target == world.ErrLost }

// The metadata by which we find our own message again. Other apps in the
// channel can read and imitate it; that it is ours is judged by the author.
const (
	eventType  = "tac_grant"
	payloadKey = "key"
)

const (
	historyDepth   = 200 // messages searched for an earlier post
	historyPages   = 20  // Slack may answer fewer messages than asked for
	defaultTimeout = 15 * time.Second
	defaultBackoff = 30 * time.Second // after a 429 that names no time
	mostAnswer     = 16 << 20         // bytes read of one answer
)

var (
	tokenForm   = regexp.MustCompile(`^[!-~]+$`)
	userForm    = regexp.MustCompile(`^[UW][A-Z0-9]{2,30}$`)
	channelForm = regexp.MustCompile(`^[CGD][A-Z0-9]{2,30}$`)
)

// New returns a client. It calls nobody yet.
func New(cfg Config) (*Client, error) {
	base, err := apiURL(cfg.APIURL)
	if err != nil {
		return nil, err
	}
	if !tokenForm.MatchString(cfg.BotToken.Reveal()) {
		return nil, errors.New("slack: the bot token is empty or holds blanks; it starts with xoxb-")
	}
	client := http.Client{Timeout: defaultTimeout}
	if cfg.HTTP != nil {
		client = *cfg.HTTP
	}
	next := client.Transport
	if next == nil {
		next = http.DefaultTransport
	}
	client.Transport = newGate(bearer{next: next, token: cfg.BotToken})
	// A redirect would carry the token, which is in the body too, elsewhere.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{api: slack.New(cfg.BotToken.Reveal(), slack.OptionAPIURL(base), slack.OptionHTTPClient(&client))}, nil
}

func apiURL(raw string) (string, error) {
	if raw == "" {
		return slack.APIURL, nil
	}
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", errors.New("slack: the API address is not a plain https address such as https://slack.com/api/")
	}
	host := u.Hostname()
	loopback := host == "localhost" || net.ParseIP(host).IsLoopback()
	if u.Scheme != "https" && (u.Scheme != "http" || !loopback) {
		return "", fmt.Errorf("slack: %s is not https, and the token would go there in the clear", u.Redacted())
	}
	return strings.TrimSuffix(u.String(), "/") + "/", nil
}

// Identity returns who we are, which is asked once and kept.
func (c *Client) Identity(ctx context.Context) (Identity, error) {
	c.mu.Lock()
	self := c.self
	c.mu.Unlock()
	if self.UserID != "" {
		return self, nil
	}
	// Asked without the lock: whoever waits for a lock waits longer than
	// their context lasts.
	r, err := c.api.AuthTestContext(ctx)
	if err != nil {
		return Identity{}, fmt.Errorf("slack auth.test: %w", readError(err))
	}
	if r.UserID == "" {
		return Identity{}, errors.New("slack auth.test: the answer names nobody")
	}
	self = Identity{TeamID: r.TeamID, UserID: r.UserID, BotID: r.BotID}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.self = self
	return self, nil
}

// Post says n in a channel, or to a person by user id, and returns the
// message's timestamp. Where look is set and one of the newest 200 messages
// is ours and has the same key, that one is edited instead of saying it twice.
// A notice with a secret is refused. world.ErrAmbiguous where the answer was
// lost: post again with look.
func (c *Client) Post(ctx context.Context, channel, key string, n world.Notice, look bool) (string, error) {
	m, err := render(n, public)
	if err != nil {
		return "", fmt.Errorf("slack post to %.40q: %w", channel, err)
	}
	if key == "" {
		return "", fmt.Errorf("slack post to %.40q: it has no key to be found by", channel)
	}
	room, err := c.room(ctx, channel)
	if err != nil {
		return "", err
	}
	if look {
		ts, err := c.find(ctx, room, key)
		if err != nil {
			return "", err
		}
		if ts != "" {
			err := c.update(ctx, room, ts, m)
			if err == nil {
				return ts, nil
			}
			if !errors.As(err, new(MessageGone)) {
				return "", err
			}
		}
	}
	return c.post(ctx, room, m, slack.MsgOptionMetadata(slack.SlackMetadata{
		EventType: eventType, EventPayload: map[string]any{payloadKey: key},
	}))
}

// Update replaces the message by n, in place. MessageGone where that can
// never work. A notice with a secret is refused.
func (c *Client) Update(ctx context.Context, channel, ts string, n world.Notice) error {
	m, err := render(n, public)
	if err != nil {
		return fmt.Errorf("slack update %s: %w", ts, err)
	}
	room, err := c.room(ctx, channel)
	if err != nil {
		return err
	}
	return c.update(ctx, room, ts, m)
}

// Direct says n to one person in private. It is the one way to say a secret,
// so it takes the id of a person and nothing else. world.ErrAmbiguous where
// the answer was lost.
func (c *Client) Direct(ctx context.Context, user string, n world.Notice) error {
	m, err := render(n, private)
	if err != nil {
		return fmt.Errorf("slack direct message to %.40q: %w", user, err)
	}
	if !userForm.MatchString(user) {
		return fmt.Errorf("slack direct message: %.40q is not the id of a person, such as U01ALICE", user)
	}
	room, err := c.room(ctx, user)
	if err != nil {
		return err
	}
	_, err = c.post(ctx, room, m)
	return err
}

// room returns the id of the conversation that channel means: itself, or the
// direct messages with a person. Only ids will do, since a name can be given
// to another channel.
func (c *Client) room(ctx context.Context, channel string) (string, error) {
	if channelForm.MatchString(channel) {
		return channel, nil
	}
	if !userForm.MatchString(channel) {
		return "", fmt.Errorf("slack: %.40q is not the id of a channel or a person, such as C0123456789 or U01ALICE", channel)
	}
	dm, _, _, err := c.api.OpenConversationContext(ctx, &slack.OpenConversationParameters{Users: []string{channel}})
	if err != nil {
		return "", fmt.Errorf("slack conversations.open %s: %w", channel, openError(err))
	}
	// A secret may follow: what is not a direct message is not taken.
	if dm == nil || !strings.HasPrefix(dm.ID, "D") {
		return "", fmt.Errorf("slack conversations.open %s: the answer names no direct messages", channel)
	}
	return dm.ID, nil
}

func (c *Client) post(ctx context.Context, room string, m message, more ...slack.MsgOption) (string, error) {
	_, ts, err := c.api.PostMessageContext(ctx, room, append(m.options(), more...)...)
	if err != nil {
		return "", fmt.Errorf("slack chat.postMessage %s: %w", room, writeError(err))
	}
	if ts == "" {
		return "", fmt.Errorf("slack chat.postMessage %s: the answer names no message: %w", room, world.ErrAmbiguous)
	}
	return ts, nil
}

// The codes by which chat.update says that trying again is of no use.
var goneCodes = []string{"message_not_found", "edit_window_closed", "cant_update_message"}

// update leaves the metadata as it is: Slack keeps what is not sent.
func (c *Client) update(ctx context.Context, room, ts string, m message) error {
	_, got, _, err := c.api.UpdateMessageContext(ctx, room, ts, m.options()...)
	var refused slack.SlackErrorResponse
	if errors.As(err, &refused) && slices.Contains(goneCodes, refused.Err) {
		return fmt.Errorf("slack chat.update: %w", MessageGone{Channel: room, TS: ts, Code: refused.Err})
	}
	if err != nil {
		return fmt.Errorf("slack chat.update %s %s: %w", room, ts, readError(err))
	}
	if got != ts {
		return fmt.Errorf("slack chat.update %s %s: the answer names the message %.40q", room, ts, got)
	}
	return nil
}

// find returns the timestamp of our message with the key, empty where there
// is none among the newest. Of several it takes the oldest, so that replicas
// that raced agree on one.
func (c *Client) find(ctx context.Context, room, key string) (string, error) {
	self, err := c.Identity(ctx)
	if err != nil {
		return "", err
	}
	found, seen, cursor := "", 0, ""
	for range historyPages {
		page, err := c.api.GetConversationHistoryContext(ctx, &slack.GetConversationHistoryParameters{
			ChannelID: room, Limit: historyDepth - seen, Cursor: cursor, IncludeAllMetadata: true,
		})
		if err != nil {
			return "", fmt.Errorf("slack conversations.history %s: %w", room, readError(err))
		}
		if !page.Ok { // the library takes a refusal without a code for an answer
			return "", fmt.Errorf("slack conversations.history %s: refused without a reason", room)
		}
		for _, m := range page.Messages {
			if self.wrote(m) && m.Metadata.EventType == eventType && m.Metadata.EventPayload[payloadKey] == key {
				found = m.Timestamp
			}
		}
		seen, cursor = seen+len(page.Messages), page.ResponseMetaData.NextCursor
		if cursor == "" || seen >= historyDepth {
			break
		}
	}
	return found, nil
}

func (id Identity) wrote(m slack.Message) bool {
	return m.User == id.UserID || (m.BotID != "" && m.BotID == id.BotID)
}

// readError translates an error of a call that may be repeated at will. The
// library's errors name methods, codes and statuses, never the token.
func readError(err error) error {
	var refused slack.SlackErrorResponse
	if !errors.As(err, &refused) {
		return err
	}
	if refused.Err == "ratelimited" || refused.Err == "rate_limited" {
		return RateLimited{After: defaultBackoff}
	}
	if refused.Needed != "" {
		return fmt.Errorf("%w (the app lacks the scope %s)", err, refused.Needed)
	}
	return err
}

// openError translates an error of the call that goes before a message. Where
// Slack did not answer it, the message can be said later: it was not sent.
func openError(err error) error {
	translated := readError(err)
	var refused slack.SlackErrorResponse
	if errors.As(err, &refused) && !slices.Contains(unsureCodes, refused.Err) || errors.As(translated, new(RateLimited)) || errors.As(translated, new(NotAnswering)) {
		return translated
	}
	return fmt.Errorf("%w: %w", NotAnswering{After: quietTime}, translated)
}

// The codes after which, by Slack's documentation, part of the work may have
// been done.
var unsureCodes = []string{"internal_error", "fatal_error", "request_timeout", "service_unavailable"}

// writeError translates an error of a call that must not be repeated blindly:
// it is world.ErrAmbiguous unless Slack certainly did nothing.
func writeError(err error) error {
	translated := readError(err)
	if errors.As(translated, new(RateLimited)) || errors.As(translated, new(NotAnswering)) {
		return translated // nothing was sent
	}
	var refused slack.SlackErrorResponse
	if errors.As(err, &refused) && !slices.Contains(unsureCodes, refused.Err) {
		return translated
	}
	var network *net.OpError
	if errors.As(err, &network) && network.Op == "dial" {
		return translated // nothing was sent
	}
	var status slack.StatusCodeError
	if errors.As(err, &status) && status.Code < http.StatusInternalServerError {
		return translated
	}
	return fmt.Errorf("%w: %w", world.ErrAmbiguous, translated)
}
