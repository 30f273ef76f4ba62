package vaultlease

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Sign attests a message with the transit key: vault:v1:...
func (c *Client) Sign(ctx context.Context, message []byte) (string, error) {
	a, err := c.call(ctx, request{
		path: c.cfg.Transit + "/sign/" + c.cfg.TransitKey,
		body: map[string]any{"input": base64.StdEncoding.EncodeToString(message)},
	})
	if err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	var signed struct {
		Signature string `json:"signature"`
	}
	if err := a.into(&signed); err != nil {
		return "", fmt.Errorf("sign: %w", err)
	}
	if !strings.HasPrefix(signed.Signature, "vault:v") {
		return "", errors.New("sign: the answer has no signature")
	}
	return signed.Signature, nil
}

// Verify reports whether an attestation of the message is ours. No means that
// Vault said no; whatever else goes wrong is an error.
func (c *Client) Verify(ctx context.Context, message []byte, attestation string) (bool, error) {
	a, err := c.call(ctx, request{
		path: c.cfg.Transit + "/verify/" + c.cfg.TransitKey,
		body: map[string]any{"input": base64.StdEncoding.EncodeToString(message), "signature": attestation},
	})
	if malformed(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("verify: %w", err)
	}
	var verdict struct {
		Valid *bool `json:"valid"`
	}
	if err := a.into(&verdict); err != nil {
		return false, fmt.Errorf("verify: %w", err)
	}
	if verdict.Valid == nil {
		return false, errors.New("verify: the answer has no verdict")
	}
	return *verdict.Valid, nil
}

// malformed recognises Vault's refusals of a text that cannot be a signature.
func malformed(err error) bool {
	var se *statusError
	if !errors.As(err, &se) || se.status != http.StatusBadRequest || len(se.texts) != 1 {
		return false
	}
	return slices.ContainsFunc([]string{
		"invalid signature", "invalid base64 signature",
		"ciphertext or signature version is disallowed by policy", // v0, or older than the key admits
	}, func(refusal string) bool { return strings.HasPrefix(se.texts[0], refusal) })
}
