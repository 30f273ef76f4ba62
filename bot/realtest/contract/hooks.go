package contract

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Hooks is GitHub's description of its webhooks, ready to judge by. It is
// OpenAPI 3.1, whose schemas are plain JSON Schema.
type Hooks struct {
	compiler *jsonschema.Compiler
	names    map[string]bool // as in "push" and "pull-request-opened"
	ready    map[string]*jsonschema.Schema
}

const hooksFile = "webhooks.json"

// LoadHooks reads the description out of the npm package
// @octokit/openapi-webhooks below packages, a folder with node_modules.
func LoadHooks(packages string) (*Hooks, error) {
	file, err := os.Open(filepath.Join(packages, "node_modules", "@octokit", "openapi-webhooks", "generated", "api.github.com.json"))
	if err != nil {
		return nil, fmt.Errorf("load the webhook schemas: %w", err)
	}
	defer file.Close()
	doc, err := jsonschema.UnmarshalJSON(file)
	if err != nil {
		return nil, fmt.Errorf("load the webhook schemas: %w", err)
	}
	root, _ := doc.(map[string]any)
	described, _ := root["webhooks"].(map[string]any)
	if len(described) == 0 {
		return nil, errors.New("load the webhook schemas: there are none")
	}
	h := &Hooks{compiler: jsonschema.NewCompiler(), names: map[string]bool{}, ready: map[string]*jsonschema.Schema{}}
	h.compiler.DefaultDraft(jsonschema.Draft2020)
	h.compiler.AssertFormat()
	h.compiler.RegisterFormat(&jsonschema.Format{Name: "email", Validate: email})
	h.compiler.RegisterFormat(&jsonschema.Format{Name: "uri-template", Validate: uriTemplate})
	if err := h.compiler.AddResource(hooksFile, doc); err != nil {
		return nil, fmt.Errorf("load the webhook schemas: %w", err)
	}
	for name := range described {
		h.names[name] = true
	}
	return h, nil
}

// email judges a mail address as GitHub writes them. Those of its bots are no
// addresses by the book: 41898282+github-actions[bot]@users.noreply.github.com.
func email(v any) error {
	text, is := v.(string)
	if !is {
		return nil // another keyword says so
	}
	_, err := mail.ParseAddress("<" + strings.Replace(text, "[bot]@", "@", 1) + ">")
	return err
}

var expression = regexp.MustCompile(`\{[+#./;?&]?[A-Za-z0-9_,]+\}`)

// uriTemplate judges the addresses in which GitHub leaves something to fill
// in. The validator's own judge of them takes no "{/name}".
func uriTemplate(v any) error {
	text, is := v.(string)
	if !is {
		return nil // another keyword says so
	}
	u, err := url.Parse(expression.ReplaceAllString(text, ""))
	if err != nil {
		return err
	}
	if !u.IsAbs() || strings.ContainsAny(u.Path, "{}") {
		return errors.New("is not an absolute address with expressions in braces")
	}
	return nil
}

// schema returns the schema of an event; action is empty for those that have
// none.
func (h *Hooks) schema(event, action string) (*jsonschema.Schema, error) {
	name := strings.ReplaceAll(event, "_", "-")
	if action != "" {
		name += "-" + strings.ReplaceAll(action, "_", "-")
	}
	if s := h.ready[name]; s != nil {
		return s, nil
	}
	if !h.names[name] {
		return nil, fmt.Errorf("GitHub describes no webhook %s", name)
	}
	s, err := h.compiler.Compile(hooksFile + "#/webhooks/" + name + "/post/requestBody/content/application~1json/schema")
	if err != nil {
		return nil, fmt.Errorf("read the schema of the webhook %s: %w", name, err)
	}
	h.ready[name] = s
	return s, nil
}

// Judge holds the payload of an event against its schema and returns the name
// of the webhook, with its action, and what is wrong, a line each.
func (h *Hooks) Judge(event, payload string) (name string, wrong []string) {
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(payload))
	if err != nil {
		return event, []string{"the payload is not JSON: " + err.Error()}
	}
	body, _ := value.(map[string]any)
	action, _ := body["action"].(string)
	name = strings.TrimSpace(event + " " + action)
	schema, err := h.schema(event, action)
	if err != nil {
		return name, []string{err.Error()}
	}
	return name, append(causes(schema.Validate(value)), undescribed(hookShape{schema}, payload)...)
}

// causes lists the innermost reasons of a validation error.
func causes(err error) []string {
	var invalid *jsonschema.ValidationError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &invalid):
		return []string{err.Error()}
	}
	var lines []string
	var walk func(u jsonschema.OutputUnit)
	walk = func(u jsonschema.OutputUnit) {
		for _, inner := range u.Errors {
			walk(inner)
		}
		if len(u.Errors) == 0 && u.Error != nil {
			lines = append(lines, u.InstanceLocation+": "+u.Error.String())
		}
	}
	walk(*invalid.DetailedOutput())
	slices.Sort(lines)
	return slices.Compact(lines)
}

// Example is a real payload of a webhook.
type Example struct {
	Event   string
	Payload []byte
}

// LoadExamples reads the payloads of the npm package @octokit/webhooks-examples.
func LoadExamples(packages string) ([]Example, error) {
	raw, err := os.ReadFile(filepath.Join(packages, "node_modules", "@octokit", "webhooks-examples", "api.github.com", "index.json"))
	if err != nil {
		return nil, fmt.Errorf("load the example payloads: %w", err)
	}
	var events []struct {
		Name     string
		Examples []json.RawMessage
	}
	if err := json.Unmarshal(raw, &events); err != nil {
		return nil, fmt.Errorf("load the example payloads: %w", err)
	}
	var all []Example
	for _, e := range events {
		for _, payload := range e.Examples {
			all = append(all, Example{Event: e.Name, Payload: payload})
		}
	}
	if len(all) == 0 {
		return nil, errors.New("load the example payloads: there are none")
	}
	return all, nil
}
