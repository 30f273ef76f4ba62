package vaultlease

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"
)

// This file is how Apply does the steps.

type applying struct {
	admin    *api.Client
	variable func(string) string
}

func (a *applying) step(ctx context.Context, s Step) (Done, error) {
	done := Done{Step: s}
	var err error
	switch s.Deed {
	case OwnRecords:
		err = a.ownRecords(ctx, s.Path)
	case OwnPolicy:
		err = a.ownPolicy(ctx, s)
	case Advise:
		done.Left = s.Why
	case EnableSecrets:
		done.There, err = a.enable(ctx, s, "sys/mounts")
	case EnableAuth:
		done.There, err = a.enable(ctx, s, "sys/auth")
	case WritePolicy:
		_, err = a.write(ctx, "sys/policies/acl/"+s.Path, values{"policy": s.Policy})
	case Write:
		return a.fields(ctx, done)
	default:
		err = fmt.Errorf("step %d on %s is unknown", s.Deed, s.Path)
	}
	return done, err
}

type values = map[string]any

// read returns what is at a path; that nothing is there is an error.
func (a *applying) read(ctx context.Context, path string) (*api.Secret, error) {
	secret, err := a.admin.Logical().ReadWithContext(ctx, path)
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case secret == nil:
		return nil, fmt.Errorf("read %s: nothing is there", path)
	}
	return secret, nil
}

func (a *applying) write(ctx context.Context, path string, data values) (*api.Secret, error) {
	secret, err := a.admin.Logical().WriteWithContext(ctx, path, data)
	if err != nil {
		return nil, fmt.Errorf("write %s: %w", path, err)
	}
	return secret, nil
}

// The words in which what is not ours is refused, by Apply and by the script.
const (
	foreignPolicy  = "the policy %s is of another bot, whose records are not at %s/: choose another token role"
	foreignWrites  = "%[1]s/ takes writes without compare-and-swap: choose another path, or if it is tac's alone: vault write %[1]s/config cas_required=true"
	foreignRecords = "%s/ holds %s, which is not tac's: choose another path"
)

func (a *applying) ownPolicy(ctx context.Context, s Step) error {
	path := "sys/policies/acl/" + s.Path
	found, err := a.admin.Logical().ReadWithContext(ctx, path)
	if err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	if found == nil {
		return nil
	}
	if text, _ := found.Data["policy"].(string); !strings.Contains(text, fmt.Sprintf("path %q", recordsPath(s.Records))) {
		return fmt.Errorf(foreignPolicy, s.Path, s.Records)
	}
	return nil
}

// ownKeys are what the bot keeps at its mount, as a listing shows it.
var ownKeys = []string{probeDocument, grantsDir, highWater, intentsDir}

func (a *applying) ownRecords(ctx context.Context, mount string) error {
	mounts, err := a.read(ctx, "sys/mounts")
	if err != nil {
		return err
	}
	found, ok := mounts.Data[mount+"/"].(map[string]any)
	if !ok {
		return nil
	}
	if err := isOf(Step{Path: mount, Engine: "kv"}, found, values{"version": "2"}); err != nil {
		return err
	}
	config, err := a.read(ctx, mount+"/config")
	if err != nil {
		return err
	}
	if config.Data["cas_required"] != true {
		return fmt.Errorf(foreignWrites, mount)
	}
	list, err := a.admin.Logical().ListWithContext(ctx, mount+"/metadata")
	if err != nil {
		return fmt.Errorf("list %s/metadata: %w", mount, err)
	}
	if list == nil {
		return nil
	}
	keys, _ := list.Data["keys"].([]any)
	for _, key := range keys {
		if name, _ := key.(string); !slices.Contains(ownKeys, name) {
			return fmt.Errorf(foreignRecords, mount, name)
		}
	}
	return nil
}

// enable enables an engine unless one of its type is there.
func (a *applying) enable(ctx context.Context, s Step, table string) (there bool, err error) {
	secret, err := a.read(ctx, table)
	if err != nil {
		return false, err
	}
	options := values{}
	for _, f := range s.Fields {
		options[f.Name] = f.Values[0][0].Words
	}
	if found, ok := secret.Data[s.Path+"/"].(map[string]any); ok {
		return true, isOf(s, found, options)
	}
	body := values{"type": s.Engine}
	if len(options) > 0 {
		body["options"] = options
	}
	_, err = a.write(ctx, table+"/"+s.Path, body)
	return false, err
}

func isOf(s Step, found map[string]any, options values) error {
	if found["type"] != s.Engine {
		return fmt.Errorf("%s/ is of type %v and not %s; choose another path", s.Path, found["type"], s.Engine)
	}
	has, _ := found["options"].(map[string]any)
	for name, want := range options {
		if has[name] != want {
			return fmt.Errorf("%s/ has the %s %v and not %v; choose another path", s.Path, name, has[name], want)
		}
	}
	return nil
}

// fields writes a step's values, unless something that may not be tac's is
// there, or the operator has not said what to write.
func (a *applying) fields(ctx context.Context, done Done) (Done, error) {
	s := done.Step
	if s.Once {
		absent, err := a.absent(ctx, s.Path)
		if err != nil || !absent {
			done.There = err == nil
			return done, err
		}
	}
	var unset []string
	for _, name := range s.Variables() {
		if a.variable(name) == "" {
			unset = append(unset, name)
		}
	}
	if len(unset) > 0 {
		done.Left = "set " + strings.Join(unset, ", ") + " and run this again, or write " + s.Path + " yourself"
		return done, nil
	}
	body := values{}
	for _, f := range s.Fields {
		body[f.Name] = f.value(a.variable)
	}
	return done, a.writeOnceReady(ctx, s, body)
}

// value is what goes over the wire: the very texts that the vault command
// sends for the printed line.
func (f Field) value(variable func(string) string) any {
	if f.Map != nil {
		return f.Map
	}
	list := make([]string, 0, len(f.Values))
	for _, v := range f.Values {
		list = append(list, v.with(variable))
	}
	if len(list) == 1 {
		return list[0]
	}
	return list
}

func (t Text) with(variable func(string) string) string {
	var b strings.Builder
	for _, part := range t {
		b.WriteString(part.Words)
		if part.Variable != "" {
			b.WriteString(variable(part.Variable))
		}
	}
	return b.String()
}

const (
	upgradeTries = 20
	upgradePause = 250 * time.Millisecond
	// upgrading is how a new KV v2 mount says that it is not ready yet.
	upgrading = "Upgrading from non-versioned"
)

func (a *applying) writeOnceReady(ctx context.Context, s Step, body values) error {
	for range upgradeTries {
		_, err := a.write(ctx, s.Path, body)
		if err == nil || !s.Settling || !strings.Contains(err.Error(), upgrading) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(upgradePause):
		}
	}
	_, err := a.write(ctx, s.Path, body)
	return err
}

// nothingThere is how engines say that there is nothing at a path, where they
// do not simply say 404.
const nothingThere = "keys haven't been configured"

// absent reports whether there is nothing at a path. What cannot be read is no
// absence: writing over it could widen what somebody else made narrow.
func (a *applying) absent(ctx context.Context, path string) (bool, error) {
	secret, err := a.admin.Logical().ReadWithContext(ctx, path)
	var refused *api.ResponseError
	if errors.As(err, &refused) && refused.StatusCode == http.StatusBadRequest && strings.Contains(err.Error(), nothingThere) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("read %s: %w", path, err)
	}
	return secret == nil, nil
}
