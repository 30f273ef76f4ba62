package github

import (
	"net/http"
	"strconv"
	"time"
)

// hourly is how many calls GitHub allows an installation each hour. The
// server counts and tells, but never refuses for it: order a Fault for that.
const hourly = 5000

// limits keeps account of calls.
type limits struct {
	used      map[string]int // by credential, in the present window
	reset     time.Time      // when the window ends, by the wall clock as clients judge it
	perMinute int            // content creation; 0 for no limit
	started   time.Time      // of the present minute, by the sandbox clock
	created   int
}

// LimitContent makes the server refuse to create more than perMinute pieces
// of content (pull requests, comments, reviews, merges, issues) in a minute
// of the sandbox clock, by GitHub's secondary limit: 403 with retry-after.
// Zero lifts the limit.
func (s *Server) LimitContent(perMinute int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limits.perMinute, s.limits.created, s.limits.started = perMinute, 0, s.clock.Now()
}

func (l *limits) content(now time.Time) *apiError {
	if l.perMinute == 0 {
		return nil
	}
	if now.Sub(l.started) >= time.Minute {
		l.started, l.created = now, 0
	}
	if l.created < l.perMinute {
		l.created++
		return nil
	}
	left := time.Minute - now.Sub(l.started)
	seconds := int64((left + time.Second - 1) / time.Second)
	e := forbidden("You have exceeded a secondary rate limit and have been temporarily blocked from content creation. Please retry your request again later.")
	e.docs = "https://docs.github.com/rest/overview/rate-limits-for-the-rest-api#about-secondary-rate-limits"
	e.header = http.Header{"Retry-After": {strconv.FormatInt(max(1, seconds), 10)}}
	return e
}

func (c *call) identity() string {
	if c.who.token != nil {
		return c.who.token.secret
	}
	return ""
}

func (l *limits) count(c *call) {
	if now := time.Now(); now.After(l.reset) {
		l.used, l.reset = map[string]int{}, now.Add(time.Hour).Truncate(time.Second)
	}
	l.used[c.identity()]++
}

// refund takes a call back that GitHub does not count: a 304.
func (l *limits) refund(c *call) {
	l.used[c.identity()]--
	l.headers(c)
}

func (l *limits) headers(c *call) {
	used := l.used[c.identity()]
	c.header.Set("X-RateLimit-Limit", strconv.Itoa(hourly))
	c.header.Set("X-RateLimit-Used", strconv.Itoa(used))
	c.header.Set("X-RateLimit-Remaining", strconv.Itoa(max(1, hourly-used)))
	c.header.Set("X-RateLimit-Reset", strconv.FormatInt(l.reset.Unix(), 10))
	c.header.Set("X-RateLimit-Resource", "core")
}
