package slackchat

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tigeraccess/tac/grants/world"
)

// network is Slack as a function, for tests in which hours pass.
type network func(*http.Request) (*http.Response, error)

func (n network) RoundTrip(r *http.Request) (*http.Response, error) { return n(r) }

func says(status int, header http.Header, body string) (*http.Response, error) {
	return &http.Response{StatusCode: status, Header: header, Body: io.NopCloser(strings.NewReader(body))}, nil
}

func over(t *testing.T, n network) *Client {
	t.Helper()
	c, err := New(Config{BotToken: world.NewSecret("xoxb-canary"), HTTP: &http.Client{Transport: n}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

const fine = `{"ok":true,"channel":"` + channel + `","ts":"1.000001"}`

// TestWhileOneCallHangsNoOtherHangs: one of its method fails at once; another
// method may be well, as long as nothing has hung in vain.
func TestWhileOneCallHangsNoOtherHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		var well atomic.Bool
		c := over(t, func(r *http.Request) (*http.Response, error) {
			calls.Add(1)
			if !well.Load() && path.Base(r.URL.Path) == "chat.postMessage" {
				<-r.Context().Done()
				return nil, r.Context().Err()
			}
			return says(http.StatusOK, nil, fine)
		})
		patient, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		first := make(chan error)
		go func() {
			_, err := c.Post(patient, channel, key, waiting, false)
			first <- err
		}()
		time.Sleep(suspicion)
		synctest.Wait()
		post := func() error {
			_, err := c.Post(t.Context(), channel, key, waiting, false)
			return err
		}
		update := func() error { return c.Update(t.Context(), channel, "1.000001", waiting) }
		atOnce := func(when string, says ...func() error) {
			t.Helper()
			begun, before := time.Now(), calls.Load()
			for _, say := range says {
				if err := say(); !errors.As(err, new(NotAnswering)) || errors.Is(err, world.ErrAmbiguous) {
					t.Errorf("%s: %v", when, err)
				}
			}
			if took := time.Since(begun); took != 0 || calls.Load() != before {
				t.Errorf("%s: it took %s and %d calls were made", when, took, calls.Load()-before)
			}
		}
		atOnce("while it hangs", post)
		if err := update(); err != nil {
			t.Errorf("while it hangs, another method: %v", err)
		}
		all := []func() error{post, update, func() error { return c.Direct(t.Context(), alice, handover) }}
		if err := <-first; !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, world.ErrAmbiguous) {
			t.Errorf("the call that hung: %v", err)
		}
		atOnce("after it hung in vain", all...)
		well.Store(true)
		time.Sleep(quietTime - time.Millisecond)
		atOnce("shortly before Slack is asked again", all...)
		time.Sleep(time.Millisecond)
		if _, err := c.Post(t.Context(), channel, key, waiting, false); err != nil {
			t.Errorf("when Slack answers again: %v", err)
		}
	})
}

func TestASlowAnswerOrAQuickFailureStopsNobody(t *testing.T) {
	for name, first := range map[string]network{
		"slow": func(*http.Request) (*http.Response, error) {
			time.Sleep(5 * suspicion)
			return says(http.StatusOK, nil, fine)
		},
		"cut": func(*http.Request) (*http.Response, error) { return nil, io.ErrUnexpectedEOF },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := 0
				c := over(t, func(r *http.Request) (*http.Response, error) {
					if n++; n == 1 {
						return first(r)
					}
					return says(http.StatusOK, nil, fine)
				})
				_, _ = c.Post(t.Context(), channel, key, waiting, false)
				if _, err := c.Post(t.Context(), channel, key, waiting, false); err != nil {
					t.Errorf("the next call: %v", err)
				}
			})
		})
	}
}

func TestABodyThatHangsIsACallThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := over(t, func(r *http.Request) (*http.Response, error) {
			body, writer := io.Pipe()
			context.AfterFunc(r.Context(), func() { writer.CloseWithError(r.Context().Err()) })
			return &http.Response{StatusCode: http.StatusOK, Body: body}, nil
		})
		patient, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		if _, err := c.Post(patient, channel, key, waiting, false); !errors.Is(err, world.ErrAmbiguous) {
			t.Errorf("Post = %v", err)
		}
		if _, err := c.Post(t.Context(), channel, key, waiting, false); !errors.As(err, new(NotAnswering)) {
			t.Errorf("after it: %v", err)
		}
	})
}

func TestRetryAfterIsObeyed(t *testing.T) {
	for header, wait := range map[string]time.Duration{
		"7": 7 * time.Second, "0": time.Second, "": defaultBackoff, "soon": defaultBackoff, "-1": defaultBackoff, "99999999999999": mostQuiet,
	} {
		t.Run(fmt.Sprintf("%q", header), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var calls []string
				c := over(t, func(r *http.Request) (*http.Response, error) {
					method := path.Base(r.URL.Path)
					calls = append(calls, method)
					if method == "chat.postMessage" && len(calls) == 1 {
						return says(http.StatusTooManyRequests, http.Header{"Retry-After": {header}}, "")
					}
					return says(http.StatusOK, nil, fine)
				})
				refused := func(when string) {
					t.Helper()
					_, err := c.Post(t.Context(), channel, key, waiting, false)
					if !errors.As(err, new(RateLimited)) || errors.Is(err, world.ErrAmbiguous) || len(calls) != 1 {
						t.Errorf("%s: %v after the calls %v", when, err, calls)
					}
				}
				refused("at first")
				refused("at once again")
				time.Sleep(wait - time.Millisecond)
				refused("a moment too early")
				if err := c.Update(t.Context(), channel, "1.000001", waiting); err != nil {
					t.Errorf("another method was held up: %v", err)
				}
				time.Sleep(time.Millisecond)
				if _, err := c.Post(t.Context(), channel, key, waiting, false); err != nil {
					t.Errorf("after %s: %v", wait, err)
				}
			})
		})
	}
}

// TestAMessageThatWasNeverSentCanBeSaidLater: before a direct message its room
// is asked for, and where that gets no answer nothing was said.
func TestAMessageThatWasNeverSentCanBeSaidLater(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func() (*http.Response, error)
		later  bool
	}{
		"cut":     {func() (*http.Response, error) { return nil, io.ErrUnexpectedEOF }, true},
		"a proxy": {func() (*http.Response, error) { return says(http.StatusBadGateway, nil, "") }, true},
		"Slack's own": {func() (*http.Response, error) {
			return says(http.StatusOK, nil, `{"ok":false,"error":"internal_error"}`)
		}, true},
		"limited": {func() (*http.Response, error) { return says(http.StatusTooManyRequests, nil, "") }, true},
		"nobody there": {func() (*http.Response, error) {
			return says(http.StatusOK, nil, `{"ok":false,"error":"user_not_found"}`)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := over(t, func(*http.Request) (*http.Response, error) { return tt.answer() })
			err := c.Direct(t.Context(), alice, handover)
			var later interface{ RetryAfter() time.Duration }
			if err == nil || errors.As(err, &later) != tt.later || errors.Is(err, world.ErrAmbiguous) {
				t.Errorf("got %v; to be said later: %v", err, !tt.later)
			}
		})
	}
}
