package client

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"path/filepath"
)

// What is kept of a grant that is opened by an X.509 certificate. The names
// stay while the grant lives: a program that reads them again as it connects
// has a certificate that is valid.
const (
	tlsKeyFile  = "key.pem"  // PKCS #8, made here; it never leaves this machine
	tlsCertFile = "cert.pem" // the certificate and the authorities between it and the root
	tlsCAFile   = "ca.pem"   // the authorities that vouch for the other side
)

// TLSFiles are the paths of the private key, of its certificate with what
// stands between it and the root, and of the authorities.
func (h Held) TLSFiles() (key, cert, authorities string) {
	return filepath.Join(h.dir, tlsKeyFile), filepath.Join(h.dir, tlsCertFile), filepath.Join(h.dir, tlsCAFile)
}

// csr returns a request for a certificate of this grant's own key. It names
// nothing: the names are the policy's to say.
func (h Held) csr() (string, error) {
	key, err := h.tlsKey()
	if err != nil {
		return "", err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return "", fmt.Errorf("make a certificate request: %w", err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), nil
}

// tlsKey returns this grant's own key, and makes it at the first time.
func (h Held) tlsKey() (crypto.Signer, error) {
	path, _, _ := h.TLSFiles()
	data, err := readPrivate(path)
	if err != nil && !errors.Is(err, errNotThere) {
		return nil, err
	}
	if block, _ := pem.Decode(data); block != nil {
		if key, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := key.(crypto.Signer); ok {
				return signer, nil
			}
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, writePrivate(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// keepCertificate writes the certificate and its authorities. One that is not
// for our key is refused: no program could use it.
func (h Held) keepCertificate(c Credential) error {
	keyFile, certFile, caFile := h.TLSFiles()
	authorities, err := certificatesIn(c.Fields["ca_chain"].Reveal())
	if err == nil && len(authorities) == 0 {
		authorities, err = certificatesIn(c.Fields["issuing_ca"].Reveal())
	}
	if err != nil || len(authorities) == 0 {
		return errors.New("the server's answer has no authority for its certificate; try again")
	}
	shown := []byte(c.SignedKey + "\n")
	for _, a := range authorities {
		// The root is not shown: whoever trusts it has it already.
		if !bytes.Equal(a.RawIssuer, a.RawSubject) {
			shown = append(shown, pemOf(a)...)
		}
	}
	key, err := readPrivate(keyFile)
	if err != nil {
		return err
	}
	if _, err := tls.X509KeyPair(shown, key); err != nil {
		return fmt.Errorf("the server's certificate cannot be used with the key in %s: %w", keyFile, err)
	}
	var trusted []byte
	for _, a := range authorities {
		trusted = append(trusted, pemOf(a)...)
	}
	if err := writePrivate(caFile, trusted); err != nil {
		return err
	}
	return writePrivate(certFile, shown)
}

// fits reports whether the files of a certificate are there and belong
// together: somebody may have deleted one.
func (h Held) fits() bool {
	keyFile, certFile, caFile := h.TLSFiles()
	key, keyErr := readPrivate(keyFile)
	cert, certErr := readPrivate(certFile)
	_, caErr := readPrivate(caFile)
	if errors.Join(keyErr, certErr, caErr) != nil {
		return false
	}
	_, err := tls.X509KeyPair(cert, key)
	return err == nil
}

func pemOf(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

func certificatesIn(text string) ([]*x509.Certificate, error) {
	var out []*x509.Certificate
	for rest := []byte(text); ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return out, nil
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read an authority: %w", err)
		}
		out = append(out, cert)
	}
}
