package export

import (
	"encoding/csv"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"agentkey/domain"
	"agentkey/readmodels"
)

// TestASpreadsheetRunsNoCell has what is known to be run, and what must stay as it is.
func TestASpreadsheetRunsNoCell(t *testing.T) {
	for cell, want := range map[string]string{
		"=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)", "\tx": "'\tx", "\rx": "'\rx", "\nx": "'\nx",
		" =1": "' =1", "\u00a0=1": "'\u00a0=1", "\u200b=1": "'\u200b=1", "\ufeff=1": "'\ufeff=1",
		`"=1`: `'"=1`, "'=1": "''=1",
		"\u201c=1": "'\u201c=1", "＝1": "'＝1", "＋1": "'＋1", "－1": "'－1", "＠x": "'＠x", "\u22121": "'\u22121",
		"\t=1": "'\t'=1", "a;=1": "a;'=1", "a\n=1": "a\n'=1", "a\t\"+1": "a\t'\"+1", "a; -1; @b": "a;' -1;' @b",
		"": "", "a=b": "a=b", "GitHub": "GitHub", "a - b": "a - b", "me@example.com": "me@example.com",
		"2026-01-01T00:00:00Z":                 "2026-01-01T00:00:00Z",
		"0190b2c0-0000-7000-8000-000000000001": "0190b2c0-0000-7000-8000-000000000001",
	} {
		if got := inert(cell); got != want {
			t.Errorf("%q is %q, want %q", cell, got, want)
		}
	}
}

// TestRowsAreReadBack reads rows of any texts with a reader of RFC 4180.
func TestRowsAreReadBack(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringOfN(rapid.RuneFrom([]rune("a=+-@\"',; \t\n\r＝\u200b")), 0, 8, -1)
		data := `{"reason":` + quoted(text.Draw(t, "reason")) + `}`
		e := Entry{UserAgent: text.Draw(t, "user agent"), Address: "127.0.0.1"}
		e.AuditEntry = readmodels.AuditEntry{
			Position: 7, OccurredAt: time.Unix(0, 0), Actor: domain.Actor{Type: "agent", ID: "a", Label: text.Draw(t, "label")},
			Data: json.RawMessage(data),
		}
		raw := AppendCSV(AppendCSVHead(nil), e)
		if strings.Count(string(raw), "\r\n") < 2 || !strings.HasSuffix(string(raw), "\"\r\n") {
			t.Fatalf("the rows end otherwise: %q", raw)
		}
		rows, err := csv.NewReader(strings.NewReader(string(raw))).ReadAll()
		if err != nil || len(rows) != 2 || len(rows[1]) != len(csvColumns) {
			t.Fatalf("%q: %v", raw, err)
		}
		for i, cell := range rows[1] {
			for _, part := range strings.FieldsFunc(cell, func(r rune) bool { return strings.ContainsRune(";\t\r\n", r) }) {
				part = strings.TrimLeft(part, " \"\u200b")
				if strings.IndexAny(part, "=+-@＝") == 0 || strings.IndexAny(cell, "\t\r\n") == 0 {
					t.Errorf("%s would be run: %q", csvColumns[i].name, cell)
				}
			}
		}
		var back, want any
		cell := rows[1][len(csvColumns)-1]
		if json.Unmarshal([]byte(cell), &back) != nil || json.Unmarshal([]byte(data), &want) != nil ||
			quoted(back) != quoted(want) {
			t.Errorf("%s comes back as %s", data, cell)
		}
	})
}

func quoted(v any) string {
	text, _ := json.Marshal(v)
	return string(text)
}
