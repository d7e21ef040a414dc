package export

import (
	"archive/zip"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"agentkey/audit/formats"
)

//go:embed evidence.txt
var evidenceText string

// The tables of an evidence pack.
const (
	IdentitiesFile   = "identities.csv"
	AccessReviewFile = "access-review.csv"
	DecisionsFile    = "decisions.csv"
	ChangesFile      = "changes.csv"
	ExposureFile     = "exposure.csv"
)

// evidenced are the files of an evidence pack in their order, and which controls each answers.
var evidenced = []formats.Evidenced{
	{
		Name:  IdentitiesFile,
		Shows: "Each agent that was registered at the end of the period and not retired, and by whom.",
		Controls: []formats.Control{
			{ID: "SOC 2 CC6.2", How: "Each agent is registered by a named person or service token before it gets any access."},
			{ID: "ISO 27001 A.5.16", How: "Each agent has an identity of its own, with keys of its own."},
		},
	},
	{
		Name:  AccessReviewFile,
		Shows: "Each access at the end of the period: since when, who granted it, why, and whether it was used.",
		Controls: []formats.Control{
			{ID: "SOC 2 CC6.1", How: "An agent starts with access to nothing. Credentials go to no agent that isn't listed."},
			{ID: "SOC 2 CC6.3", How: "Access that was never used is marked, so that it can be revoked (least privilege)."},
			{ID: "ISO 27001 A.5.15", How: "Access follows from a decision for one agent and one tool, and this is all of it."},
			{ID: "ISO 27001 A.5.18", How: "This is the list for the review of access rights."},
		},
	},
	{
		Name:  DecisionsFile,
		Shows: "Each decision of the period to approve, deny or assign access: who made it, and how long it waited.",
		Controls: []formats.Control{
			{ID: "SOC 2 CC6.2", How: "Access is authorized before it is granted, and the author of each decision is named."},
			{ID: "SOC 2 CC6.3", How: "Decisions about agents that the decider registered are marked (segregation of duties)."},
			{ID: "ISO 27001 A.5.18", How: "Access rights are given after a request with a reason, or with a named author."},
		},
	},
	{
		Name:  ChangesFile,
		Shows: "Each difference in access between the start and the end of the period, with the events that made it.",
		Controls: []formats.Control{
			{ID: "SOC 2 CC6.2", How: "Access that is no longer authorized is removed."},
			{ID: "SOC 2 CC6.3", How: "Access that was given, changed or removed in the period."},
			{ID: "ISO 27001 A.5.18", How: "Access rights that were given, adjusted or removed in the period."},
		},
	},
	{
		Name: ExposureFile,
		Shows: "Each agent that had fetched a version of a credential by the end of the period, and whether that " +
			"version was in use, removed or destroyed.",
		Controls: []formats.Control{
			{ID: "SOC 2 CC6.1", How: "Credentials that an agent without access may still know are marked: rotate them first."},
			{ID: "ISO 27001 A.5.17", How: "For each credential: since when it has been the same, and who knows it."},
		},
	},
	{
		Name: formats.AuditFile,
		Shows: "Each event of the period as it is stored and signed, and the signed checkpoints over them; " +
			"agentkey audit verify checks it.",
		Controls: []formats.Control{
			{
				ID:  "SOC 2 CC6.1, CC6.2, CC6.3",
				How: "Proves that none of its events was changed, and that none between them was left out.",
			},
			{ID: "ISO 27001 A.5.15, A.5.16, A.5.17, A.5.18", How: "The same."},
		},
	},
}

// introduce writes the text for people.
func introduce(w io.Writer, e formats.Evidence) error {
	var files strings.Builder
	for _, f := range e.Files {
		_, _ = fmt.Fprintf(&files, "\n%s\n  %s\n", f.Name, f.Shows) // a builder takes everything
		for _, c := range f.Controls {
			_, _ = fmt.Fprintf(&files, "  - %s\n    %s\n", c.ID, c.How)
		}
	}
	_, err := strings.NewReplacer(
		"{organization}", e.Organization, "{from}", e.From.Format(time.RFC3339Nano), "{to}", e.To.Format(time.RFC3339Nano),
		"{begin}", strconv.FormatUint(e.Begin, 10), "{end}", strconv.FormatUint(e.End, 10),
		"{files}", files.String(), "{checkpoint}", e.Checkpoint,
	).WriteString(w, evidenceText)
	return err
}

// WriteEvidence writes an evidence pack. file writes each of its files but the list of them and the
// text for people. The same content gives the same bytes.
func WriteEvidence(w io.Writer, e formats.Evidence, file func(name string, w io.Writer) error) error {
	archive := zip.NewWriter(w)
	e.Files = evidenced
	add := func(name string, method uint16, write func(io.Writer) error) (string, error) {
		entry, err := archive.CreateHeader(&zip.FileHeader{Name: name, Method: method})
		if err != nil {
			return "", err
		}
		sum := sha256.New()
		if err := write(io.MultiWriter(entry, sum)); err != nil {
			return "", fmt.Errorf("write %s: %w", name, err)
		}
		return hex.EncodeToString(sum.Sum(nil)), nil
	}
	_, err := add(formats.ReadmeFile, zip.Deflate, func(w io.Writer) error { return introduce(w, e) })
	if err != nil {
		return err
	}
	e.Files = make([]formats.Evidenced, len(evidenced))
	for i, f := range evidenced {
		method := zip.Deflate
		if f.Name == formats.AuditFile { // an archive already, which can be read where it is
			method = zip.Store
		}
		if f.SHA256, err = add(f.Name, method, func(w io.Writer) error { return file(f.Name, w) }); err != nil {
			return err
		}
		e.Files[i] = f
	}
	if _, err := add(
		formats.EvidenceFile, zip.Deflate, func(w io.Writer) error { return encoded(w, e) },
	); err != nil {
		return err
	}
	return archive.Close()
}
