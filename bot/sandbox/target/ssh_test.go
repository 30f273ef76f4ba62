package target_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tigeraccess/tac/bot/sandbox"
	"github.com/tigeraccess/tac/bot/sandbox/target"
	"golang.org/x/crypto/ssh"
)

func newSigner(t *testing.T) ssh.Signer {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	must(t, err)
	signer, err := ssh.NewSignerFromKey(private)
	must(t, err)
	return signer
}

type bastion struct {
	*target.SSH
	clock *sandbox.Clock
	ca    ssh.Signer
}

func newBastion(t *testing.T) bastion {
	t.Helper()
	b := bastion{clock: sandbox.NewStillClock(noon), ca: newSigner(t)}
	var err error
	b.SSH, err = target.NewSSH(b.clock)
	must(t, err)
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	must(t, b.TrustCA(ssh.MarshalAuthorizedKey(b.ca.PublicKey())))
	return b
}

// certificate signs one for deploy, for ten minutes from noon, after edit.
func certificate(t *testing.T, ca ssh.Signer, edit func(*ssh.Certificate)) ssh.Signer {
	t.Helper()
	key := newSigner(t)
	cert := &ssh.Certificate{
		Key: key.PublicKey(), Serial: 7, CertType: ssh.UserCert, KeyId: "vault-alice",
		ValidPrincipals: []string{"deploy"},
		ValidAfter:      uint64(noon.Unix()), ValidBefore: uint64(noon.Add(10 * time.Minute).Unix()),
	}
	if edit != nil {
		edit(cert)
	}
	must(t, cert.SignCert(rand.Reader, ca))
	signer, err := ssh.NewCertSigner(cert, key)
	must(t, err)
	return signer
}

func dial(t *testing.T, b bastion, user string, signer ssh.Signer) (*ssh.Client, error) {
	t.Helper()
	hostKey, _, _, _, err := ssh.ParseAuthorizedKey([]byte(b.HostKey()))
	must(t, err)
	client, err := ssh.Dial("tcp", b.Addr(), &ssh.ClientConfig{
		User: user, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)},
		HostKeyCallback: ssh.FixedHostKey(hostKey), Timeout: 10 * time.Second,
	})
	if err == nil {
		t.Cleanup(func() { _ = client.Close() })
	}
	return client, err
}

func TestSSHLetsInOnlyTrustedCertificates(t *testing.T) {
	b := newBastion(t)
	for name, tt := range map[string]struct {
		user    string
		signer  ssh.Signer
		refused string
	}{
		"a certificate of the authority": {"deploy", certificate(t, b.ca, nil), ""},
		"expired": {"deploy", certificate(t, b.ca, func(c *ssh.Certificate) {
			c.ValidAfter, c.ValidBefore = uint64(noon.Add(-time.Hour).Unix()), uint64(noon.Unix())
		}), "expired"},
		"not yet valid": {"deploy", certificate(t, b.ca, func(c *ssh.Certificate) {
			c.ValidAfter = uint64(noon.Add(time.Second).Unix())
		}), "not yet valid"},
		"wrong principal":      {"root", certificate(t, b.ca, nil), `principal "root" not in`},
		"no principals":        {"deploy", certificate(t, b.ca, func(c *ssh.Certificate) { c.ValidPrincipals = nil }), "without principals"},
		"a host certificate":   {"deploy", certificate(t, b.ca, func(c *ssh.Certificate) { c.CertType = ssh.HostCert }), "type 2"},
		"another authority":    {"deploy", certificate(t, newSigner(t), nil), "unrecognized authority"},
		"a plain key":          {"deploy", newSigner(t), "plain key"},
		"the authority itself": {"deploy", b.ca, "plain key"},
		"an unknown critical option": {"deploy", certificate(t, b.ca, func(c *ssh.Certificate) {
			c.CriticalOptions = map[string]string{"force-command": "whoami"}
		}), "critical option"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := dial(t, b, tt.user, tt.signer)
			if (err == nil) != (tt.refused == "") {
				t.Fatalf("login: %v, want refusal %q", err, tt.refused)
			}
			logins := b.Logins()
			last := logins[len(logins)-1]
			if last.Accepted != (tt.refused == "") || last.User != tt.user || !last.At.Equal(noon) || !strings.Contains(last.Refused, tt.refused) {
				t.Errorf("recorded %+v, want refusal %q", last, tt.refused)
			}
		})
	}
}

func TestSSHRunsCommandsAndDoesNotEndASessionAtExpiry(t *testing.T) {
	b := newBastion(t)
	signer := certificate(t, b.ca, nil)
	client, err := dial(t, b, "deploy", signer)
	must(t, err)
	exec := func(line string) (string, string, int) {
		t.Helper()
		session, err := client.NewSession()
		must(t, err)
		defer func() { _ = session.Close() }()
		var stdout, stderr bytes.Buffer
		session.Stdout, session.Stderr = &stdout, &stderr
		err = session.Run(line)
		var exit *ssh.ExitError
		if errors.As(err, &exit) {
			return stdout.String(), stderr.String(), exit.ExitStatus()
		}
		must(t, err)
		return stdout.String(), stderr.String(), 0
	}
	for line, want := range map[string]string{"whoami": "deploy\n", "hostname": "bastion.sandbox\n", "echo two  words": "two  words\n"} {
		if out, stderr, status := exec(line); out != want || stderr != "" || status != 0 {
			t.Errorf("%s: %q, %q, status %d", line, out, stderr, status)
		}
	}
	if out, stderr, status := exec("rm -rf /"); out != "" || status != 127 || !strings.Contains(stderr, "rm") {
		t.Errorf("an unknown command: %q, %q, status %d", out, stderr, status)
	}
	b.clock.Advance(time.Hour)
	if out, _, _ := exec("whoami"); out != "deploy\n" {
		t.Errorf("an open session past the certificate's end: %q", out)
	}
	if _, err := dial(t, b, "deploy", signer); err == nil {
		t.Error("an expired certificate opened a session")
	}
	logins := b.Logins()
	want := target.Login{User: "deploy", KeyID: "vault-alice", Serial: 7, At: noon, Accepted: true}
	if len(logins) != 2 || logins[0] != want || logins[1].Accepted {
		t.Errorf("logins recorded: %+v", logins)
	}
}

func TestSSHShellGreetsAndCloses(t *testing.T) {
	b := newBastion(t)
	client, err := dial(t, b, "deploy", certificate(t, b.ca, nil))
	must(t, err)
	session, err := client.NewSession()
	must(t, err)
	var stdout bytes.Buffer
	session.Stdout = &stdout
	must(t, session.RequestPty("xterm", 24, 80, ssh.TerminalModes{}))
	must(t, session.Shell())
	must(t, session.Wait())
	if got := stdout.String(); !strings.HasPrefix(got, "Welcome to bastion.sandbox, deploy.") || strings.Count(got, "\n") != 1 {
		t.Errorf("greeting %q", got)
	}
	if !strings.HasPrefix(b.KnownHosts(), "[127.0.0.1]:") {
		t.Errorf("known_hosts line %q", b.KnownHosts())
	}
}
