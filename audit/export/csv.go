package export

import (
	"regexp"
	"strconv"
	"strings"
	"time"

	"agentkey/audit/actions"
)

// csvColumns are the columns of the table, in their order.
var csvColumns = []struct {
	name string
	cell func(Entry) string
}{
	{"position", func(e Entry) string { return strconv.FormatUint(e.Position, 10) }},
	{"id", func(e Entry) string { return e.ID }},
	{"occurred_at", func(e Entry) string { return e.OccurredAt.UTC().Format(time.RFC3339Nano) }},
	{"action", func(e Entry) string { return e.Action }},
	{"category", func(e Entry) string { return string(actions.Of(e.Action)) }},
	{"summary", summary},
	{"actor_type", func(e Entry) string { return string(e.Actor.Type) }},
	{"actor_id", func(e Entry) string { return e.Actor.ID }},
	{"actor_label", func(e Entry) string { return e.Actor.Label }},
	{"actor_current_label", func(e Entry) string { return e.Current.Actor }},
	{"on_behalf_of_type", func(e Entry) string { return string(e.OnBehalfOf.Type) }},
	{"on_behalf_of_id", func(e Entry) string { return e.OnBehalfOf.ID }},
	{"on_behalf_of_label", func(e Entry) string { return e.OnBehalfOf.Label }},
	{"on_behalf_of_current_label", func(e Entry) string { return e.Current.OnBehalfOf }},
	{"target_type", func(e Entry) string { return e.Target.Type }},
	{"target_id", func(e Entry) string { return e.Target.ID }},
	{"target_label", func(e Entry) string { return e.Target.Label }},
	{"target_current_label", func(e Entry) string { return e.Current.Target }},
	{"agent_id", func(e Entry) string { return e.AgentID }},
	{"agent_name", func(e Entry) string { return e.AgentName }},
	{"current_agent_name", func(e Entry) string { return e.Current.Agent }},
	{"tool_id", func(e Entry) string { return e.ToolID }},
	{"tool_name", func(e Entry) string { return e.ToolName }},
	{"current_tool_name", func(e Entry) string { return e.Current.Tool }},
	{"request_id", func(e Entry) string { return e.RequestID }},
	{"ip", func(e Entry) string { return e.Address }},
	{"user_agent", func(e Entry) string { return e.UserAgent }},
	{"stream", func(e Entry) string { return e.Stream }},
	{"revision", func(e Entry) string { return strconv.FormatUint(e.Revision, 10) }},
	// A semicolon can stand in a JSON string alone, so escaping it changes nothing of what it means.
	{"data", func(e Entry) string { return strings.ReplaceAll(string(e.Data), ";", `\u003b`) }},
}

// summary is empty where an entry can't be told: what its data says is in the row anyway.
func summary(e Entry) string {
	text, err := actions.Summary(e.AuditEntry)
	if err != nil {
		return ""
	}
	return text
}

// AppendCSVHead appends the row with the names of the columns.
func AppendCSVHead(text []byte) []byte {
	names := make([]string, len(csvColumns))
	for i, c := range csvColumns {
		names[i] = c.name
	}
	return AppendRow(text, names...)
}

// AppendCSV appends the row of an entry.
func AppendCSV(text []byte, e Entry) []byte {
	cells := make([]string, len(csvColumns))
	for i, c := range csvColumns {
		cells[i] = c.cell(e)
	}
	return AppendRow(text, cells...)
}

// AppendRow appends a row of any table, as RFC 4180 has it. A spreadsheet runs none of its cells.
// Each is quoted, so that none of what people write ends it.
func AppendRow(text []byte, cells ...string) []byte {
	for i, cell := range cells {
		if i > 0 {
			text = append(text, ',')
		}
		text = append(text, '"')
		text = append(text, strings.ReplaceAll(inert(cell), `"`, `""`)...)
		text = append(text, '"')
	}
	return append(text, "\r\n"...)
}

// runnable finds what a spreadsheet would take for a formula: one of the characters that begin one,
// wide forms included, at the beginning of a cell, or where a program that separates cells by
// semicolons, tabs or lines would see a beginning. Blanks, quotes and what can't be seen before it
// don't count.
var runnable = regexp.MustCompile(
	"(^|[;\t\r\n\v\f\\x{85}])([\\p{Z}\\p{Cf}\"'`\\x{2018}-\\x{201f}\\x{ff02}\\x{ff07}]*)" +
		"([=+\\-@\\x{ff1d}\\x{ff0b}\\x{ff0d}\\x{ff20}\\x{2212}\\x{fe62}\\x{fe63}\\x{fe66}\\x{fe6b}])",
)

// inert makes text of a cell that a spreadsheet would run: an apostrophe in front says that it is
// text. A cell that begins with a tab or a line break gets one too.
func inert(cell string) string {
	if cell == "" || isWord(cell) {
		return cell
	}
	cell = runnable.ReplaceAllString(cell, "${1}'${2}${3}")
	if strings.IndexByte("\t\r\n", cell[0]) >= 0 {
		cell = "'" + cell
	}
	return cell
}

// isWord reports whether a cell is one of the many that are an id, a number or a name of ours.
func isWord(cell string) bool {
	for i := range len(cell) {
		c := cell[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && c != '.' && c != '_' && c != ':' && (c != '-' || i == 0) {
			return false
		}
	}
	return true
}
