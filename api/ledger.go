package api

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"agentkey/audit"
	"agentkey/audit/formats"
	"agentkey/commands/loop"
	"agentkey/domain"
)

// GetAuditCheckpoint answers GET /api/admin/audit/checkpoint.
func (s *Server) GetAuditCheckpoint(
	ctx context.Context, _ GetAuditCheckpointRequestObject,
) (GetAuditCheckpointResponseObject, error) {
	call := callOf(ctx)
	note, err := s.Ledger.Checkpoint(call.ctx, call.Caller.Organization)
	return GetAuditCheckpoint200TextResponse(note), s.proven(err, "checkpoint")
}

// GetAuditProof answers GET /api/admin/audit/entries/{id}/proof.
func (s *Server) GetAuditProof(ctx context.Context, r GetAuditProofRequestObject) (GetAuditProofResponseObject, error) {
	call := callOf(ctx)
	p, err := s.Ledger.Proof(call.ctx, call.Caller.Organization, eventID(r.ID))
	return GetAuditProof200JSONResponse(proofView(p)), s.proven(err, "audit entry")
}

// GetAuditConsistency answers GET /api/admin/audit/consistency.
func (s *Server) GetAuditConsistency(
	ctx context.Context, r GetAuditConsistencyRequestObject,
) (GetAuditConsistencyResponseObject, error) {
	call, from, to := callOf(ctx), r.Params.From, r.Params.To
	if from > to {
		return nil, domain.Invalid("from", "it is greater than to; from is the size of the earlier checkpoint")
	}
	c, err := s.Ledger.Consistency(call.ctx, call.Caller.Organization, from, to)
	return GetAuditConsistency200JSONResponse{From: c.From, To: c.To, Hashes: hashViews(c.Hashes)},
		s.proven(err, "checkpoint")
}

// CosignCheckpoint answers POST /api/admin/audit/cosignatures.
func (s *Server) CosignCheckpoint(
	ctx context.Context, r CosignCheckpointRequestObject,
) (CosignCheckpointResponseObject, error) {
	call := callOf(ctx)
	// white space at the ends of a text is trimmed, and a note ends with a line break
	position, err := s.Cosignatures.Record(call.ctx, call.meta(), r.Body.Note+"\n")
	if err != nil {
		return nil, err
	}
	call.done(position)
	return CosignCheckpoint204Response{}, nil
}

// GetAuditTile answers GET /api/admin/audit/log/{path}.
func (s *Server) GetAuditTile(ctx context.Context, r GetAuditTileRequestObject) (GetAuditTileResponseObject, error) {
	call := callOf(ctx)
	path := strings.TrimPrefix(r.Path, "/")
	if path == "checkpoint" {
		note, err := s.Ledger.Checkpoint(call.ctx, call.Caller.Organization)
		return GetAuditTile200TextResponse(note), s.proven(err, path)
	}
	tile, err := s.Ledger.Tile(call.ctx, call.Caller.Organization, path)
	return GetAuditTile200ApplicationOctetStreamResponse{
		Body: bytes.NewReader(tile), ContentLength: int64(len(tile)),
	}, s.proven(err, "tile")
}

// GetMyReceipt answers GET /api/me/receipts/{event_id}.
func (s *Server) GetMyReceipt(ctx context.Context, r GetMyReceiptRequestObject) (GetMyReceiptResponseObject, error) {
	call := callOf(ctx)
	receipt, err := s.Ledger.Receipt(call.ctx, call.Caller.Organization, call.Caller.Actor.ID, eventID(r.EventID))
	return GetMyReceipt200JSONResponse{
		EventID: receipt.EventID, Stream: receipt.Stream,
		Revision: int64(receipt.Revision), //nolint:gosec // a stream never holds 2^63 events
		Entry:    base64.StdEncoding.EncodeToString(receipt.Entry[:]), Proof: proofView(receipt.Proof),
	}, s.proven(err, "receipt")
}

// ListVerificationKeys answers GET /.well-known/agentkey-keys.json.
func (s *Server) ListVerificationKeys(
	context.Context, ListVerificationKeysRequestObject,
) (ListVerificationKeysResponseObject, error) {
	keys, err := s.Keys()
	return ListVerificationKeys200JSONResponse{Keys: views(keys.Keys, keyView)}, loop.Refusal(err)
}

// proven turns what the ledger says into what a caller may know.
func (s *Server) proven(err error, what string) error {
	if errors.Is(err, audit.ErrNotFound) {
		return domain.NotFound(what)
	}
	if early, ok := errors.AsType[*audit.NotCoveredError](err); ok {
		return &domain.Error{
			Kind: domain.KindConflict, Code: "not_covered_yet",
			Detail: "No checkpoint of the ledger covers this yet.",
			Hint:   "Send the same request again after {wait}. A checkpoint is signed within a minute of what it covers.",
			Extra: map[string]any{
				"retry_after": s.Clock().Add(early.RetryAfter).UTC().Truncate(time.Second).Format(time.RFC3339),
			},
			RetryAfter: early.RetryAfter,
		}
	}
	if refusal, ok := errors.AsType[*domain.Error](loop.Refusal(err)); ok { // the log can't be read
		return refusal
	}
	return asked(err, what)
}

func proofView(p formats.Proof) AuditProof {
	return AuditProof{
		Index: p.Index, Size: p.Size, Leaf: p.Leaf.String(), Hashes: hashViews(p.Hashes), Checkpoint: p.Checkpoint,
	}
}

func hashViews(hashes []tlog.Hash) []Hash { return views(hashes, tlog.Hash.String) }

func keyView(k formats.Key) VerificationKey {
	return VerificationKey{
		ID: k.ID, Use: VerificationKeyUse(k.Use), Algorithm: VerificationKeyAlgorithm(k.Algorithm),
		PublicKey: base64.StdEncoding.EncodeToString(k.PublicKey), NotBefore: k.NotBefore, NotAfter: optionalTime(k.NotAfter),
	}
}
