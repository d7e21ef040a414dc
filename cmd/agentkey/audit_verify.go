package main

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"os"
	"time"

	"agentkey/audit/formats"
	"agentkey/audit/verify"
)

type auditVerifyCommand struct {
	Bundle  string   `arg:"" optional:"" type:"existingfile" help:"A file of agentkey audit export or evidence. Without it, --live downloads one."`
	Keys    string   `placeholder:"FILE" type:"existingfile" help:"The answer of /.well-known/agentkey-keys.json, kept from another time or got another way. Without it the keys in the bundle are used."`
	Witness []string `placeholder:"WITNESS" help:"A witness, as agentkey audit witness prints it, that must have signed the last checkpoint. Can be repeated."`
	Live    string   `placeholder:"URL" help:"Also check that the history of this running service begins with the bundle's."`

	TokenFile string `placeholder:"FILE" type:"existingfile" help:"For --live: a file with a service token. Without it, the token in AGENTKEY_ADMIN_TOKEN is used."`
}

// errFindings ends the command when a bundle doesn't hold. Its lines were printed.
var errFindings = errors.New("the audit doesn't hold: keep this file, and ask the operator of the service about it, " +
	"for whom docs/runbook.md says what to do")

// Run checks a bundle and prints what it proves.
func (v *auditVerifyCommand) Run(sh *shell) (err error) {
	options := verify.Options{OnFinding: func(f verify.Finding) { _, _ = fmt.Fprintln(sh.stdout, f) }}
	if err := v.trusted(&options); err != nil {
		return err
	}
	service := remote{URL: v.Live, TokenFile: v.TokenFile}
	file := v.Bundle
	if file == "" {
		if v.Live == "" {
			return usageError{errors.New("name a bundle, or a running service with --live")}
		}
		folder, err := os.MkdirTemp("", "agentkey-audit-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(folder) //nolint:errcheck // it is a temporary folder
		file = folder + "/audit.zip"
		if _, err := service.download(sh, auditExportPath, url.Values{"format": {"bundle"}}, file); err != nil {
			return err
		}
	}
	show := progressOn(sh.stderr)
	if show != nil {
		seen := &counting{show: show, unit: "entries"}
		options.OnProgress = func(n, of int64) {
			seen.n, seen.of = n, of
			seen.tell(n == of)
		}
	}
	report, err := verifyFile(file, options)
	if errors.Is(err, errReceipt) {
		return v.receipt(sh, file, options.Keys)
	}
	if show != nil {
		show("\n")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if v.Live != "" && report.Findings == 0 {
		if err := v.compare(sh, service, &report, options); err != nil {
			return err
		}
	}
	return v.tell(sh, report)
}

// trusted are the keys and the witnesses that the caller names.
func (v *auditVerifyCommand) trusted(o *verify.Options) (err error) {
	if v.Keys != "" {
		if o.Keys, err = readKeys(v.Keys); err != nil {
			return err
		}
	}
	for _, text := range v.Witness {
		w, err := formats.ParseWitness(text)
		if err != nil {
			return usageError{fmt.Errorf("--witness %s: %w", text, err)}
		}
		o.Witnesses = append(o.Witnesses, w)
	}
	return nil
}

// errReceipt says that a file holds a receipt and not a bundle.
var errReceipt = errors.New("it is a receipt")

// receipt checks the answer of GET /api/me/receipts/{event_id}.
func (v *auditVerifyCommand) receipt(sh *shell, file string, keys []formats.Key) error {
	if len(v.Witness) > 0 || v.Live != "" {
		return usageError{errors.New("a receipt is checked with --keys alone; name a bundle for --witness and --live")}
	}
	if len(keys) == 0 {
		return usageError{errors.New("a receipt has no keys in it: name those of the service with --keys")}
	}
	text, err := os.ReadFile(file) //nolint:gosec // the caller names it
	if err != nil {
		return err
	}
	r, err := verify.Receipt(text, keys)
	if errors.Is(err, verify.ErrNoReceipt) {
		return usageError{fmt.Errorf("%s is neither a bundle nor a receipt; the other formats can't be checked", file)}
	}
	if err != nil {
		_, _ = fmt.Fprintln(sh.stdout, err)
		return errFindings
	}
	_, err = fmt.Fprintf(
		sh.stdout, "OK: the entry %s is the entry %d of %s, as the service signed it.\nThe entry is the hash of an "+
			"event. The receipt claims that it is the event %s: compare it with that event in the exported audit.\n",
		base64.StdEncoding.EncodeToString(r.Entry[:]), r.Proof.Index, r.Origin(), r.EventID,
	)
	return err
}

func verifyFile(name string, o verify.Options) (verify.Report, error) {
	f, err := os.Open(name) //nolint:gosec // the caller names it
	if err != nil {
		return verify.Report{}, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	at, err := f.Stat()
	if err != nil {
		return verify.Report{}, err
	}
	if begin := make([]byte, 1); at.Size() > 0 {
		if _, err := f.ReadAt(begin, 0); err == nil && begin[0] == '{' {
			return verify.Report{}, errReceipt
		}
	}
	return verify.Bundle(f, at.Size(), o)
}

// compare checks that what the service has now begins with what the bundle holds.
func (v *auditVerifyCommand) compare(sh *shell, service remote, r *verify.Report, o verify.Options) error {
	note, err := service.getText(sh, "/api/admin/audit/checkpoint", nil)
	if err != nil {
		return err
	}
	found, now, err := verify.Continues(*r, note, func(from, to int64) (formats.Consistency, error) {
		return service.consistency(sh, from, to)
	})
	if err != nil {
		return err
	}
	if found != nil {
		r.Findings++
		o.OnFinding(*found)
		return nil
	}
	_, err = fmt.Fprintf(sh.stdout, "The service at %s has %d entries now, and they begin with these.\n", v.Live, now.Size)
	return err
}

func (v *auditVerifyCommand) tell(sh *shell, r verify.Report) error {
	out := bufio.NewWriter(sh.stdout)
	if r.Findings > 0 {
		_, _ = fmt.Fprintf(out, "Findings: %d, in %d entries of %s.\n", r.Findings, r.Entries, r.Range.Origin)
		return errors.Join(out.Flush(), errFindings)
	}
	_, _ = fmt.Fprintf(
		out, "OK: the entries %d to %d of %s are those that the service signed. Checkpoints: %d.\n", r.Range.First,
		r.Range.Last, r.Range.Origin, r.Checkpoints,
	)
	if e := r.Evidence; e != nil {
		_, _ = fmt.Fprintf(
			out, "It claims to be the evidence of the organization %s for %s to %s, and the entries and their times agree with "+
				"that. Its files are those that %s lists; nothing signs the tables, which the service made of these entries.\n",
			e.Organization, e.From.Format(time.RFC3339), e.To.Format(time.RFC3339), formats.EvidenceFile,
		)
		if r.Range.First > 0 {
			_, _ = fmt.Fprintln(out, "The entries before the first one aren't in it. That they were before the period is a "+
				"claim: export the audit from an earlier time to check it.")
		}
	}
	if r.OwnKeys {
		_, _ = fmt.Fprintln(out, "The keys came from the bundle itself, so this proves only that it agrees with itself. "+
			"Get /.well-known/agentkey-keys.json another way and name it with --keys.")
	}
	for _, s := range r.Cosigned {
		_, _ = fmt.Fprintf(out, "The witness %s saw the last checkpoint at %s.\n", s.Witness.Name, s.At.Format(time.RFC3339))
	}
	if len(r.Cosigned) == 0 {
		_, _ = fmt.Fprintln(out, "No witness was named, so anyone who has the service's private keys can have signed "+
			"another history.")
	}
	_, _ = fmt.Fprintln(out, "Nothing covers the positions of the entries, README.txt, further witnesses, earlier "+
		"checkpoints that were left out, and the form of the archive: another program may read other things out of it.")
	return out.Flush()
}
