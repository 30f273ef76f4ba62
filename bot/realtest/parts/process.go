// Package parts starts the real servers that tac is tested against: Vault,
// PostgreSQL, OpenSSH, OpenLDAP, and tac itself as processes of their own. All
// of them listen on loopback, keep what they write in the folder they are
// given, and are gone after Close. They are the programs that people run, not
// libraries of them: they are stopped, killed and started again as such.
//
//	process.go   one running program
//	vault.go     a Vault server, or three of them with one Raft log
//	postgres.go  a PostgreSQL cluster
//	sshd.go      an OpenSSH server that trusts a certificate authority
//	ldap.go      an OpenLDAP server
//	tac.go       the product: tac serve, and the command line
package parts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience bounds every wait for a server to come up or to go away. It is far
// beyond what any of them needs on a busy machine.
const patience = 90 * time.Second

// Process is one running program.
type Process struct {
	cmd  *exec.Cmd
	log  string // where both its outputs go
	done chan struct{}
	err  error // of Wait; read it after done
}

// start runs a program with its output in a file.
func start(cmd *exec.Cmd, log string) (*Process, error) {
	f, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the log of %s: %w", cmd.Path, err)
	}
	defer f.Close() // the program has its own copy
	cmd.Stdout, cmd.Stderr = f, f
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	// Whatever happens to the tests, no server outlives them.
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	p := &Process{cmd: cmd, log: log, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		p.err = cmd.Wait()
	}()
	return p, nil
}

// Alive reports whether the program still runs.
func (p *Process) Alive() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Ended waits for the program to end by itself.
func (p *Process) Ended(within time.Duration) bool {
	select {
	case <-p.done:
		return true
	case <-time.After(within):
		return false
	}
}

// Kill ends the program as a power cut would, and returns when it is gone.
func (p *Process) Kill() { p.signal(syscall.SIGKILL) }

// Stop asks the program to end, and returns when it is gone.
func (p *Process) Stop() { p.signal(syscall.SIGTERM) }

func (p *Process) signal(s syscall.Signal) {
	if !p.Alive() {
		return
	}
	_ = p.cmd.Process.Signal(s) // it may be gone already, which is as good
	select {
	case <-p.done:
	case <-time.After(patience):
		_ = p.cmd.Process.Kill()
		<-p.done
	}
}

// Log returns the last of what the program wrote.
func (p *Process) Log() string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	const most = 6000
	if len(text) > most {
		text = text[len(text)-most:]
	}
	return string(text)
}

// until waits for a condition of a server that starts.
func (p *Process) until(ctx context.Context, what string, holds func() error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var last error
	for {
		if last = holds(); last == nil {
			return nil
		}
		if !p.Alive() {
			return fmt.Errorf("%s: it ended: %w; it said:\n%s", what, errors.Join(p.err, last), p.Log())
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w; it said:\n%s", what, last, p.Log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

var ports struct {
	sync.Mutex
	given map[int]bool
}

// freePort returns a port of loopback that nobody listens on. It lies below
// those from which the system takes the ports of outgoing connections, so
// that none of these gets hold of it before the server does.
func freePort() (int, error) {
	ports.Lock()
	defer ports.Unlock()
	if ports.given == nil {
		ports.given = map[int]bool{}
	}
	for range 1000 {
		port := 10000 + rand.IntN(22000)
		if ports.given[port] {
			continue
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		ports.given[port] = true
		return port, l.Close()
	}
	return 0, errors.New("no port of loopback is free")
}

// program finds one that is installed, also where root's PATH does not look.
func program(name string, folders ...string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, pattern := range append(folders, "/usr/sbin", "/usr/local/sbin") {
		found, err := filepath.Glob(filepath.Join(pattern, name))
		if err == nil && len(found) > 0 {
			return found[len(found)-1], nil
		}
	}
	return "", fmt.Errorf("%s is not installed", name)
}

// as returns how a program runs as another user where we are root, since some
// servers refuse to be; elsewhere it is nil. The folder becomes that user's.
func as(name, folder string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return nil, fmt.Errorf("find the user %s: %w", name, err)
	}
	uid, uidErr := strconv.Atoi(u.Uid)
	gid, gidErr := strconv.Atoi(u.Gid)
	if err := errors.Join(uidErr, gidErr); err != nil {
		return nil, fmt.Errorf("read the ids of %s: %w", name, err)
	}
	if err := os.Chown(folder, uid, gid); err != nil {
		return nil, fmt.Errorf("give a folder to %s: %w", name, err)
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
}

// run runs a program to its end and returns what it printed.
func run(cmd *exec.Cmd) (string, error) {
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, strings.TrimSpace(said.String()+out.String()))
	}
	return out.String(), nil
}
