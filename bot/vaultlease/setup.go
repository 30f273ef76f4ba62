package vaultlease

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/tigeraccess/tac/grants"
	"github.com/tigeraccess/tac/grants/world"
)

// Plan says what set-up makes. Names left empty are those of Config's defaults.
type Plan struct {
	Mount      string
	Transit    string
	TransitKey string
	TokenRole  string
	AppRole    string // path of the AppRole method
	Role       string // the bot's role there; default TokenRole

	// Names of the policies of the bot and of the janitor, which must not
	// begin with TargetPrefix. Defaults: bot-ROLE and janitor-ROLE after the
	// token role, so that several bots in one Vault leave each other theirs.
	BotPolicyName, JanitorPolicyName string

	LongestToken time.Duration // of any grant with all its extensions; default 7 days
	BoundCIDRs   []string      // where the bot calls from; empty: anywhere
	Targets      []grants.Target

	// Engines asks for the engines and roles of the targets too, wherever
	// there is nothing yet. What is there is left as it is: who runs an
	// engine knows why, and Examine says what tac cannot work with.
	Engines bool
}

// Identity is what the bot logs in with.
type Identity struct {
	RoleID   string
	SecretID world.Secret
}

// Deed is what a Step does.
type Deed int

// The deeds. The first two change nothing: they stop before anything is done
// to what is not this plan's.
const (
	OwnRecords    Deed = iota + 1 // there is no engine at Path, or it holds records of tac's alone
	OwnPolicy                     // there is no policy Path, or it is for the records at Records
	EnableSecrets                 // an engine of the type Engine at Path
	EnableAuth                    // an auth method
	WritePolicy                   // Policy under the name Path
	Write                         // Fields to Path
	Advise                        // nothing: Why says what only the operator can do
)

// Step is one thing that set-up sees to. Steps are values: one function prints
// them and another does them, so that what is read and what is done agree.
type Step struct {
	Why    string // a sentence or two for whoever reads along
	Deed   Deed
	Path   string
	Engine string
	Policy string
	// Records is the mount of the bot whose policy it has to be.
	Records string
	Fields  []Field // of Write, or the options of an engine
	// Once leaves alone what is at Path already: it may not be tac's.
	Once bool
	// Settling says that the engine may need a moment after it was enabled.
	Settling bool
}

// Field is one value that a Step writes. Several values are a list.
type Field struct {
	Name   string
	Values []Text
	Secret bool              // never part of a command line
	Map    map[string]string // in place of values, where Vault wants an object
}

// Text is a text with variables in it, which the operator sets in the
// environment: what only they know, and what stands in no script.
type Text []Part

// Part is either words or the name of a variable.
type Part struct{ Words, Variable string }

// Variable is something that the operator has to say.
type Variable struct {
	Name string
	Why  string // what it is, in words without quotes and braces
}

func words(s string) Text { return Text{{Words: s}} }

func field(name string, values ...string) Field {
	f := Field{Name: name}
	for _, v := range values {
		f.Values = append(f.Values, words(v))
	}
	return f
}

// Variables returns the names of the variables that the step needs, sorted.
func (s Step) Variables() []string {
	var names []string
	for _, f := range s.Fields {
		for _, v := range f.Values {
			for _, part := range v {
				if part.Variable != "" {
					names = append(names, part.Variable)
				}
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (p *Plan) setDefaults() {
	for _, d := range []struct {
		field *string
		value string
	}{
		{&p.Mount, DefaultMount}, {&p.Transit, DefaultTransit}, {&p.TransitKey, DefaultTransitKey}, {&p.TokenRole, DefaultTokenRole},
		{&p.AppRole, DefaultAppRole},
	} {
		*d.field = cmp.Or(*d.field, d.value)
	}
	p.Role = cmp.Or(p.Role, p.TokenRole)
	// Vault keeps the names of policies in small letters, and only those.
	p.BotPolicyName = cmp.Or(p.BotPolicyName, "bot-"+strings.ToLower(p.TokenRole))
	p.JanitorPolicyName = cmp.Or(p.JanitorPolicyName, "janitor-"+strings.ToLower(p.TokenRole))
	if p.LongestToken == 0 {
		p.LongestToken = grants.LongestDuration
	}
}

// policyForm keeps a policy's name one word of a command line.
var policyForm = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

func (p *Plan) validate() error {
	for _, path := range []string{p.Mount, p.Transit, p.TransitKey, p.TokenRole, p.AppRole, p.Role} {
		if !pathForm.MatchString(path) {
			return fmt.Errorf("%.60q cannot be part of a path", path)
		}
	}
	if strings.Contains(p.TokenRole, "/") {
		return fmt.Errorf("the token role %.60q has a slash in it, which no role may have", p.TokenRole)
	}
	for _, name := range []string{p.BotPolicyName, p.JanitorPolicyName} {
		if strings.HasPrefix(name, TargetPrefix) || !policyForm.MatchString(name) {
			return fmt.Errorf("the policy %.60q is tac's own and must not begin with %s", name, TargetPrefix)
		}
	}
	for _, t := range p.Targets {
		if !strings.HasPrefix(t.Policy, TargetPrefix) || !policyForm.MatchString(t.Policy) {
			return fmt.Errorf("the policy %.60q of %s must begin with %s", t.Policy, t.Path, TargetPrefix)
		}
		if !pathForm.MatchString(t.Path) {
			return fmt.Errorf("%.80q is not a path of an engine", t.Path)
		}
		if _, _, ok := roleOf(t); !ok && p.Engines && t.Engine != grants.EngineGeneric {
			return fmt.Errorf("%s is not the path of a %s role, such as %s", t.Path, t.Engine, examplePath(t.Engine))
		}
		if p.Engines && (t.Engine == grants.EngineSSH || t.Engine == grants.EnginePKI) && len(t.Principals) == 0 {
			return fmt.Errorf("%s needs principals: a certificate that names nobody may be good for everybody", t.Path)
		}
	}
	return nil
}

// verbs is what stands between mount and role in an engine's paths.
var verbs = map[string]string{grants.EngineDatabase: "/creds/", grants.EngineSSH: "/sign/", grants.EnginePKI: "/sign/"}

// roleOf splits a target's path into the engine's mount and the role's name;
// false for generic engines, which have neither as far as tac knows.
func roleOf(t grants.Target) (mount, role string, ok bool) {
	verb := verbs[t.Engine]
	if verb == "" {
		return "", "", false
	}
	mount, role, ok = strings.Cut(t.Path, verb)
	return mount, role, ok && mount != "" && role != "" && !strings.Contains(role, "/")
}

func examplePath(engine string) string { return engine + verbs[engine] + "NAME" }

// Setup makes in Vault what tac needs, with an administrator's client, and
// returns a new identity of the bot. It may be run again at any time; what is
// tac's own is brought up to date, and nothing else is touched. It is an error,
// and nothing is done, where the bot's policy is another bot's or the engine
// for the records is somebody else's.
func Setup(ctx context.Context, admin *api.Client, p Plan) (Identity, error) {
	p.setDefaults()
	steps, err := p.Steps()
	if err != nil {
		return Identity{}, err
	}
	if _, err := Apply(ctx, admin, steps, func(string) string { return "" }); err != nil {
		return Identity{}, err
	}
	return NewIdentity(ctx, admin, p)
}

// Done says what became of one step.
type Done struct {
	Step Step
	// Left is what is left for the operator to do; empty: nothing.
	Left string
	// There says that something was there already and was left as it is.
	There bool
}

// Apply does the steps with an administrator's client, and stops at the first
// that fails. A step whose variables are empty is left out, and said to be.
func Apply(ctx context.Context, admin *api.Client, steps []Step, variable func(name string) string) ([]Done, error) {
	a := &applying{admin: admin, variable: variable}
	var all []Done
	for _, s := range steps {
		done, err := a.step(ctx, s)
		if err != nil {
			return all, fmt.Errorf("set up vault: %w", err)
		}
		all = append(all, done)
	}
	return all, nil
}

// RoleID returns the half of the bot's identity that is no secret.
func RoleID(ctx context.Context, admin *api.Client, p Plan) (string, error) {
	p.setDefaults()
	path := p.rolePath() + "/role-id"
	role, err := (&applying{admin: admin}).read(ctx, path)
	if err != nil {
		return "", err
	}
	id, _ := role.Data["role_id"].(string)
	if id == "" {
		return "", fmt.Errorf("read %s: the answer has none", path)
	}
	return id, nil
}

// NewIdentity returns the bot's role id and a new secret id.
func NewIdentity(ctx context.Context, admin *api.Client, p Plan) (Identity, error) {
	p.setDefaults()
	roleID, err := RoleID(ctx, admin, p)
	if err != nil {
		return Identity{}, err
	}
	path := p.rolePath() + "/secret-id"
	secret, err := admin.Logical().WriteWithContext(ctx, path, nil)
	if err != nil {
		return Identity{}, fmt.Errorf("write %s: %w", path, err)
	}
	secretID := ""
	if secret != nil {
		secretID, _ = secret.Data["secret_id"].(string)
	}
	if secretID == "" {
		return Identity{}, fmt.Errorf("write %s: the answer has none", path)
	}
	return Identity{RoleID: roleID, SecretID: world.NewSecret(secretID)}, nil
}

func (p Plan) rolePath() string { return "auth/" + p.AppRole + "/role/" + p.Role }
