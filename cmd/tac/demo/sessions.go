package demo

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
)

func (d *telling) dsn(c Credential) string {
	return fmt.Sprintf("postgres://%s:%s@%s/payments?sslmode=disable&connect_timeout=5", c.Username, c.Password, d.world.Postgres.Addr())
}

// lastClause is the end of an error, which is what the server said.
func lastClause(err error) string {
	if err == nil {
		return "no error"
	}
	text := err.Error()
	if i := strings.Index(text, "FATAL"); i >= 0 {
		return text[i:]
	}
	if i := strings.LastIndex(text, ": "); i >= 0 {
		return text[i+2:]
	}
	return text
}

// runOverSSH opens a session with a certificate and runs one command.
func (d *telling) runOverSSH(private ed25519.PrivateKey, signed, command string) (string, error) {
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		return "", err
	}
	parsed, _, _, _, err := ssh.ParseAuthorizedKey([]byte(signed))
	if err != nil {
		return "", err
	}
	certificate, ok := parsed.(*ssh.Certificate)
	if !ok {
		return "", errors.New("what Vault signed is no certificate")
	}
	if signer, err = ssh.NewCertSigner(certificate, signer); err != nil {
		return "", err
	}
	host, _, _, _, err := ssh.ParseAuthorizedKey([]byte(d.world.SSH.HostKey()))
	if err != nil {
		return "", err
	}
	client, err := ssh.Dial("tcp", d.world.SSH.Addr(), &ssh.ClientConfig{
		User: "deploy", Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: ssh.FixedHostKey(host), Timeout: 10 * time.Second,
	})
	if err != nil {
		return "", err
	}
	defer client.Close()
	session, err := client.NewSession()
	if err != nil {
		return "", err
	}
	defer session.Close()
	out, err := session.Output(command)
	return strings.TrimSpace(string(out)), err
}
