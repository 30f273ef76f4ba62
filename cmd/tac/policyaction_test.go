package main

import (
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/tigeraccess/tac/cmd/tac/starter"
)

// The steps of the composite action are run here as a runner does: bash for
// their scripts, and a gh that notes what it is asked.

type actionStep struct {
	Name  string            `yaml:"name"`
	ID    string            `yaml:"id"`
	If    string            `yaml:"if"`
	Uses  string            `yaml:"uses"`
	Env   map[string]string `yaml:"env"`
	Run   string            `yaml:"run"`
	Shell string            `yaml:"shell"`
}

type actionFile struct {
	Inputs map[string]struct {
		Default string `yaml:"default"`
	} `yaml:"inputs"`
	Runs struct {
		Steps []actionStep `yaml:"steps"`
	} `yaml:"runs"`
}

var actionDir = filepath.Join("..", "..", ".github", "actions", "policy")

func readAction(t *testing.T) actionFile {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(actionDir, "action.yml"))
	if err != nil {
		t.Fatal(err)
	}
	var a actionFile
	if err := yaml.Unmarshal(data, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// runner runs the action in a workspace.
type runner struct {
	t         *testing.T
	action    actionFile
	workspace string
	temp      string
	context   map[string]string // what expressions can name
	out       string            // of all steps
	failed    bool
}

const fakeGH = `#!/bin/bash
# Notes how it was called, and answers from what it was told before.
echo "$*" >>"$GH_STATE/calls"
[ ! -e "$GH_STATE/refuse" ] || { echo "HTTP 403" >&2; exit 1; }
for arg in "$@"; do
  case "$arg" in
    body=@*) cp "${arg#body=@}" "$GH_STATE/body"; echo 77 >"$GH_STATE/ids" ;;
    --jq) [ ! -e "$GH_STATE/ids" ] || cat "$GH_STATE/ids" ;;
  esac
done
`

func newRunner(t *testing.T) *runner {
	t.Helper()
	t.Parallel()
	r := &runner{t: t, action: readAction(t), workspace: t.TempDir(), temp: t.TempDir()}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	tac := filepath.Join(r.temp, "bin", "tac") // under this name the test binary is tac itself
	if os.MkdirAll(filepath.Dir(tac), 0o755) != nil || os.Link(self, tac) != nil {
		copyFile(t, self, tac) // on another disk
	}
	r.write(filepath.Join(r.temp, "bin", "gh"), fakeGH, 0o755)
	r.context = map[string]string{
		"github.event_name": "pull_request", "github.repository": "acme/access", "github.sha": strings.Repeat("ab", 20), "github.ref": "refs/pull/7/merge",
		"github.token": "not a real one", "github.action_path": actionDir,
		"github.event.pull_request.number": "7", "github.event.pull_request.head.repo.full_name": "acme/access",
	}
	for name, input := range r.action.Inputs {
		r.context["inputs."+name] = r.expand(input.Default)
	}
	r.context["inputs.tac"], r.context["inputs.since"] = tac, "2026-01-01"
	files, err := starter.Files()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range files {
		r.write(filepath.Join(r.workspace, filepath.FromSlash(name)), content, 0o644)
	}
	r.git("init", "-q", "-b", "main")
	r.commit("what is on main")
	return r
}

func TestInitPinsTheActionToItsOwnBuild(t *testing.T) {
	for want, b := range map[string]buildInfo{
		"@main # pin this": {Version: "(devel)"},
		"@v1.2.3\n":        {Version: "v1.2.3"},
		"@main # pin":      {Version: "v0.0.0-20261122-abcdefabcdef", Commit: "abc", Dirty: true},
		"@" + strings.Repeat("ab", 20) + " # v1.2.4\n": {Version: "v1.2.4", Commit: strings.Repeat("ab", 20)},
	} {
		files, err := starter.Files()
		if err != nil {
			t.Fatal(err)
		}
		pinAction(files, b)
		if got := files[".github/workflows/policy.yml"]; !strings.Contains(got, "tigeraccess/tac/.github/actions/policy"+want) {
			t.Errorf("%+v makes\n%s", b, got)
		}
	}
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
}

func (r *runner) write(name, content string, mode fs.FileMode) {
	r.t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		r.t.Fatal(err)
	}
}

// read returns a file of the runner's own; empty where there is none.
func (r *runner) read(name string) string {
	data, err := os.ReadFile(filepath.Join(r.temp, name))
	if err != nil && !os.IsNotExist(err) {
		r.t.Fatal(err)
	}
	return string(data)
}

func (r *runner) git(args ...string) {
	r.t.Helper()
	c := exec.Command("git", append([]string{"-C", r.workspace, "-c", "user.name=a", "-c", "user.email=a@acme.test"}, args...)...)
	c.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	if out, err := c.CombinedOutput(); err != nil {
		r.t.Fatalf("git %v: %v\n%s", args, err, out)
	}
}

func (r *runner) commit(message string) {
	r.t.Helper()
	r.git("add", "-A")
	r.git("commit", "-q", "-m", message)
}

// change commits a change of a policy file, as a pull request would.
func (r *runner) change(name, old, new string) {
	r.t.Helper()
	path := filepath.Join(r.workspace, filepath.FromSlash(name))
	data, err := os.ReadFile(path)
	if err != nil || !strings.Contains(string(data), old) {
		r.t.Fatalf("%s does not hold %q (%v)", name, old, err)
	}
	r.write(path, strings.Replace(string(data), old, new, 1), 0o644)
	r.commit("the change")
}

var expression = regexp.MustCompile(`\$\{\{ (.*?) \}\}`)

func (r *runner) expand(text string) string {
	return expression.ReplaceAllStringFunc(text, func(e string) string { return r.value(e[4 : len(e)-3]) })
}

func (r *runner) value(name string) string {
	r.t.Helper()
	for _, one := range strings.Split(name, " || ") {
		v, known := r.context[strings.TrimSpace(one)]
		if !known && !strings.HasPrefix(one, "steps.") {
			r.t.Fatalf("the action names %s, which this test does not know", one)
		}
		if v != "" {
			return v
		}
	}
	return ""
}

func (r *runner) wanted(s actionStep) bool {
	if s.If == "" {
		return !r.failed
	}
	for _, term := range strings.Split(expression.FindStringSubmatch(s.If)[1], " && ") {
		if term == "!cancelled()" {
			continue
		}
		name, literal, ok := strings.Cut(term, " == ")
		if !ok {
			r.t.Fatalf("the condition %q is more than this test understands", term)
		}
		if r.value(name) != strings.Trim(literal, "'") {
			return false
		}
	}
	return true
}

// run runs the action once.
func (r *runner) run() {
	r.t.Helper()
	r.out, r.failed = "", false
	for _, s := range r.action.Runs.Steps {
		outcome := "skipped"
		if r.wanted(s) && s.Uses == "" {
			outcome = "success"
			if !r.step(s) {
				outcome, r.failed = "failure", true
			}
		}
		if s.ID != "" {
			r.context["steps."+s.ID+".outcome"] = outcome
		}
	}
}

func (r *runner) step(s actionStep) bool {
	r.t.Helper()
	script, output := filepath.Join(r.temp, "step.sh"), filepath.Join(r.temp, "output")
	r.write(script, s.Run, 0o644)
	r.write(output, "", 0o644)
	c := exec.Command("bash", "--noprofile", "--norc", "-eo", "pipefail", script)
	c.Dir = r.workspace
	c.Env = []string{
		"PATH=" + filepath.Join(r.temp, "bin") + ":" + os.Getenv("PATH"), "HOME=" + r.temp, "RUNNER_TEMP=" + r.temp, "GH_STATE=" + r.temp,
		"GITHUB_WORKSPACE=" + r.workspace, "GITHUB_OUTPUT=" + output, "GITHUB_STEP_SUMMARY=" + filepath.Join(r.temp, "summary"),
	}
	for name, value := range s.Env {
		c.Env = append(c.Env, name+"="+r.expand(value))
	}
	out, err := c.CombinedOutput()
	r.out += string(out)
	for line := range strings.Lines(r.read("output")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		r.context["steps."+s.ID+".outputs."+name] = value
	}
	return err == nil
}

func (r *runner) wants(failed bool, words ...string) {
	r.t.Helper()
	if r.failed != failed {
		r.t.Errorf("failed: %v, want %v", r.failed, failed)
	}
	for _, w := range words {
		if !strings.Contains(r.out, w) {
			r.t.Errorf("nothing says %q", w)
		}
	}
	if r.t.Failed() {
		r.t.Fatalf("the steps said\n%s\ngh was asked\n%s", r.out, r.read("calls"))
	}
}

func TestTheActionCommentsOnceAndEditsThatComment(t *testing.T) {
	r := newRunner(t)
	r.change("policies/calendar.yaml", "2027-01-01]", "2027-01-01, 2027-05-01]")
	r.run()
	r.wants(false)
	const list = "api --paginate repos/acme/access/issues/7/comments?per_page=100 --jq "
	calls := strings.Split(strings.TrimSpace(r.read("calls")), "\n")
	if len(calls) != 2 || !strings.HasPrefix(calls[0], list) || !strings.HasPrefix(calls[1], "api --silent --method POST repos/acme/access/issues/7/comments -F body=@") {
		t.Fatalf("gh was asked\n%s", strings.Join(calls, "\n"))
	}
	first := r.read("body")
	if !strings.HasPrefix(first, "<!-- tac-whatif -->\n### What this change") || !strings.HasSuffix(r.read("summary"), first) {
		t.Errorf("the comment is\n%s\nthe summary is\n%s", first, r.read("summary"))
	}
	r.run()
	r.wants(false)
	if again := strings.TrimSpace(r.read("calls")); !strings.Contains(again, "api --silent --method PATCH repos/acme/access/issues/comments/77 ") || strings.Count(again, "POST") != 1 {
		t.Errorf("gh was asked\n%s", again)
	}
}

func TestTheActionFailsOnMistakesAndStillSaysWhatItCan(t *testing.T) {
	r := newRunner(t)
	r.change("policies/production-database.yaml", "  resource: postgres-prod", "  resorce: postgres-prod")
	r.run()
	r.wants(true, "::error file=policies/production-database.yaml,line=", `unknown key "resorce"; did you mean resource?`,
		"::warning title=what-if::The what-if could not be done")
	if body := r.read("body"); !strings.HasPrefix(body, "<!-- tac-whatif -->\n") || !strings.Contains(body, "\n    tac: the policies of . do not load") {
		t.Errorf("the comment is\n%s", body)
	}
}

func TestAForkGetsTheSummaryAlone(t *testing.T) {
	r := newRunner(t)
	r.context["github.event.pull_request.head.repo.full_name"] = "mallory/access"
	r.context["inputs.sarif"] = "true"
	r.change("policies/calendar.yaml", "2027-01-01]", "2027-01-01, 2027-05-01]")
	r.run()
	r.wants(false, "::notice title=what-if::A pull request from a fork", "::notice title=sarif::")
	if r.read("calls") != "" || !strings.Contains(r.read("summary"), "What this change of policies would have meant") {
		t.Errorf("gh was asked %q, the summary is %q", r.read("calls"), r.read("summary"))
	}
}

func TestATokenThatMayNotCommentIsNoFailure(t *testing.T) {
	r := newRunner(t)
	r.write(filepath.Join(r.temp, "refuse"), "", 0o644)
	r.change("policies/calendar.yaml", "2027-01-01]", "2027-01-01, 2027-05-01]")
	r.run()
	r.wants(false, "::notice title=what-if::The comments could not be read")
}

func TestMistakesAreUploadedWhereAskedFor(t *testing.T) {
	r := newRunner(t)
	r.context["inputs.sarif"], r.context["inputs.comment"] = "true", "false"
	r.change("policies/production-database.yaml", "  resource: postgres-prod", "  resorce: postgres-prod")
	r.run()
	r.wants(true)
	if calls := r.read("calls"); !strings.HasPrefix(calls, "api --silent --method POST repos/acme/access/code-scanning/sarifs -f commit_sha="+strings.Repeat("ab", 20)+" -f ref=refs/pull/7/merge ") {
		t.Errorf("gh was asked %q", calls)
	}
}

func TestThePullRequestCannotBringItsOwnTac(t *testing.T) {
	r := newRunner(t)
	own := filepath.Join(r.workspace, "tac")
	r.write(own, "#!/bin/sh\necho all is well\n", 0o755)
	r.context["inputs.tac"] = own
	r.run()
	r.wants(true, "::error title=tac::The given tac lies in the workspace")
	if strings.Contains(r.out, "all is well") {
		t.Error("it was run")
	}
}

// A carriage return begins a new line of Markdown, where the indent that makes
// a text code would be missing.
func TestWhyTheWhatIfFailedIsCodeToItsLastLine(t *testing.T) {
	r := newRunner(t)
	broken := filepath.Join(r.temp, "bin", "broken-tac")
	r.write(broken, "#!/bin/sh\n[ \"$2\" != whatif ] || { printf 'tac: one\\r# A title\\r\\n@acme/all\\n' >&2; exit 1; }\n", 0o755)
	r.context["inputs.tac"] = broken
	r.run()
	r.wants(false, "::warning title=what-if::The what-if could not be done")
	if body := r.read("body"); !strings.HasSuffix(body, "\n\n    tac: one# A title\n    @acme/all\n") {
		t.Errorf("the comment is\n%q", body)
	}
}

func TestNamesOfTestsAreNoCommandsToTheRunner(t *testing.T) {
	r := newRunner(t)
	r.write(filepath.Join(r.workspace, "policies", "tests", "evil.yaml"), `kind: PolicyTest
metadata: {name: evil}
spec:
  cases:
    - name: "::error::not from tac"
      given: {at: 2026-11-24T10:00:00Z}
      when: {requester: bob, resource: postgres-prod, duration: 8h, reason: x}
      then: {decision: allow}
`, 0o644)
	r.commit("a test")
	r.run()
	r.wants(true, "::stop-commands::")
	_, rest, _ := strings.Cut(r.out, "::stop-commands::")
	token, rest, _ := strings.Cut(rest, "\n")
	inside, _, ended := strings.Cut(rest, "\n::"+token+"::\n")
	if len(token) != 32 || !ended || !strings.Contains(inside, "not from tac") {
		t.Errorf("the test step said\n%s", r.out)
	}
}

// TestWorkflowsTrustNothingThatAPullRequestBrings reads every workflow that
// people get from us.
func TestWorkflowsTrustNothingThatAPullRequestBrings(t *testing.T) {
	pinned := regexp.MustCompile(`@[0-9a-f]{40}$`)
	files := map[string]string{}
	for _, name := range []string{filepath.Join(actionDir, "action.yml"), filepath.Join("..", "..", ".github", "workflows", "policy.yml")} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		files[filepath.Base(name)] = string(data)
	}
	started, err := starter.Files()
	if err != nil {
		t.Fatal(err)
	}
	files["tac init: policy.yml"] = started[".github/workflows/policy.yml"]
	for _, name := range slices.Sorted(maps.Keys(files)) {
		var tree yaml.Node
		if err := yaml.Unmarshal([]byte(files[name]), &tree); err != nil {
			t.Fatal(err)
		}
		checkWorkflow(t, name, &tree, func(uses string) bool {
			ours := strings.HasPrefix(uses, "tigeraccess/tac/") || strings.HasPrefix(uses, "./.tac-action/")
			return ours || pinned.MatchString(uses)
		})
	}
}

func checkWorkflow(t *testing.T, name string, n *yaml.Node, fixed func(string) bool) {
	for i, c := range n.Content {
		if n.Kind == yaml.MappingNode && i%2 == 0 {
			value, at := n.Content[i+1], fmt.Sprintf("%s:%d", name, c.Line)
			switch {
			case c.Value == "pull_request_target":
				t.Errorf("%s: runs with the rights of the repository", at)
			case c.Value == "run" && strings.Contains(value.Value, "${{"):
				t.Errorf("%s: a script holds an expression; pass it by env", at)
			case c.Value == "uses" && !fixed(value.Value):
				t.Errorf("%s: %s is not pinned to a commit", at, value.Value)
			case c.Value == "uses" && strings.HasPrefix(value.Value, "actions/checkout@") && !keepsNoToken(n):
				t.Errorf("%s: the checkout keeps its token", at)
			case c.Value == "permissions" && value.Kind != yaml.MappingNode:
				t.Errorf("%s: permissions have to be named one by one", at)
			}
		}
		checkWorkflow(t, name, c, fixed)
	}
}

func keepsNoToken(step *yaml.Node) bool {
	var s struct {
		With map[string]string `yaml:"with"`
	}
	return step.Decode(&s) == nil && s.With["persist-credentials"] == "false"
}
