package target

import (
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// hostName is what the sandbox's hostname command prints.
const hostName = "bastion.sandbox"

// acceptPause keeps an accept that fails from being tried in a tight loop.
const acceptPause = 10 * time.Millisecond

// accept serves connections until Close closes the listener.
func (s *SSH) accept() {
	for {
		conn, err := s.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			time.Sleep(acceptPause) // out of descriptors, say
			continue
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			_ = conn.Close() // nothing was said on it
			continue
		}
		s.conns[conn] = struct{}{}
		s.mu.Unlock()
		s.serving.Go(func() { s.serve(conn) })
	}
}

func (s *SSH) serve(raw net.Conn) {
	defer func() {
		_ = raw.Close() // the client may have closed first
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.conns, raw)
	}()
	_ = raw.SetDeadline(time.Now().Add(handshakeLimit)) // fails only on a closed socket
	conn, channels, requests, err := ssh.NewServerConn(raw, s.config)
	if err != nil {
		return // judge has recorded why
	}
	_ = raw.SetDeadline(time.Time{})
	var sessions sync.WaitGroup
	defer sessions.Wait()
	defer func() { _ = conn.Close() }() // frees the sessions that wait below
	sessions.Go(func() { ssh.DiscardRequests(requests) })
	for offered := range channels {
		if offered.ChannelType() != "session" {
			// The client notices by itself where this cannot be sent.
			_ = offered.Reject(ssh.Prohibited, "only sessions are served here")
			continue
		}
		channel, asked, err := offered.Accept()
		if err != nil {
			return // the connection is gone
		}
		sessions.Go(func() { session(channel, asked, conn.User()) })
	}
}

// session serves the requests of one channel and ends with its first command
// or shell. Errors of writes mean that the client has left.
func session(channel ssh.Channel, asked <-chan *ssh.Request, user string) {
	defer func() {
		_ = channel.Close()
		// Requests nobody takes would block the connection, and its Close.
		ssh.DiscardRequests(asked)
	}()
	for req := range asked {
		switch req.Type {
		case "pty-req", "window-change":
			reply(req, true)
		case "exec":
			var command struct{ Line string }
			if ssh.Unmarshal(req.Payload, &command) != nil {
				reply(req, false)
				continue
			}
			reply(req, true)
			exit(channel, run(command.Line, user, channel, channel.Stderr()))
			return
		case "shell":
			reply(req, true)
			_, _ = fmt.Fprintf(channel, "Welcome to %s, %s. This sandbox has no shell: give ssh a command.\r\n", hostName, user)
			exit(channel, 0)
			return
		default: // env, subsystem, agent forwarding
			reply(req, false)
		}
	}
}

// run carries out one of the few known commands and returns its exit status.
// No quoting or expansion takes place: nothing here reaches a shell.
func run(line, user string, stdout, stderr io.Writer) uint32 {
	name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
	const notFound = 127 // as shells have it
	switch name {
	case "whoami":
		_, _ = fmt.Fprintln(stdout, user)
	case "hostname":
		_, _ = fmt.Fprintln(stdout, hostName)
	case "echo":
		_, _ = fmt.Fprintln(stdout, rest)
	case "true":
	default:
		_, _ = fmt.Fprintf(stderr, "sandbox: %.80q: command not found (there are whoami, hostname, echo and true)\n", name)
		return notFound
	}
	return 0
}

func reply(req *ssh.Request, ok bool) {
	if req.WantReply {
		_ = req.Reply(ok, nil) // a client that left needs no answer
	}
}

func exit(channel ssh.Channel, status uint32) {
	_, _ = channel.SendRequest("exit-status", false, ssh.Marshal(struct{ Status uint32 }{status}))
}
