package target

import (
	"context"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	wire "github.com/jeroenrinzema/psql-wire"
)

// farewell bounds, in wall time, how long an ended session may take to hear
// why.
const farewell = time.Second

// terminated is the frame with which PostgreSQL ends a session: ErrorResponse
// with severity FATAL and code 57P01.
var terminated = errorFrame("FATAL", "57P01", "terminating connection due to administrator command")

func errorFrame(severity, code, message string) []byte {
	fields := fmt.Sprintf("S%s\x00V%s\x00C%s\x00M%s\x00\x00", severity, severity, code, message)
	n := len(fields) + 4
	return append([]byte{'E', byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}, fields...)
}

// pgListener hands the library connections that this package can end; the
// library itself cannot end a session.
type pgListener struct {
	net.Listener
	server *Postgres
}

// Accept closes connections at once while the server is stopped.
func (l *pgListener) Accept() (net.Conn, error) {
	for {
		raw, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		c := &pgConn{Conn: raw, server: l.server}
		if l.server.admit(c) {
			return c, nil
		}
		_ = raw.Close() // a stopped server has nothing to say
	}
}

func (p *Postgres) admit(c *pgConn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.down || p.closed {
		return false
	}
	p.conns[c] = struct{}{}
	return true
}

// pgConn is one connection. The library writes a whole frame with each Write,
// so a lock around Write keeps the last frame apart from its frames.
type pgConn struct {
	net.Conn
	server *Postgres
	user   string // guarded by server.mu; empty before the login

	session *pgSession // set with user; from then on of this connection's goroutine

	writing sync.Mutex
	ended   atomic.Bool
}

// connAddr lets the library's context, which keeps only the remote address,
// lead back to the connection.
type connAddr struct {
	net.Addr
	conn *pgConn
}

func (c *pgConn) RemoteAddr() net.Addr { return connAddr{Addr: c.Conn.RemoteAddr(), conn: c} }

func connOf(ctx context.Context) *pgConn {
	addr, ok := wire.RemoteAddress(ctx).(connAddr)
	if !ok {
		return nil
	}
	return addr.conn
}

func (c *pgConn) Write(b []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.ended.Load() {
		return 0, net.ErrClosed
	}
	return c.Conn.Write(b)
}

// Read reports the end of the stream once the session was ended, after it has
// swallowed what the client still sent: closing with input unread would reset
// the connection, and the client might never see why it ended.
func (c *pgConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if !c.ended.Load() {
		return n, err
	}
	for err == nil {
		_, err = c.Conn.Read(b)
	}
	return 0, io.EOF
}

func (c *pgConn) Close() error {
	c.server.forget(c)
	return c.Conn.Close()
}

func (p *Postgres) forget(c *pgConn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

// end tells the client FATAL 57P01 and lets nothing pass in either direction
// after that. The library's own goroutine closes the socket.
func (c *pgConn) end() {
	deadline := time.Now().Add(farewell)
	// A client that does not read may be blocking a write, which holds the
	// lock: the deadline frees it. Errors below mean the client is gone, which
	// is the aim.
	_ = c.SetWriteDeadline(deadline)
	c.writing.Lock()
	defer c.writing.Unlock()
	if !c.ended.CompareAndSwap(false, true) {
		return
	}
	_, _ = c.Conn.Write(terminated)
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
	}
	_ = c.SetReadDeadline(deadline)
}
