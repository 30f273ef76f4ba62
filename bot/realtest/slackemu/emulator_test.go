// Package slackemu runs the claims of bot/slackchat/chatclaims against
// emulate, an independent emulator of Slack. TAC_NPM names the folder whose
// node_modules hold it.
package slackemu

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/slackchat"
	"github.com/tigeraccess/tac/bot/slackchat/chatclaims"
)

// The bot and its tokens, as the emulator is told at its start: it takes no
// new ones afterwards.
const (
	botUser, botID = "U0TACBOT0", "B0TACBOT0"
	teamID         = "T000000001" // the emulator's own

	botToken      = "xoxb-emulated-bot"
	narrowToken   = "xoxb-emulated-narrow"
	observerToken = "xoxb-emulated-observer"
	personToken   = "xoxp-emulated-person"
	nobodyToken   = "xoxp-emulated-nobody"

	places = 120 // channels and people, of which each claim takes one
)

// seed is the emulator's configuration: JSON, which is YAML too.
func seed() ([]byte, error) {
	type object = map[string]any
	var people, channels []object
	people = append(people, object{"name": "somebody"})
	for i := range places {
		people = append(people, object{"name": fmt.Sprintf("person-%d", i)})
		channels = append(channels, object{"name": fmt.Sprintf("claim-%d", i)})
	}
	var narrow []string
	for _, scope := range chatclaims.Scopes {
		if scope != "channels:history" {
			narrow = append(narrow, scope)
		}
	}
	all := append([]string{"channels:read", "users:read", "users:read.email"}, chatclaims.Scopes...)
	token := func(token, user, bot string, scopes []string) object {
		return object{"token": token, "type": "bot", "user_id": user, "bot_id": bot, "scopes": scopes}
	}
	return json.Marshal(object{"slack": object{
		"strict_scopes": true, "users": people, "channels": channels,
		"oauth_apps": []object{{
			"client_id": "1.2", "client_secret": "emulated", "name": "tac", "redirect_uris": []string{}, "scopes": all,
			"bot_id": botID, "bot_user_id": botUser, "bot_name": "tac",
		}},
		"tokens": []object{
			token(botToken, botUser, botID, chatclaims.Scopes), token(narrowToken, botUser, botID, narrow),
			token(observerToken, botUser, botID, all), token(personToken, "somebody", "", []string{"chat:write"}),
			token(nobodyToken, "U0DELETED", "", all),
		},
	}})
}

// start starts the emulator and returns its address. It is killed at the end
// of the test.
func start(t *testing.T) string {
	t.Helper()
	folder := os.Getenv("TAC_NPM")
	if folder == "" {
		t.Fatal("TAC_NPM does not name the folder where npm installed emulate")
	}
	config, err := seed()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "seed.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	// The port is free when it is chosen; somebody else may be quicker.
	const attempts = 3
	var said string
	for range attempts {
		address, output, err := try(t, folder, file)
		if err == nil {
			return address
		}
		said = fmt.Sprintf("%v\n%s", err, output)
	}
	t.Fatalf("the emulator does not start: %s", said)
	return ""
}

func try(t *testing.T, folder, seed string) (address, output string, err error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", "", err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err := errors.Join(err, listener.Close()); err != nil {
		return "", "", err
	}
	// Not by npx, which leaves its child alive.
	command := exec.Command("node", filepath.Join(folder, "node_modules", ".bin", "emulate"), "start", "-s", "slack", "-p", port, "--seed", seed)
	command.Dir = filepath.Dir(seed)
	// Whatever happens to the test, the emulator does not outlive it.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	said := &text{}
	command.Stdout, command.Stderr = said, said
	if err := command.Start(); err != nil {
		return "", "", err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = command.Wait() // it is killed, or said what is wrong
	}()
	stop := func() {
		_ = command.Process.Kill() // it may have ended by itself
		<-ended
	}
	address = "http://127.0.0.1:" + port
	if err := answers(t.Context(), address, ended); err != nil {
		stop()
		return "", said.String(), err
	}
	t.Cleanup(stop)
	return address, "", nil
}

// answers waits until the emulator does.
func answers(ctx context.Context, address string, ended <-chan struct{}) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		var a struct {
			UserID string `json:"user_id"`
		}
		err := call(ctx, address, "auth.test", nil, &a)
		if err == nil && a.UserID == botUser {
			return nil
		}
		select {
		case <-ended:
			return errors.New("it ended")
		case <-ctx.Done():
			return fmt.Errorf("it is not this bot's workspace (%q): %w", a.UserID, errors.Join(ctx.Err(), err))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// call calls the Web API as the observer.
func call(ctx context.Context, address, method string, form url.Values, into any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address+"/api/"+method, strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+observerToken)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }() // it has been read or has failed by then
	return json.NewDecoder(resp.Body).Decode(into)
}

// text collects what a program says.
type text struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (x *text) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.Write(p)
}

func (x *text) String() string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.b.String()
}

// ids returns the ids that the emulator gave to what the seed names.
func ids(t *testing.T, address, method, list string) map[string]string {
	t.Helper()
	byName := map[string]string{}
	for cursor := ""; ; {
		var a struct {
			Error    string
			Metadata struct {
				Cursor string `json:"next_cursor"`
			} `json:"response_metadata"`
			Channels, Members []struct{ ID, Name string }
		}
		if err := call(t.Context(), address, method, url.Values{"limit": {"200"}, "cursor": {cursor}}, &a); err != nil || a.Error != "" {
			t.Fatalf("%s: %v %s", list, err, a.Error)
		}
		for _, x := range append(a.Channels, a.Members...) {
			byName[x.Name] = x.ID
		}
		if cursor = a.Metadata.Cursor; cursor == "" {
			return byName
		}
	}
}

// ground is the emulator as the claims see it.
func ground(t *testing.T) chatclaims.Ground {
	address := start(t)
	channels, people := ids(t, address, "conversations.list", "channels"), ids(t, address, "users.list", "people")
	next := 0
	return chatclaims.Ground{
		API:  address + "/api/",
		Self: slackchat.Identity{TeamID: teamID, UserID: botUser, BotID: botID},
		Place: func(t *testing.T) (channel, person string) {
			channel, person = channels[fmt.Sprintf("claim-%d", next)], people[fmt.Sprintf("person-%d", next)]
			if channel == "" || person == "" {
				t.Fatalf("there is no place number %d", next)
			}
			next++
			return channel, person
		},
		Token: botToken, Narrow: narrowToken, Observer: observerToken, Person: personToken, Nobody: nobodyToken,
		Differs: wrong,
	}
}
