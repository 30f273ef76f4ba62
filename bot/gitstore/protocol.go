package gitstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

// ref returns what a ref points to; false where it does not exist.
func (w *wire) ref(ctx context.Context, name plumbing.ReferenceName) (hash plumbing.Hash, ok bool, err error) {
	err = w.run(ctx, func(x *exchange, auth string) error {
		version2, refs, err := x.meet(ctx, auth)
		if err == nil && version2 {
			refs, err = x.list(ctx, auth, name)
		}
		hash, ok = refs[name.String()]
		return err
	})
	if err != nil {
		return plumbing.ZeroHash, false, fmt.Errorf("read %s: %w", name, err)
	}
	return hash, ok, nil
}

// meet asks the server what it can do. A version 2 server is asked once; an
// older one answers with all its refs, which is why it is asked each time.
func (x *exchange) meet(ctx context.Context, auth string) (version2 bool, refs map[string]plumbing.Hash, err error) {
	x.w.mu.Lock()
	known := x.w.version2
	x.w.mu.Unlock()
	if known {
		return true, nil, nil
	}
	body, err := x.send(ctx, auth, request{
		path: "/info/refs", query: "?service=" + uploadPack, service: uploadPack, version2: true,
	}, mostRefsBytes)
	if err != nil {
		return false, nil, err
	}
	version2, bands, refs, err := parseMeeting(body)
	if err != nil {
		return false, nil, fmt.Errorf("read the list of refs: %w", err)
	}
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	x.w.met, x.w.version2, x.w.sideband = true, version2, bands
	return version2, refs, nil
}

// parseMeeting reads the answer to info/refs, of either version.
func parseMeeting(body []byte) (version2, bands bool, refs map[string]plumbing.Hash, err error) {
	lines := pktline.NewScanner(bytes.NewReader(body))
	for range 3 { // a service line and a flush may come first
		if !lines.Scan() {
			break
		}
		if string(bytes.TrimSuffix(lines.Bytes(), []byte("\n"))) == "version 2" {
			// All servers that know version 2 have side bands.
			return true, true, nil, nil
		}
	}
	advertised := packp.NewAdvRefs()
	if err := advertised.Decode(bytes.NewReader(body)); err != nil {
		if errors.Is(err, packp.ErrEmptyAdvRefs) {
			return false, false, nil, nil
		}
		return false, false, nil, err
	}
	return false, advertised.Capabilities.Supports(capability.Sideband64k), advertised.References, nil
}

// list asks a version 2 server for one ref.
func (x *exchange) list(ctx context.Context, auth string, name plumbing.ReferenceName) (map[string]plumbing.Hash, error) {
	var body bytes.Buffer
	lines := pktline.NewEncoder(&body)
	if err := lines.EncodeString("command=ls-refs\n"); err != nil {
		return nil, err
	}
	body.WriteString("0001") // the delimiter packet, which the encoder does not know
	if err := lines.EncodeString("ref-prefix "+name.String()+"\n", pktline.FlushString); err != nil {
		return nil, err
	}
	answer, err := x.send(ctx, auth, request{
		path: "/" + uploadPack, service: uploadPack, body: body.Bytes(), version2: true,
	}, mostRefsBytes)
	if err != nil {
		return nil, err
	}
	refs, err := parseList(answer)
	if err != nil {
		// Perhaps another server has taken over: ask it next time.
		x.w.mu.Lock()
		x.w.met, x.w.version2 = false, false
		x.w.mu.Unlock()
		return nil, fmt.Errorf("read the list of refs: %w", err)
	}
	return refs, nil
}

func parseList(answer []byte) (map[string]plumbing.Hash, error) {
	refs := map[string]plumbing.Hash{}
	scan := pktline.NewScanner(bytes.NewReader(answer))
	for scan.Scan() {
		line := strings.TrimSuffix(string(scan.Bytes()), "\n")
		if line == "" {
			return refs, nil
		}
		hash, name, _ := strings.Cut(line, " ")
		name, _, _ = strings.Cut(name, " ") // attributes may follow
		h, err := parseHash(hash)
		if err != nil {
			return nil, err
		}
		refs[name] = h
	}
	if err := scan.Err(); err != nil {
		return nil, err
	}
	// Without its end the list may lack the very ref that we ask about.
	return nil, errors.New("it is cut off")
}

// fetch returns the pack of what want reaches and have does not; a zero have
// means that we have nothing.
func (w *wire) fetch(ctx context.Context, want, have plumbing.Hash, most int64) (pack []byte, err error) {
	err = w.run(ctx, func(x *exchange, auth string) error {
		bands, err := x.bands(ctx, auth)
		if err != nil {
			return err
		}
		q := packp.NewUploadPackRequest()
		q.Wants = append(q.Wants, want)
		if have != plumbing.ZeroHash {
			q.Haves = append(q.Haves, have)
		}
		if err := setCapabilities(q.Capabilities, bands, capability.OFSDelta, capability.NoProgress); err != nil {
			return err
		}
		var body bytes.Buffer
		if err := errors.Join(q.UploadRequest.Encode(&body), q.UploadHaves.Encode(&body, false),
			pktline.NewEncoder(&body).EncodeString("done\n")); err != nil {
			return err
		}
		// A pack is not larger than what is in it, and a small surcharge
		// for what surrounds it.
		answer, err := x.send(ctx, auth, request{path: "/" + uploadPack, service: uploadPack, body: body.Bytes()}, most+most/8+1<<16)
		if err != nil {
			return err
		}
		pack, err = x.packIn(answer, q, bands)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("fetch %s: %w", want, err)
	}
	return pack, nil
}

func (x *exchange) packIn(answer []byte, q *packp.UploadPackRequest, bands bool) ([]byte, error) {
	res := packp.NewUploadPackResponse(q)
	if err := res.Decode(io.NopCloser(bytes.NewReader(answer))); err != nil {
		var said *pktline.ErrorLine
		if errors.As(err, &said) && strings.Contains(said.Text, "not our ref") {
			return nil, fmt.Errorf("%w: %s", errNotOurRef, x.quote(said.Text))
		}
		return nil, fmt.Errorf("read the answer: %w", err)
	}
	var in io.Reader = res
	if bands {
		in = sideband.NewDemuxer(sideband.Sideband64k, res)
	}
	pack, err := io.ReadAll(in)
	if err != nil {
		return nil, fmt.Errorf("read the pack: %w", err)
	}
	return pack, nil
}

// bands reports whether the server can send side bands.
func (x *exchange) bands(ctx context.Context, auth string) (bool, error) {
	x.w.mu.Lock()
	met, bands := x.w.met, x.w.sideband
	x.w.mu.Unlock()
	if met {
		return bands, nil
	}
	if _, _, err := x.meet(ctx, auth); err != nil {
		return false, err
	}
	x.w.mu.Lock()
	defer x.w.mu.Unlock()
	return x.w.sideband, nil
}

func setCapabilities(list *capability.List, bands bool, plain ...capability.Capability) error {
	err := list.Set(capability.Agent, agent)
	if bands {
		plain = append(plain, capability.Sideband64k)
	}
	for _, c := range plain {
		err = errors.Join(err, list.Set(c))
	}
	return err
}

// push sends a pack and asks for one ref to be moved from old to new; zero
// means that it must not exist yet. The server compares and swaps. An error
// that isRefusal means that nothing was done; after any other it may have
// been.
func (w *wire) push(ctx context.Context, ref plumbing.ReferenceName, old, new plumbing.Hash, pack []byte) error {
	err := w.run(ctx, func(x *exchange, auth string) error {
		bands, err := x.bands(ctx, auth)
		if err != nil {
			// Nothing was sent yet.
			return fmt.Errorf("%w: %w", &refusal{"the server cannot be asked"}, err)
		}
		q := packp.NewReferenceUpdateRequest()
		q.Commands = []*packp.Command{{Name: ref, Old: old, New: new}}
		q.Packfile = io.NopCloser(bytes.NewReader(pack))
		if err := setCapabilities(q.Capabilities, bands, capability.ReportStatus); err != nil {
			return err
		}
		var body bytes.Buffer
		if err := q.Encode(&body); err != nil {
			return err
		}
		answer, err := x.send(ctx, auth, request{path: "/" + receivePack, service: receivePack, body: body.Bytes()}, mostReportBytes)
		if err != nil {
			return err
		}
		return x.readReport(answer, ref, bands)
	})
	if err != nil {
		return fmt.Errorf("push %s: %w", ref, err)
	}
	return nil
}

func (x *exchange) readReport(answer []byte, ref plumbing.ReferenceName, bands bool) error {
	var in io.Reader = bytes.NewReader(answer)
	var said bytes.Buffer
	if bands {
		demuxer := sideband.NewDemuxer(sideband.Sideband64k, in)
		demuxer.Progress = &said
		in = demuxer
	}
	report := packp.NewReportStatus()
	if err := report.Decode(in); err != nil {
		return fmt.Errorf("read the report: %w", err)
	}
	if report.UnpackStatus != "ok" {
		return &refusal{"the server could not unpack: " + x.quote(report.UnpackStatus)}
	}
	for _, status := range report.CommandStatuses {
		if status.ReferenceName != ref {
			continue
		}
		if status.Status == "ok" {
			return nil
		}
		return &refusal{fmt.Sprintf("refused: %s %s", x.quote(status.Status), x.quote(said.String()))}
	}
	return errors.New("the report does not mention the ref")
}
