package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tigeraccess/tac/cmd/tac/client"
)

const (
	formatEnv    = "env"
	formatPgpass = "pgpass"
	formatSSH    = "ssh"
)

func (p *program) get() *cobra.Command {
	format := choice{allowed: []string{formatEnv, formatJSON, formatPgpass, formatSSH}}
	var replace bool
	c := &cobra.Command{
		Use: "get ID [--format env|json|pgpass|ssh] [--replace]", Short: "Take the credential of a grant",
		Long: "Take the credential of your own grant and print it. It is kept, for your eyes only, and\n" +
			"printed again while it lives.\n\n" +
			"For a resource that is reached by a certificate, the private key is made here and never\n" +
			"sent; what is printed are the files: TAC_KEY_FILE, TAC_CERT_FILE and TAC_CA_FILE. They\n" +
			"keep their names while the grant lives; each get has the certificate signed again that\n" +
			"is about to end.",
		Example: `  eval "$(tac access get 20261122-k3v9q2m4tz)"
  tac access get 20261122-k3v9q2m4tz --format pgpass >>~/.pgpass`,
		Args: takes("ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := grantID(cmd, args[0])
			if err != nil {
				return err
			}
			if p.json() && format.value != "" && format.value != formatJSON {
				return wrongUsage(cmd, "-o json and --format %s cannot both be; leave one out", format.value)
			}
			c, err := p.session()
			if err != nil {
				return err
			}
			t, err := c.Take(cmd.Context(), id, replace)
			if err != nil {
				return err
			}
			return p.printCredential(t, format.value)
		},
	}
	c.Flags().Var(&format, "format", "how to print it; else what fits the resource")
	c.Flags().BoolVar(&replace, "replace", false, "retire the credential that was taken elsewhere, and take a new one")
	return c
}

// printCredential prints a credential; an empty format is what fits it.
func (p *program) printCredential(t client.Taken, format string) error {
	isSSH := t.Credential.Engine == client.EngineSSH
	switch {
	case p.json():
		format = formatJSON
	case format == "" && isSSH:
		format = formatSSH
	case format == "":
		format = formatEnv
	case format == formatSSH && !isSSH:
		return &usageError{message: t.Grant.Resource + " is not reached by SSH; leave out --format"}
	case format == formatPgpass && t.Credential.Engine != "database":
		return &usageError{message: t.Grant.Resource + " is not a database; leave out --format"}
	}
	if t.Unsure != nil {
		p.note("%v; this is the credential kept from before", t.Unsure)
	}
	switch format {
	case formatJSON:
		p.printJSON(taken{t.Grant, t.Credential.Reveal(), t.KeyFile, t.CertFile, t.CAFile})
		return nil
	case formatEnv:
		p.print("%s\n", exportLine(variables(t)))
	case formatPgpass:
		line, err := pgpass(t)
		if err != nil {
			return err
		}
		p.print("%s\n", line)
	case formatSSH:
		line, ok := sshLine(t)
		if !ok {
			line = strings.Join(append([]string{"ssh"}, sshOptions(t)...), " ")
			p.note("%s has no connect line that runs ssh; add the host to this", t.Grant.Resource)
		}
		p.print("%s\n", plain(line))
	}
	p.note("%s ends %s (in %s)", t.Grant.Resource, stamp(t.Credential.Until), p.distance(t.Credential.Until))
	return nil
}

// taken is the answer to `access get -o json`.
type taken struct {
	Grant      client.Grant    `json:"grant"`
	Credential client.Revealed `json:"credential"`
	KeyFile    string          `json:"key_file,omitempty"`
	CertFile   string          `json:"certificate_file,omitempty"`
	CAFile     string          `json:"ca_file,omitempty"`
}

// exportLine is one line that a POSIX shell can evaluate, whatever the values
// hold.
func exportLine(vars []variable) string {
	line := "export"
	for _, v := range vars {
		line += " " + v.name + "=" + shellQuote(v.value)
	}
	return line
}

// pgpass is a line for ~/.pgpass. What the connect line does not say matches
// everything, which is harmless: the user name is this grant's alone.
func pgpass(t client.Taken) (string, error) {
	pg := parsePsql(t.Grant.Connect)
	fields := []string{pg.host, pg.port, pg.database, t.Credential.Username, t.Credential.Password.Reveal()}
	for i, f := range fields {
		switch {
		case strings.ContainsAny(f, "\r\n"):
			return "", errors.New("the credential holds a line break, which a password file cannot; use --format env")
		case f == "" && i >= 3:
			return "", fmt.Errorf("%s gave no user name and password; use --format json", t.Grant.Resource)
		case f == "":
			fields[i] = "*"
		default:
			fields[i] = strings.NewReplacer(`\`, `\\`, ":", `\:`).Replace(f)
		}
	}
	return strings.Join(fields, ":"), nil
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
