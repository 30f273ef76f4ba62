package github

import (
	"net/http"
	"net/url"
	"time"
)

// page is what signInPage shows.
type page struct {
	Title   string
	Note    string
	Logins  []string
	AskCode bool
	Code    string
}

func (s *Server) show(w http.ResponseWriter, status int, p page) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = signInPage.Execute(w, p) // the client may already be gone
}

// logins lists the people who can be signed in as, by id.
func (s *Server) logins() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []*User
	for _, u := range s.users {
		if u.Type == "User" {
			list = append(list, u)
		}
	}
	sortBy(list, func(u *User) int64 { return u.ID })
	var names []string
	for _, u := range list {
		names = append(names, u.Login)
	}
	return names
}

func (s *Server) devicePage(w http.ResponseWriter, r *http.Request) {
	s.show(w, http.StatusOK, page{
		Title: "Device activation", AskCode: true, Code: r.URL.Query().Get("user_code"), Logins: s.logins(),
	})
}

func (s *Server) enterDevice(w http.ResponseWriter, r *http.Request) {
	in := parameters(r)
	var err error
	if in.Get("choice") == "deny" {
		err = s.DenyDevice(in.Get("user_code"))
	} else {
		err = s.AuthorizeDevice(in.Get("user_code"), in.Get("login"))
	}
	if err != nil {
		s.show(w, http.StatusUnprocessableEntity, page{Title: "Device activation", Note: err.Error(), AskCode: true, Logins: s.logins()})
		return
	}
	s.show(w, http.StatusOK, page{Title: "Device activation", Note: "Done. You can close this page."})
}

func (s *Server) authorizePage(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	app := s.appByClient(r.URL.Query().Get("client_id"))
	s.mu.Unlock()
	if app == nil {
		s.show(w, http.StatusNotFound, page{Title: "Sign in", Note: "No such application."})
		return
	}
	s.show(w, http.StatusOK, page{Title: "Sign in to " + app.Slug, Logins: s.logins()})
}

// authorize ends the page of the web sign-in: it sends the browser back to
// the application with a code, or with the refusal.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) {
	in, query := parameters(r), r.URL.Query()
	back, err := url.Parse(query.Get("redirect_uri"))
	if err != nil || !back.IsAbs() {
		s.show(w, http.StatusUnprocessableEntity, page{Title: "Sign in", Note: "The redirect_uri is not an address."})
		return
	}
	s.mu.Lock()
	app := s.appByClient(query.Get("client_id"))
	u, userErr := s.user(in.Get("login"))
	answer := back.Query()
	answer.Set("state", query.Get("state"))
	if app != nil && userErr == nil && in.Get("choice") != "deny" {
		code := randomHex(10)
		s.codes[code] = &signInCode{
			app: app, user: u, redirect: query.Get("redirect_uri"),
			challenge: query.Get("code_challenge"), expires: time.Now().Add(10 * time.Minute),
		}
		answer.Set("code", code)
	} else {
		answer.Set("error", "access_denied")
	}
	s.mu.Unlock()
	back.RawQuery = answer.Encode()
	http.Redirect(w, r, back.String(), http.StatusFound)
}
