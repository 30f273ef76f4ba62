package grants

import "reflect"

// FileType is the type that a grant file is decoded into. It is for whoever
// describes the format to other programs: the keys and which of them are
// required are told by the type's own tags, so that no description can differ
// from what is read.
func FileType() reflect.Type { return reflect.TypeFor[file]() }

// Forms is the regular expressions that texts in documents have to match.
type Forms struct{ Name, Login, ID, Blob, Attestation string }

// TextForms returns the forms that this package checks, for descriptions.
func TextForms() Forms {
	return Forms{
		Name: nameForm.String(), Login: loginForm.String(), ID: idForm.String(),
		Blob: blobForm.String(), Attestation: attestationForm.String(),
	}
}
