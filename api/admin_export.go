package api

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"agentkey/audit/export"
	"agentkey/domain"
	"agentkey/readmodels"
)

const (
	// exportPage is how many entries of an export are in memory at once.
	exportPage = 256
	// exportsAtOnce bounds the exports that one process writes at a time.
	exportsAtOnce = 4
)

// ExportAudit answers GET /api/admin/audit/export.
func (s *Server) ExportAudit(ctx context.Context, r ExportAuditRequestObject) (ExportAuditResponseObject, error) {
	call := callOf(ctx)
	p := r.Params
	filter, err := auditQuery{
		ActorType: string(value(p.ActorType)), ActorID: p.ActorID, AgentID: p.AgentID, ToolID: p.ToolID, Action: p.Action,
		Category: p.Category, NotCategory: p.NotCategory, Q: p.Q, From: p.From, To: p.To,
		Retries: p.Retries == nil || *p.Retries,
	}.filter()
	if err != nil {
		return nil, err
	}
	out := auditExport{
		server: s, call: call, organization: call.Caller.Organization, format: ExportAuditParamsFormatJsonl, filter: filter,
	}
	if p.Format != nil {
		out.format = *p.Format
	}
	if out.format == ExportAuditParamsFormatBundle {
		return s.exportBundle(call, out, p)
	}
	if p.Cursor != nil {
		if err := out.resume(*p.Cursor); err != nil {
			return nil, err
		}
	}
	extent, err := s.Models.AuditExtent(call.ctx, out.organization, filter, out.after, out.last)
	if err != nil {
		return nil, askedAudit(err)
	}
	out.entries = extent.Entries
	if p.Cursor == nil {
		out.last = extent.Last
	}
	return out, nil
}

// auditExport is an export as it is written.
type auditExport struct {
	server       *Server
	call         *call
	organization string
	format       ExportAuditParamsFormat
	filter       readmodels.AuditFilter
	after, last  uint64 // positions
	entries      int64
	bundle       *export.Bundle // nil in the other formats
}

// name names the export: the same query up to the same position has the same name.
func (x auditExport) name() string {
	what, err := json.Marshal(struct {
		Organization string
		Format       ExportAuditParamsFormat
		Filter       readmodels.AuditFilter
		Last         uint64
	}{x.organization, x.format, x.filter, x.last})
	if err != nil {
		panic(err) // of strings and times: it can't fail
	}
	digest := sha256.Sum256(what)
	return base64.RawURLEncoding.EncodeToString(digest[:12]) + "_" + strconv.FormatUint(x.last, 36)
}

var errCursor = domain.Invalid("cursor", "it belongs to another export; send the same query as before, "+
	"with the X-Export-Cursor of its answer, a dot, and the position of the last entry")

// resume makes the export continue where an earlier answer ended.
func (x *auditExport) resume(cursor string) error {
	name, position, _ := strings.Cut(cursor, ".")
	at := strings.LastIndexByte(name, '_')
	if at < 0 {
		return errCursor
	}
	last, err := strconv.ParseUint(name[at+1:], 36, 63)
	after, aerr := strconv.ParseUint(position, 10, 63)
	x.after, x.last = after, last
	if err != nil || aerr != nil || after > last || x.name() != name {
		return errCursor
	}
	return nil
}

var exportTypes = map[ExportAuditParamsFormat]string{
	ExportAuditParamsFormatJsonl:  "application/x-ndjson",
	ExportAuditParamsFormatCsv:    "text/csv; charset=utf-8",
	ExportAuditParamsFormatOcsf:   "application/x-ndjson",
	ExportAuditParamsFormatBundle: "application/zip",
}

// exportSuffixes are the ends of file names that aren't the format's name.
var exportSuffixes = map[ExportAuditParamsFormat]string{
	ExportAuditParamsFormatOcsf: "ocsf.jsonl", ExportAuditParamsFormatBundle: "zip",
}

// VisitExportAuditResponse writes the entries, page by page.
func (x auditExport) VisitExportAuditResponse(w http.ResponseWriter) error {
	h := w.Header()
	suffix := cmp.Or(exportSuffixes[x.format], string(x.format))
	h.Set("Content-Disposition", `attachment; filename="agentkey-audit.`+suffix+`"`)
	if x.bundle == nil {
		h.Set("X-Export-Cursor", x.name())
	}
	h.Set("X-Export-Entries", strconv.FormatInt(x.entries, 10))
	return x.server.stream(x.call, w, exportTypes[x.format], x.write)
}

// stream writes an answer of any length. Where it fails it cuts the connection, so that nobody
// takes a part for the whole.
func (s *Server) stream(
	call *call, w http.ResponseWriter, media string, write func(context.Context, exportWriter) error,
) error {
	select {
	case s.exports <- struct{}{}:
		defer func() { <-s.exports }()
	default:
		return errManyExports
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("X-Accel-Buffering", "no")
	ctx, cancel := context.WithCancelCause(call.ctx)
	defer cancel(nil)
	defer context.AfterFunc(s.Stopping, func() { cancel(errStopping) })()
	out := exportWriter{w: w, socket: http.NewResponseController(w), clock: s.Clock}
	if err := out.begin(); err != nil || call.headOnly {
		return err
	}
	err := write(ctx, out)
	if err == nil {
		return nil
	}
	if ctx.Err() == nil && !errors.Is(err, errReader) {
		s.Logger.ErrorContext(
			ctx, "fault", slog.String("request_id", call.RequestID), slog.String("error", err.Error()),
		)
	}
	panic(http.ErrAbortHandler)
}

var errManyExports = &domain.Error{
	Kind: domain.KindUnavailable, Code: "busy", Detail: "This process is writing as many exports as it can.",
	Hint: "Send the same request again after {wait}.", RetryAfter: 10 * time.Second,
}

// write writes the rest of the export from its position on.
func (x auditExport) write(ctx context.Context, out exportWriter) error {
	if x.bundle != nil {
		return x.bundle.Write(ctx, out)
	}
	var text []byte
	if x.format == ExportAuditParamsFormatCsv && x.after == 0 {
		text = export.AppendCSVHead(text)
	}
	for after, more := x.after, x.entries > 0; more; {
		entries, err := x.server.Models.AuditAfter(
			ctx, x.organization, x.filter, after, x.last, exportPage, x.format != ExportAuditParamsFormatJsonl,
		)
		if err != nil {
			return fmt.Errorf("read the audit: %w", err)
		}
		if text, err = x.append(ctx, text, entries); err != nil {
			return err
		}
		if _, err := out.Write(text); err != nil {
			return err
		}
		text = text[:0]
		if more = len(entries) == exportPage; more {
			after = entries[len(entries)-1].Position
		}
	}
	_, err := out.Write(text)
	return err
}

// append appends a page of entries in the format of the export.
func (x auditExport) append(ctx context.Context, text []byte, entries []readmodels.AuditEntry) ([]byte, error) {
	if x.format == ExportAuditParamsFormatJsonl {
		lines, err := x.server.Export.Lines(ctx, entries)
		if err != nil {
			return nil, err
		}
		for _, line := range lines {
			if text, err = line.Append(text); err != nil {
				return nil, err
			}
		}
		return text, nil
	}
	n := x.server.naming(x.organization)
	for _, e := range entries {
		entry, err := n.exported(ctx, e)
		if err != nil {
			return nil, err
		}
		if x.format == ExportAuditParamsFormatCsv {
			text = export.AppendCSV(text, entry)
		} else if text, err = export.AppendOCSF(text, entry); err != nil {
			return nil, err
		}
	}
	return text, nil
}

// exported opens and names what an entry holds, as the list of the audit shows it.
func (n *naming) exported(ctx context.Context, e readmodels.AuditEntry) (export.Entry, error) {
	e, personal, err := n.opened(ctx, e)
	out := export.Entry{AuditEntry: e, Version: n.server.Version}
	if e.RequestID != "" {
		out.Address, out.UserAgent = personal.Address, personal.UserAgent
	}
	return out, err
}

// exportWriter writes an answer of any length. The limit of time that holds for a whole answer
// doesn't hold for it; each piece has one of its own.
type exportWriter struct {
	w      http.ResponseWriter
	socket *http.ResponseController
	clock  func() time.Time
}

// errReader says that the reader left or stalled.
var errReader = errors.New("the reader of the export is gone")

// pieceWithin is how long the reader may take for a piece.
const pieceWithin = 30 * time.Second

func (o exportWriter) begin() error {
	// reading the request is over, and who reads on notices that the caller left
	if err := o.socket.SetReadDeadline(time.Time{}); err != nil {
		return err
	}
	o.w.WriteHeader(http.StatusOK)
	return nil
}

// Write implements io.Writer.
func (o exportWriter) Write(text []byte) (n int, err error) {
	if len(text) == 0 {
		return 0, nil
	}
	err = o.socket.SetWriteDeadline(o.clock().Add(pieceWithin))
	if err == nil {
		n, err = o.w.Write(text)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", errReader, err)
	}
	return n, err
}
