package client

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"github.com/tigeraccess/tac/grants/strictyaml"
)

// Server is the address of a tac server: scheme and host, and nothing after.
type Server string

// ParseServer reads an address. Tokens travel to it, so it has to be https,
// but for this machine itself.
func ParseServer(s string) (Server, error) {
	u, err := siteURL(s)
	if err != nil {
		return "", err
	}
	return Server(u), nil
}

// siteURL returns the canonical form of an address that secrets may go to.
func siteURL(s string) (string, error) {
	quoted := strictyaml.Quote(s)
	u, err := url.Parse(strings.TrimSpace(s))
	switch {
	case strings.TrimSpace(s) == "":
		return "", errors.New("the address of the server is empty; write it as https://tac.example.com")
	case err != nil || !strings.Contains(s, "://") || u.Hostname() == "":
		return "", fmt.Errorf("%s is not the address of a server; write it as https://tac.example.com", quoted)
	case u.User != nil:
		return "", errors.New("the address of the server holds a user name or password; leave them out")
	case u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "":
		return "", fmt.Errorf("%s has something after the host; write %s://%s", quoted, u.Scheme, u.Host)
	case u.Scheme == "https", u.Scheme == "http" && isLoopback(u.Hostname()):
		return u.Scheme + "://" + strings.ToLower(u.Host), nil
	case u.Scheme == "http":
		return "", fmt.Errorf("%s is not encrypted, and a token must not be seen on the way; write https://%s", quoted, u.Host)
	}
	return "", fmt.Errorf("%s is not the address of a server; write it as https://%s", quoted, u.Host)
}

func isLoopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

// folder returns the name of the folder that holds what belongs to a server.
// Two servers could share one in theory (ports are told from hosts by the
// underscore alone), so what is in it names its server too.
func (s Server) folder() string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' || r == '-' {
			return r
		}
		return '_'
	}, strings.Replace(string(s), "://", "_", 1))
}
