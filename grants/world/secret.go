package world

// Secret is a text that must not be seen: every way of printing it shows
// [redacted]. Reveal is the one way to the text, so each use can be found.
//
// The text is held by pointer because fmt prints unexported fields of a
// struct inside another without asking them: it then shows an address.
type Secret struct{ text *string }

// NewSecret wraps text; the empty text makes an empty Secret.
func NewSecret(text string) Secret {
	if text == "" {
		return Secret{}
	}
	return Secret{text: &text}
}

// Reveal returns the text. Call it only where the secret leaves for the one
// place it is meant for.
func (s Secret) Reveal() string {
	if s.text == nil {
		return ""
	}
	return *s.text
}

// Empty reports whether there is no secret.
func (s Secret) Empty() bool { return s.text == nil }

const redacted = "[redacted]"

func (s Secret) String() string   { return redacted }
func (s Secret) GoString() string { return redacted }

// MarshalText keeps the text out of JSON, logs and everything else that
// encodes.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
