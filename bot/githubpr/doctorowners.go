package githubpr

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"github.com/tigeraccess/tac/grants/world"
)

// Ruleset B has code owners review what decides; this file looks at whether
// there are any.

// ownersPaths are where GitHub looks for code owners; the first that is there
// counts, and no other.
var ownersPaths = []string{".github/CODEOWNERS", "CODEOWNERS", "docs/CODEOWNERS"}

// ownersReading is the file of code owners at the tip of the default branch.
type ownersReading struct {
	path      string // empty: there is none
	text      string
	err       error
	broken    []ownersError
	brokenErr error
}

// ownersError is what GitHub finds wrong with a line, which then counts for
// nothing, or for less than it says.
type ownersError struct {
	Line int    `json:"line"`
	Kind string `json:"kind"`
}

func (d doctor) owners(ctx context.Context, repo, branch string) (o ownersReading) {
	ref := "?ref=" + url.QueryEscape(branch)
	for _, path := range ownersPaths {
		var file struct {
			Type     string `json:"type"`
			Encoding string `json:"encoding"`
			Content  []byte `json:"content"`
		}
		err := d.get(ctx, d.c.api, repo+"/contents/"+path+ref, &file)
		if answered(err, http.StatusNotFound) {
			continue
		}
		if err == nil && (file.Type != "file" || file.Encoding != "base64") {
			err = &answerError{status: http.StatusOK, sentence: path + " is no file that can be read"}
		}
		o.path, o.text, o.err = path, string(file.Content), err
		break
	}
	if o.path == "" || o.err != nil {
		return o
	}
	var found struct {
		Errors []ownersError `json:"errors"`
	}
	o.brokenErr = d.get(ctx, d.c.api, repo+"/codeowners/errors"+ref, &found)
	o.broken = found.Errors
	return o
}

func (r *reading) judgeOwners(f *world.Findings) {
	const check = "code owners"
	o := r.owners
	switch {
	case o.err != nil && outage(o.err):
		f.Silent(check, o.err)
		return
	case o.err != nil:
		f.Wrong(check, r.ownersMend(ownersPaths[0]), "the code owners of %s cannot be read: %v", r.cfg.Branch, o.err)
		return
	case o.path == "":
		f.Wrong(check, r.ownersMend("CODEOWNERS"), "%s has no CODEOWNERS: whoever writes could change policies/", r.cfg.Branch)
		return
	case o.brokenErr != nil && outage(o.brokenErr):
		f.Silent(check, o.brokenErr)
	case o.brokenErr != nil:
		f.Unseen(check, "", "what GitHub finds wrong with %s cannot be read: %v", o.path, o.brokenErr)
	}
	before := len(f.List)
	lines := o.lines()
	for _, place := range r.guardedPlaces() {
		if why := place.unowned(lines); why != "" {
			f.Wrong(check, r.ownersMend(o.path), "%s: %s, so that whoever writes could change it", place.name, why)
		}
	}
	for _, grant := range []string{"grants/a/20260101-0000000000.yaml", "grants/zz/20991231-zzzzzzzzzz.yaml"} {
		if last := lastOf(lines, grant); last != nil && len(last.owners) > 0 {
			f.Wrong(check, "in "+o.path+", after line "+fmt.Sprint(last.number)+": /grants/", "%s owns grants/ (line %d): no grant could merge without a review by them", strings.Join(last.owners, " "), last.number)
			break
		}
	}
	if len(f.List) == before && o.brokenErr == nil {
		f.Fine(check, "%s has policies/, .github/ and itself reviewed by their owners, and not grants/", o.path)
	}
}

// guarded is what has to have owners, with paths in it that no line names but by
// naming all of it.
type guarded struct {
	name  string
	paths []string
}

// guardedPlaces are those that decide who gets access. What is found before
// the file of code owners would take its place.
func (r *reading) guardedPlaces() []guarded {
	places := []guarded{
		{"policies/", []string{"policies/aa.yaml", "policies/zz/b.yml"}},
		{".github/", []string{".github/workflows/aa.yml", ".github/zz/b", ".github/CODEOWNERS"}},
	}
	for _, path := range ownersPaths[1 : max(slices.Index(ownersPaths, r.owners.path), 0)+1] {
		places = append(places, guarded{path, []string{path}})
	}
	return places
}

func (r *reading) ownersMend(file string) string {
	owner := "@" + r.cfg.Owner + "/TEAM"
	if r.installed.TargetType == "User" {
		owner = "@" + r.cfg.Owner
	}
	lines := []string{"/policies/ " + owner, "/.github/ " + owner}
	if file != ownersPaths[0] {
		lines = append(lines, "/"+file+" "+owner)
	}
	return "at the end of " + file + ", each on its own line: " + strings.Join(lines, ", ")
}

// ownersLine is one line of code owners.
type ownersLine struct {
	number  int
	pattern string
	form    *regexp.Regexp
	owners  []string
	broken  string // what GitHub finds wrong with it
}

func (o ownersReading) lines() (all []ownersLine) {
	for i, text := range strings.Split(o.text, "\n") {
		words := strings.Fields(text)
		if at := slices.IndexFunc(words, func(w string) bool { return strings.HasPrefix(w, "#") }); at >= 0 {
			words = words[:at]
		}
		if len(words) == 0 {
			continue
		}
		line := ownersLine{number: i + 1, pattern: words[0], form: patternForm(words[0]), owners: words[1:]}
		for _, b := range o.broken {
			if b.Line == line.number {
				line.broken = b.Kind
			}
		}
		all = append(all, line)
	}
	return all
}

// lastOf returns the line that counts for a path: the last that matches.
func lastOf(lines []ownersLine, path string) *ownersLine {
	for i := range slices.Backward(lines) {
		if lines[i].form.MatchString(path) {
			return &lines[i]
		}
	}
	return nil
}

// unowned says why a place has, in part or as a whole, no owners; empty: it
// has. A line without owners takes away those of the lines before it.
func (p guarded) unowned(lines []ownersLine) string {
	why := "no line names an owner of it"
	for _, line := range lines {
		whole := !slices.ContainsFunc(p.paths, func(path string) bool { return !line.form.MatchString(path) })
		switch {
		case line.broken != "" && (whole || line.mayTouch(p)):
			why = fmt.Sprintf("line %d of its owners counts for nothing (%s)", line.number, line.broken)
		case len(line.owners) == 0 && (whole || line.mayTouch(p)):
			why = fmt.Sprintf("line %d takes its owners away", line.number)
		case whole:
			why = ""
		}
	}
	return why
}

// mayTouch reports whether a line could name anything in a place. It is sure
// only of those that begin with another folder's name.
func (l ownersLine) mayTouch(p guarded) bool {
	if !strings.HasSuffix(p.name, "/") {
		return l.form.MatchString(p.name)
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(l.pattern, "/"), "/")
	anchored := rest != "" || strings.HasPrefix(l.pattern, "/")
	return !anchored || strings.ContainsAny(first, `*?[]\!`) || first == strings.TrimSuffix(p.name, "/")
}

// patternForm is a pattern as GitHub reads it: as git does its ignore files,
// but that folder/* names what is right in the folder and no further.
func patternForm(pattern string) *regexp.Regexp {
	path := strings.Trim(pattern, "/")
	segments := strings.Split(path, "/")
	var b strings.Builder
	b.WriteString("^")
	if !strings.Contains(strings.TrimSuffix(pattern, "/"), "/") {
		b.WriteString("(?:.*/)?")
	}
	for i, segment := range segments {
		switch last := i == len(segments)-1; {
		case segment == "**" && last:
			b.WriteString(".+")
		case segment == "**":
			b.WriteString("(?:.+/)?")
		default:
			quoted := regexp.QuoteMeta(segment)
			b.WriteString(strings.NewReplacer(`\*`, "[^/]*", `\?`, "[^/]").Replace(quoted))
			if !last {
				b.WriteString("/")
			}
		}
	}
	switch {
	case path == "": // GitHub: it never matches anything
		return regexp.MustCompile(`^$`)
	case strings.HasSuffix(pattern, "/"):
		b.WriteString("/.+")
	case !strings.ContainsAny(segments[len(segments)-1], "*?"):
		b.WriteString("(?:/.+)?")
	}
	return regexp.MustCompile(b.String() + "$")
}
