package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"time"

	"agentkey/commands"
	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/readmodels"
)

// GetMe answers GET /api/me.
func (s *Server) GetMe(ctx context.Context, _ GetMeRequestObject) (GetMeResponseObject, error) {
	call := callOf(ctx)
	// Who is calling was read from the log; what it may use is asked of the read model, which may be a
	// moment behind.
	me, err := s.Models.Me(call.ctx, call.Caller.Organization, call.Caller.Actor.ID, s.Clock())
	if err != nil && !isNotFound(err) {
		return nil, asked(err, "agent")
	}
	known := call.Caller.Agent
	out := GetMe200JSONResponse{
		AgentID: call.Caller.Actor.ID, AgentName: known.Name, Description: known.Description,
		CreatedAt: known.CreatedAt.UTC(), ToolsApproved: list(me.ToolsApproved), ToolsPending: list(me.ToolsPending),
		ToolsAvailable: me.ToolsAvailable,
	}
	out.ToolsDenied = make([]DeniedTool, len(me.ToolsDenied))
	for i, d := range me.ToolsDenied {
		out.ToolsDenied[i] = DeniedTool{Name: d.Name, Reason: optional(d.Reason)}
	}
	if len(out.ToolsApproved) == 0 {
		out.Hint = optional(
			"List the catalog with GET /api/tools, then ask with POST /api/tools/{id}/request and a reason; a human " +
				"decides.",
		)
	}
	return out, nil
}

// ListMyTools answers GET /api/tools.
func (s *Server) ListMyTools(ctx context.Context, r ListMyToolsRequestObject) (ListMyToolsResponseObject, error) {
	found, err := s.myTools(callOf(ctx), r.Params)
	if err != nil {
		return nil, err
	}
	var out ListMyTools200JSONResponse
	if r.Params.View == nil {
		err = out.FromMyTools(MyTools{Tools: views(found.Items, myTool), NextCursor: cursor(found.Next)})
	} else {
		err = out.FromShortTools(ShortTools{Tools: views(found.Items, shortTool), NextCursor: cursor(found.Next)})
	}
	return out, err
}

// myTools reads the tools that match: a page if the caller asks for one, or else all of them.
func (s *Server) myTools(call *call, params ListMyToolsParams) (readmodels.List[readmodels.Offer], error) {
	p, err := page(params.Limit, params.Cursor)
	if err != nil {
		return readmodels.List[readmodels.Offer]{}, err
	}
	caller := call.Caller
	filter := readmodels.OfferFilter{Query: value(params.Q), Access: string(value(params.Access))}
	var found readmodels.List[readmodels.Offer]
	if params.Limit == nil && params.Cursor == nil {
		found.Items, err = s.Models.Catalog(call.ctx, caller.Organization, caller.Actor.ID, filter, s.Clock())
	} else {
		found, err = s.Models.CatalogPage(call.ctx, caller.Organization, caller.Actor.ID, filter, s.Clock(), p)
	}
	return found, asked(err, "catalog")
}

// GetMyTool answers GET /api/tools/{id}.
func (s *Server) GetMyTool(ctx context.Context, r GetMyToolRequestObject) (GetMyToolResponseObject, error) {
	call := callOf(ctx)
	offer, err := s.Models.CatalogTool(call.ctx, call.Caller.Organization, call.Caller.Actor.ID, r.ID, s.Clock())
	if err != nil {
		return nil, asked(err, "tool")
	}
	return GetMyTool200JSONResponse(myTool(offer)), nil
}

func myTool(o readmodels.Offer) MyTool {
	return MyTool{
		ID: o.ID, Name: o.Name, Description: o.Description, URL: optional(o.URL), AuthType: AuthType(o.AuthType),
		YourAccess: Access(o.Access), DenialReason: optional(o.DenialReason), RequestID: optional(o.RequestID),
		ExpiresAt: optionalTime(o.ExpiresAt),
	}
}

func shortTool(o readmodels.Offer) ShortTool {
	return ShortTool{ID: o.ID, Name: o.Name, YourAccess: Access(o.Access)}
}

// DescribeRequestTool answers GET /api/tools/{id}/request.
func (s *Server) DescribeRequestTool(
	ctx context.Context, _ DescribeRequestToolRequestObject,
) (DescribeRequestToolResponseObject, error) {
	return DescribeRequestTool200JSONResponse(s.routes.describe(callOf(ctx).op)), nil
}

// RequestTool answers POST /api/tools/{id}/request.
func (s *Server) RequestTool(ctx context.Context, r RequestToolRequestObject) (RequestToolResponseObject, error) {
	call := callOf(ctx)
	id, done, err := s.Grants.Request(call.ctx, call.meta(), call.Caller.Actor.ID, r.ID, commands.Wanted{
		Reason: r.Body.Reason, Seconds: value(r.Body.RequestedSeconds),
	})
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return RequestTool201JSONResponse(requestedAccess(r.ID, id, done.State.Grants[r.ID])), nil
}

// requestedAccess says how a request stands that is the agent's newest for a tool.
func requestedAccess(toolID, requestID string, access agent.Grant) RequestedAccess {
	out := RequestedAccess{
		RequestID: requestID, Status: AccessRequestStatusPending,
		Message: "A human will decide. See GET /api/tools/" + toolID + "; once your_access is approved, GET " +
			"/api/tools/" + toolID + "/credentials.",
	}
	by := "by a human"
	if access.Rule != nil {
		by = "by a rule"
	}
	switch {
	case access.RequestID != requestID: // it was asked for again
	case access.Status == agent.Approved:
		out.Status, out.ExpiresAt = AccessRequestStatusApproved, optionalTime(value(access.ExpiresAt))
		out.Message = "Access is given, " + by + ". Fetch the credential with GET /api/tools/" + toolID + "/credentials."
	case access.Status == agent.Denied:
		out.Status, out.DenialReason = AccessRequestStatusDenied, optional(access.DenialReason)
		out.Message = strings.TrimSuffix("It was denied "+by+": "+access.DenialReason, ": ")
	}
	return out
}

// WithdrawRequest answers DELETE /api/tools/{id}/request.
func (s *Server) WithdrawRequest(
	ctx context.Context, r WithdrawRequestRequestObject,
) (WithdrawRequestResponseObject, error) {
	call := callOf(ctx)
	catalog, err := s.Tools.Catalogs.Fresh(call.ctx, call.Caller.Organization)
	if err != nil {
		return nil, err
	}
	if _, offered := catalog.State.Tools[r.ID]; !offered {
		return nil, domain.NotFound("tool")
	}
	done, err := s.Agents.Do(call.ctx, call.meta(), call.Caller.Actor.ID, func(agent.State, time.Time) (agent.Command,
		error,
	) {
		return agent.Withdraw{ToolID: r.ID}, nil
	})
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	return WithdrawRequest204Response{}, nil
}

// DescribeSuggestTool answers GET /api/tools/suggest.
func (s *Server) DescribeSuggestTool(
	ctx context.Context, _ DescribeSuggestToolRequestObject,
) (DescribeSuggestToolResponseObject, error) {
	return DescribeSuggestTool200JSONResponse(s.routes.describe(callOf(ctx).op)), nil
}

// SuggestTool answers POST /api/tools/suggest.
func (s *Server) SuggestTool(ctx context.Context, r SuggestToolRequestObject) (SuggestToolResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Suggestions.Suggest(
		call.ctx, call.meta(), call.Caller.Actor.ID, r.Body.Name, value(r.Body.URL), r.Body.Reason,
	)
	if done.Changed {
		call.done(done.Position) // also when it was refused
	}
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	message := "You are the first to miss it. A human will decide; see GET /api/tools from time to time."
	if done.Existing {
		message = "Others miss it too, and your reason was added. A human will decide; see GET /api/tools from time " +
			"to time."
	}
	out := SuggestTool201JSONResponse{
		SuggestionID: done.ID, Status: SuggestedStatusPending, Existing: done.Existing, Message: message,
	}
	if len(done.Similar) > 0 {
		similar := views(
			done.Similar,
			func(tool commands.SimilarTool) SimilarTool { return SimilarTool{ID: tool.ID, Name: tool.Name} },
		)
		out.SimilarTools = &similar
		out.Message += " The catalog has similar tools; if one of similar_tools is what you need, ask for it with " +
			"POST /api/tools/{id}/request."
	}
	return out, nil
}

// DescribeSuggestNote answers GET /api/tools/{id}/instructions/suggest.
func (s *Server) DescribeSuggestNote(
	ctx context.Context, _ DescribeSuggestNoteRequestObject,
) (DescribeSuggestNoteResponseObject, error) {
	return DescribeSuggestNote200JSONResponse(s.routes.describe(callOf(ctx).op)), nil
}

// SuggestNote answers POST /api/tools/{id}/instructions/suggest.
func (s *Server) SuggestNote(
	ctx context.Context, r SuggestNoteRequestObject,
) (SuggestNoteResponseObject, error) {
	call := callOf(ctx)
	done, err := s.Notes.Suggest(call.ctx, call.meta(), call.Caller.Actor.ID, r.ID, r.Body.Learned, r.Body.Why)
	if err != nil {
		return nil, err
	}
	call.done(done.Position)
	message := "A human will read it; what is accepted comes with the credential, in instructions."
	if done.Existing {
		message = "Another agent has learned the same, and you back it. " + message
	}
	return SuggestNote201JSONResponse{
		SuggestionID: done.ID, Status: SuggestedStatusPending, Existing: done.Existing, Message: message,
	}, nil
}

// FetchCredential answers GET /api/tools/{id}/credentials. What it answers must be kept nowhere on
// its way.
func (s *Server) FetchCredential(
	ctx context.Context, r FetchCredentialRequestObject,
) (FetchCredentialResponseObject, error) {
	call := callOf(ctx)
	call.header.Set("Cache-Control", "no-store, private")
	v, err := s.Fetch.Do(call.ctx, call.meta(), call.Caller.Actor.ID, call.Caller.Proof, r.ID)
	if err != nil {
		return nil, err
	}
	call.done(v.Position)
	out := FetchCredential200JSONResponse{
		ToolID: v.ToolID, ToolName: v.ToolName, AuthType: AuthType(v.AuthType), CredentialVersion: v.CredentialVersion,
		CredentialExpiresAt: optionalTime(value(v.CredentialExpiresAt)), Instructions: v.Instructions,
		InstructionsVersion: v.InstructionsVersion, Credential: Credential(absent),
		SuggestInstructionsEndpoint: "/api/tools/" + v.ToolID + "/instructions/suggest",
	}
	out.Receipt.EventID, out.Receipt.Stream, out.Receipt.Revision = v.EventID.String(), v.Stream, v.Revision
	return vended{out, v.Credential}, nil
}

// absent stands where the credential belongs while the rest is encoded.
const absent = "null"

// vended is the answer with a credential. Encoders keep their buffers, so the credential is put
// into one of our own, which is overwritten once it was sent.
type vended struct {
	rest       FetchCredential200JSONResponse
	credential domain.Secret
}

// VisitFetchCredentialResponse writes the answer and clears the credential.
func (v vended) VisitFetchCredentialResponse(w http.ResponseWriter) error {
	defer v.credential.Clear()
	rest, err := json.Marshal(v.rest)
	if err != nil {
		return err
	}
	const member = `"credential":` // a text has its quotes escaped
	before, after, found := bytes.Cut(rest, []byte(member+absent))
	if !found {
		return errors.New("the answer has no place for the credential")
	}
	secret := v.credential.Reveal()
	out := make([]byte, 0, len(rest)+len(secret)+1)
	defer func() { clear(out) }()
	out = append(append(append(append(append(out, before...), member...), secret...), after...), '\n')
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusOK)
	_, err = w.Write(out)
	return err
}
