package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"time"

	"agentkey/audit/export"
	"agentkey/domain"
	"agentkey/readmodels"
)

// reportPage is how many rows of a table are in memory at once.
const reportPage = 256

// column is one of a report's table.
type column[T any] struct {
	name string
	cell func(T) string
}

// report is what is asked of one report: a page of it, or the whole as a table.
type report[T any] struct {
	server   *Server
	call     *call
	name     string // of the file
	view     view
	position uint64 // up to which it includes everything
	columns  []column[T]
	rows     rows[T]
}

// rows answers a page of a report.
type rows[T any] func(context.Context, readmodels.Page) (readmodels.List[T], error)

// reportPageOf reads which page of a report is asked for, if it has pages.
func reportPageOf(table bool, limit *Limit, cursor *Cursor) (readmodels.Page, error) {
	switch {
	case table && limit != nil:
		return readmodels.Page{}, domain.Invalid("limit", "a CSV report has no pages; leave it out")
	case table && cursor != nil:
		return readmodels.Page{}, domain.Invalid("cursor", "a CSV report has no pages; leave it out")
	}
	return page(limit, cursor)
}

// begin names the file, and reads how far the read model is unless the report is about the past.
func (r *report[T]) begin(table bool) error {
	if r.position = uint64(value(r.view.position)); r.position == 0 { //nolint:gosec // it was a position
		checkpoint, err := r.server.Models.ReadCheckpoint(r.call.ctx)
		if err != nil {
			return asked(err, "report")
		}
		r.position = checkpoint.Position
	}
	format := "json"
	if table {
		format = "csv"
	}
	r.call.header.Set("Content-Disposition", fmt.Sprintf(`attachment; filename="agentkey-%s.%s"`, r.name, format))
	return nil
}

// write writes the whole report as a table, page by page.
func (r *report[T]) write(w http.ResponseWriter) error {
	return r.server.stream(r.call, w, "text/csv; charset=utf-8", func(ctx context.Context, out exportWriter) error {
		return writeTable(ctx, out, r.name, r.columns, r.rows)
	})
}

// writeTable writes a report as a table, page by page.
func writeTable[T any](
	ctx context.Context, out io.Writer, name string, columns []column[T], rows rows[T],
) error {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.name
	}
	text := export.AppendRow(nil, names...)
	for p := (readmodels.Page{Limit: reportPage}); ; {
		found, err := rows(ctx, p)
		if err != nil {
			return fmt.Errorf("report %s: %w", name, err)
		}
		for _, row := range found.Items {
			cells := make([]string, len(columns))
			for i, c := range columns {
				cells[i] = c.cell(row)
			}
			text = export.AppendRow(text, cells...)
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
		if text, p.Before = text[:0], found.Next; p.Before == 0 {
			return nil
		}
	}
}

func cellTime(t *Time) string {
	if t == nil {
		return ""
	}
	return t.UTC().Format(time.RFC3339Nano)
}

func cellCount(n int64) string { return strconv.FormatInt(n, 10) }
