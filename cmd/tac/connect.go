package main

import (
	"path"
	"strings"

	"github.com/tigeraccess/tac/cmd/tac/client"
	"github.com/tigeraccess/tac/grants"
)

// variable is one environment variable for a command that uses a credential.
type variable struct{ name, value string }

// variables returns what a command needs in its environment. Secrets travel
// in it and never in argv, which everybody on the machine can read.
func variables(t client.Taken) []variable {
	var out []variable
	add := func(name, value string) {
		if value != "" {
			out = append(out, variable{name, value})
		}
	}
	c := t.Credential
	add("TAC_USERNAME", c.Username)
	add("TAC_PASSWORD", c.Password.Reveal())
	switch c.Engine {
	case client.EngineSSH:
		add("TAC_SSH_KEY", t.KeyFile)
		add("TAC_SSH_CERTIFICATE", t.CertFile)
	case client.EnginePKI:
		add("TAC_CERT_FILE", t.CertFile)
		add("TAC_KEY_FILE", t.KeyFile)
		add("TAC_CA_FILE", t.CAFile)
		return out // the fields are in the files
	case grants.EngineDatabase:
		add("PGUSER", c.Username)
		add("PGPASSWORD", c.Password.Reveal())
		pg := parsePsql(t.Grant.Connect)
		add("PGHOST", pg.host)
		add("PGPORT", pg.port)
		add("PGDATABASE", pg.database)
	}
	// The prefix keeps names that come from Vault off variables that mean
	// something, our own TAC_SERVER among them.
	for _, name := range sortedKeys(c.Fields) {
		add("TAC_FIELD_"+variableName(name), c.Fields[name].Reveal())
	}
	return out
}

func variableName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, s)
}

// psqlLine is what a psql command line connects to; empty: it does not say,
// or only a shell could tell.
type psqlLine struct{ host, port, database string }

// psqlFlags are psql's options that take a value, long and short.
var psqlFlags = map[string]string{
	"host": "h", "port": "p", "dbname": "d", "username": "U", "command": "c", "file": "f", "set": "v", "variable": "v",
	"output": "o", "log-file": "L", "pset": "P", "field-separator": "F", "record-separator": "R", "table-attr": "T",
}

// parsePsql reads a connect line that runs psql. Other lines yield nothing.
func parsePsql(line string) psqlLine {
	words := shellWords(line)
	if len(words) == 0 || path.Base(words[0].text) != "psql" {
		return psqlLine{}
	}
	var out psqlLine
	set := func(flag string, w word) {
		if !w.known || strings.ContainsAny(w.text, "=/") && flag == "d" {
			return // a connection string stays psql's own affair
		}
		switch flag {
		case "h":
			out.host = w.text
		case "p":
			out.port = w.text
		case "d":
			out.database = w.text
		}
	}
	for rest := words[1:]; len(rest) > 0; {
		w := rest[0]
		rest = rest[1:]
		flag, value, given := psqlFlag(w.text)
		switch {
		case !strings.HasPrefix(w.text, "-"):
			set("d", w)
			return out // what follows is the user
		case flag == "":
			continue
		case given:
			set(flag, word{value, w.known})
		case len(rest) > 0:
			set(flag, rest[0])
			rest = rest[1:]
		}
	}
	return out
}

// psqlFlag takes -hHOST, -h, --host=HOST and --host apart; an option without
// a value has no name here.
func psqlFlag(text string) (flag, value string, given bool) {
	if long, ok := strings.CutPrefix(text, "--"); ok {
		name, value, given := strings.Cut(long, "=")
		return psqlFlags[name], value, given
	}
	short, ok := strings.CutPrefix(text, "-")
	if !ok || short == "" {
		return "", "", false
	}
	for _, letter := range psqlFlags {
		if strings.HasPrefix(short, letter) {
			return letter, short[1:], len(short) > 1
		}
	}
	return "", "", false
}

// word is one word of a shell line. It is not known where the shell would
// put something else in its place.
type word struct {
	text  string
	known bool
}

// shellWords splits the first simple command of a line as a shell would.
func shellWords(line string) []word {
	var words []word
	var text strings.Builder
	inWord, known, quote := false, true, rune(0)
	end := func() {
		if inWord {
			words = append(words, word{text.String(), known})
		}
		text.Reset()
		inWord, known = false, true
	}
	escaped := false
	for _, r := range line {
		switch {
		case escaped:
			text.WriteRune(r)
			escaped = false
		case r == '\\' && quote != '\'':
			escaped, inWord = true, true
		case quote != 0 && r == quote:
			quote = 0
		case quote == 0 && (r == '\'' || r == '"'):
			quote, inWord = r, true
		case quote == 0 && (r == ' ' || r == '\t'):
			end()
		case quote == 0 && strings.ContainsRune(";|&<>()#\n", r):
			end()
			return words
		default:
			if quote != '\'' && strings.ContainsRune("$`", r) || quote == 0 && strings.ContainsRune("*?[~", r) {
				known = false
			}
			text.WriteRune(r)
			inWord = true
		}
	}
	end()
	return words
}

// shellQuote returns s as one word of a POSIX shell.
func shellQuote(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789@%+=:,./_-") == "" {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// sshOptions are the arguments by which ssh uses our key and certificate and
// no other key: servers close the door after a few wrong ones.
func sshOptions(t client.Taken) []string {
	return []string{
		"-i", strings.ReplaceAll(t.KeyFile, "%", "%%"), // ssh expands % there
		"-o", "CertificateFile=" + sshValue(t.CertFile),
		"-o", "IdentitiesOnly=yes",
	}
}

func sshValue(path string) string {
	path = strings.ReplaceAll(path, "%", "%%")
	if strings.ContainsAny(path, " \t") {
		return `"` + path + `"`
	}
	return path
}

// isSSH reports whether a command takes the options of ssh.
func isSSH(command string) bool {
	switch strings.TrimSuffix(path.Base(command), ".exe") {
	case "ssh", "scp", "sftp":
		return true
	}
	return false
}

// sshLine puts our options into a connect line that runs ssh.
func sshLine(t client.Taken) (string, bool) {
	line := strings.TrimSpace(t.Grant.Connect)
	first, rest, _ := strings.Cut(line, " ")
	if !isSSH(first) {
		return line, false
	}
	options := sshOptions(t)
	for i := range options {
		options[i] = shellQuote(options[i])
	}
	return strings.TrimRight(first+" "+strings.Join(options, " ")+" "+rest, " "), true
}
