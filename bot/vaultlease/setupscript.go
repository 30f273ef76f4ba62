package vaultlease

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// Script returns a POSIX shell script that does the plan's steps with the
// vault command. It may be run again at any time.
func (p Plan) Script() (string, error) {
	p.setDefaults()
	steps, err := p.Steps()
	if err != nil {
		return "", err
	}
	var b strings.Builder
	b.WriteString(scriptHead)
	p.preamble(&b)
	b.WriteString(scriptFunctions)
	for _, s := range steps {
		b.WriteByte('\n')
		comment(&b, s.Why)
		if command := s.Command(); command != "" {
			b.WriteString(command + "\n")
		}
	}
	fmt.Fprintf(&b, scriptTail, p.rolePath())
	return b.String(), nil
}

const scriptHead = `#!/bin/sh
# Sets up HashiCorp Vault for tac. Written by: tac vault setup --print
#
# Run it as an administrator of Vault, with VAULT_ADDR and VAULT_TOKEN set. It may be run again at any time: what is
# tac's own is brought up to date, and nothing else that is there is changed.
set -eu
unset VAULT_FORMAT # answers are read below
`

// scriptText is a text of Apply's as a shell's printf takes it, in quotes.
func scriptText(format string) string {
	return strings.ReplaceAll(strings.ReplaceAll(format, "%[1]s", "%s"), "'", `'\''`)
}

// scriptFunctions hold what a step needs to be done twice without harm.
var scriptFunctions = `
# absent PATH: whether nothing is there. What cannot be read is not absent.
absent() {
	if said=$(vault read "$1" 2>&1); then
		return 1
	fi
	case $said in
	*'No value found'* | *'secret engine mount at'* | *'auth engine at'* | *"` + nothingThere + `"*) return 0 ;;
	esac
	printf '%s\n' "$said" >&2
	exit 1
}

# enable secrets|auth PATH TYPE [NAME=VALUE]: enables an engine unless it is there
enable() {
	table=sys/mounts/$2
	if [ "$1" = auth ]; then
		table=sys/auth/$2
	fi
	if absent "$table"; then
		vault "$1" enable -path="$2" ${4:+-options="$4"} "$3"
	elif [ "$(vault read -field=type "$table")" != "$3" ]; then
		printf '%s is there and is not of type %s; choose another path\n' "$2" "$3" >&2
		exit 1
	elif [ -n "${4-}" ]; then
		case $(vault read -field=options "$table") in
		*"${4%%=*}:${4#*=}"*) ;;
		*)
			printf '%s is there without %s; choose another path\n' "$2" "$4" >&2
			exit 1
			;;
		esac
	fi
}

# stop FORMAT WORD...: says why and ends
stop() {
	# shellcheck disable=SC2059
	printf "$@" >&2
	exit 1
}

# own_policy NAME MOUNT: stops unless there is no such policy, or it is for these records
own_policy() {
	if absent "sys/policies/acl/$1"; then
		return 0
	fi
	case $said in
	*"path \"` + recordsPath("$2") + `\""*) ;;
	*) stop '` + foreignPolicy + `\n' "$1" "$2" ;;
	esac
}

# own_records PATH: stops unless there is no engine, or it holds records of tac's alone
own_records() {
	if absent "sys/mounts/$1"; then
		return 0
	fi
	enable secrets "$1" kv version=2
	if [ "$(vault read -field=cas_required "$1/config")" != true ]; then
		stop '` + scriptText(foreignWrites) + `\n' "$1" "$1"
	fi
	if ! others=$(vault list -format=table "$1/metadata" 2>&1); then
		case $others in
		*'No value found'*) return 0 ;;
		esac
		stop '%s\n' "$others"
	fi
	others=$(printf '%s\n' "$others" | sed '1,2d' | grep -vxE '` + strings.Join(ownKeys, "|") + `' | tr '\n' ' ') || true
	if [ -n "$others" ]; then
		stop '` + scriptText(foreignRecords) + `\n' "$1" "${others%% }"
	fi
}

# settled COMMAND...: a new engine may need a moment
settled() {
	for pause in 1 1 2 3; do
		if "$@" 2>/dev/null; then
			return 0
		fi
		sleep "$pause"
	done
	"$@"
}
`

const scriptTail = `
# What the bot logs in with. The role id is no secret; each secret id is one, and this makes a new one if it is told
# where to put it: TAC_SECRET_ID_FILE=/etc/tac/secret-id
printf 'role_id: %%s\n' "$(vault read -field=role_id %[1]s/role-id)"
if [ -n "${TAC_SECRET_ID_FILE-}" ]; then
	if [ -d "$TAC_SECRET_ID_FILE" ]; then
		stop '%%s is a folder; name a file in it\n' "$TAC_SECRET_ID_FILE"
	fi
	# Beside it, for its owner alone: whoever reads the old one has it until the new one is whole.
	next=$(mktemp "$TAC_SECRET_ID_FILE.XXXXXX")
	trap 'rm -f "$next"' EXIT
	vault write -f -field=secret_id %[1]s/secret-id >"$next"
	mv -f "$next" "$TAC_SECRET_ID_FILE"
	printf 'secret_id: in %%s\n' "$TAC_SECRET_ID_FILE"
else
	printf 'secret_id: none made; set TAC_SECRET_ID_FILE, or run: vault write -f %[1]s/secret-id\n'
fi
`

// preamble stops the script at once where the operator has not said something.
func (p Plan) preamble(b *strings.Builder) {
	variables := p.Variables()
	if len(variables) == 0 {
		return
	}
	b.WriteByte('\n')
	comment(b, "What only you know. An address is written as postgresql://{{username}}:{{password}}@db.internal:5432/payments?sslmode=verify-full with the braces as they are: Vault fills them in.")
	for _, v := range variables {
		fmt.Fprintf(b, ": \"${%s:?%s}\"\n", v.Name, v.Why)
	}
}

const commentWidth = 116

func comment(b *strings.Builder, text string) {
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > commentWidth {
			fmt.Fprintf(b, "# %s\n", line)
			line = ""
		}
		line = strings.TrimPrefix(line+" "+word, " ")
	}
	fmt.Fprintf(b, "# %s\n", line)
}

// Command returns the shell line, or lines, that do the step; empty for
// advice. It relies on the functions of Script.
func (s Step) Command() string {
	switch s.Deed {
	case OwnRecords:
		return "own_records " + s.Path
	case OwnPolicy:
		return "own_policy " + s.Path + " " + s.Records
	case EnableSecrets:
		return s.enableCommand("secrets")
	case EnableAuth:
		return s.enableCommand("auth")
	case WritePolicy:
		return fmt.Sprintf("vault policy write %s - <<'HCL'\n%sHCL", s.Path, s.Policy)
	case Write:
		command := s.writeCommand()
		switch {
		case s.Once:
			return fmt.Sprintf("if absent %s; then\n\t%s\nfi", s.Path, strings.ReplaceAll(command, "\n", "\n\t"))
		case s.Settling:
			return "settled " + command
		}
		return command
	}
	return ""
}

func (s Step) enableCommand(kind string) string {
	words := []string{"enable", kind, s.Path, s.Engine}
	for _, f := range s.Fields {
		words = append(words, shellQuoted(f.Name+"="+f.Values[0][0].Words))
	}
	return strings.Join(words, " ")
}

// mostLine is how long a command may be before each value gets its own line.
const mostLine = 110

// writeCommand is one vault write. A secret comes over its standard input,
// since everybody on the machine can read command lines; and so does an
// object, which a command line cannot hold. No step has both.
func (s Step) writeCommand() string {
	words := []string{"vault write " + s.Path}
	input := ""
	for _, f := range s.Fields {
		if f.Secret {
			input = `printf '%s' ` + f.Values[0].shell() + " | "
			words = append(words, f.Name+"=-")
			continue
		}
		if f.Map != nil {
			object, _ := json.Marshal(map[string]any{f.Name: f.Map}) // texts always encode
			input = `printf '%s' ` + shellQuoted(string(object)) + " | "
			words = append(words, "-")
			continue
		}
		for _, v := range f.Values {
			words = append(words, append(Text{{Words: f.Name + "="}}, v...).shell())
		}
	}
	line := strings.Join(words, " ")
	if len(input)+len(line) > mostLine {
		line = strings.Join(words, " \\\n\t")
	}
	return input + line
}

// shell writes a text as one word of a shell command.
func (t Text) shell() string {
	var b strings.Builder
	pending := ""
	for _, part := range t {
		pending += part.Words
		if part.Variable == "" {
			continue
		}
		if pending != "" {
			b.WriteString(shellQuoted(pending))
			pending = ""
		}
		b.WriteString(`"$` + part.Variable + `"`)
	}
	if pending != "" || b.Len() == 0 {
		b.WriteString(shellQuoted(pending))
	}
	return b.String()
}

var plainWord = regexp.MustCompile(`^[A-Za-z0-9_./:=,@%+-]+$`)

// shellQuoted writes a text so that a POSIX shell reads it as it is.
func shellQuoted(s string) string {
	if plainWord.MatchString(s) {
		return s
	}
	name, value, ok := strings.Cut(s, "=")
	if ok && plainWord.MatchString(name+"=") {
		return name + "='" + strings.ReplaceAll(value, "'", `'\''`) + "'"
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

// oneLine is writeCommand without line breaks.
func (s Step) oneLine() string { return strings.ReplaceAll(s.writeCommand(), " \\\n\t", " ") }
