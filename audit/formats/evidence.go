package formats

import "time"

// The files of an evidence pack that a verifier looks at. A pack is a ZIP archive.
const (
	EvidenceFile = "evidence.json" // Evidence; the last file
	AuditFile    = "audit.zip"     // a bundle, stored as it is
)

// Evidence says what an evidence pack is about, and lists its files, which nothing signs.
type Evidence struct {
	Organization string      `json:"organization"`
	From         time.Time   `json:"from"`
	To           time.Time   `json:"to"`
	Begin        uint64      `json:"begin"`      // the position of the last event before the period; 0: there is none
	End          uint64      `json:"end"`        // that of the last event before the end of the period
	Checkpoint   string      `json:"checkpoint"` // the signed note that covers the period
	Files        []Evidenced `json:"files"`
}

// Evidenced is a file of an evidence pack, and which controls it answers.
type Evidenced struct {
	Name     string    `json:"name"`
	SHA256   string    `json:"sha256"` // of its bytes, hexadecimal
	Shows    string    `json:"shows"`
	Controls []Control `json:"controls"`
}

// Control is a control of a standard, and how a file answers it.
type Control struct {
	ID  string `json:"id"`
	How string `json:"how"`
}
