package codec_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"agentkey/domain"
	"agentkey/domain/agent"
	"agentkey/domain/catalog"
	"agentkey/domain/delivery"
	"agentkey/domain/guide"
	"agentkey/domain/installation"
	"agentkey/domain/lane"
	"agentkey/domain/organization"
	"agentkey/domain/person"
	"agentkey/domain/rulebook"
	"agentkey/eventstore/codec"
)

var update = flag.Bool(
	"update", false, "write golden files that are not there yet; those that are there are never changed",
)

var (
	at     = time.Date(2026, 3, 4, 5, 6, 7, 891_000_000, time.UTC)
	public = installation.SigningKey{
		PublicKey:   installation.PublicKey{ID: "key-2", Public: "cHVibGlj", SecretID: "secret-2"},
		MACSecretID: "secret-3", Since: at, Epoch: "copy 1",
	}
	presented = &agent.Presented{
		Binding: 2, Issuer: "https://ci.example", Audience: "agentkey", Claims: map[string]string{"repository_id": "7"},
		Subject: "a", TokenID: "t",
	}
	labels   = domain.NewLabels(map[string]string{"team": "a \"b\" & c", "env": ""})
	rule     = &domain.RuleVersion{ID: "rule-1", Version: 2, Name: "Search for a day"}
	ruleText = rulebook.Text{
		Name: "Search for a day", FoldedName: "search for a day", When: "tool.name == 'Search'", Environment: 1,
		Effect: rulebook.Approve, MaxSeconds: 86_400, Reason: "r", Enabled: true,
	}
	simulated = rulebook.Simulated{
		Digest: "digest-1", At: at, From: at, To: at, Position: 1, Complete: true, Requests: 2, WouldApprove: 3,
		WouldDeny: 4, Differs: 5, Fetches: 6,
	}
	wrap = codec.Wrapping{MasterKeyID: "1111111111111111", Key: "d3JhcHBlZA"}
)

var signingKeys = installation.Keys{
	SigningKey: public,
	Former: []installation.FormerKey{{
		SigningKey: installation.SigningKey{
			PublicKey:   installation.PublicKey{ID: "key-1", Public: "Zm9ybWVy", SecretID: "secret-1"},
			MACSecretID: "secret-4", Since: at, Epoch: "copy 1",
		},
		EndedAt: at,
		Heads:   installation.Heads{ID: "heads-1", Digest: "ZGlnZXN0", Streams: 7},
	}},
}

// samples has every name of the table with every field filled, so that the golden files notice each
// change.
var samples = map[string]any{
	"credential.vended.v1": agent.CredentialVended{
		ToolID: "tool-1", SecretID: "secret-1", CredentialVersion: 2, InstructionsVersion: 3, KeyNumber: 4,
		Identity: presented,
	},
	"credential.refused.v1": codec.CredentialRefused{
		AgentID: "agent-1", ToolID: "tool-1", Reason: "access_not_approved", Count: 5, LastAt: at,
		Identity: presented,
	},
	"agent.key_refused.v1": codec.KeyRefused{
		AgentID: "agent-1", KeyID: "key-1", Reason: "rotated", Count: 5, LastAt: at, Identity: presented,
	},
	"use.noted.v1":             codec.UseNoted{ActorID: "token-1"},
	"service_token.refused.v1": codec.TokenRefused{TokenID: "token-1", Count: 5, LastAt: at},

	"installation.begun.v1": installation.Begun{
		StoreID: "store-1", OrganizationID: "org-1", SigningKey: public,
		CheckpointKey:  installation.PublicKey{ID: "key-3", Public: "dGhpcmQ", SecretID: "secret-4"},
		MasterKeys:     []installation.MasterKey{{ID: "1111111111111111", Check: "22222222222222222222222222222222"}},
		AdminTokenHash: "hash", AdminTokenID: "token-1", MinimumVersion: 1,
	},
	"master_key.added.v1": installation.MasterKeyAdded{
		MasterKey: installation.MasterKey{ID: "1111111111111111", Check: "22222222222222222222222222222222"},
	},
	"master_key.destroyed.v1": installation.MasterKeyDestroyed{ID: "1111111111111111"},
	"signing_key.added.v1":    installation.SigningKeyAdded{Keys: signingKeys},
	"signing_key.ended.v1":    installation.SigningKeyEnded{Keys: signingKeys, KeyID: "key-1"},
	"signing_key.recorded.v1": installation.SigningKeysRecorded{KeyID: "key-2", Revision: 3, Link: "bGluaw"},
	"heads.part.v1":           codec.SigningKeyHeads{Rows: []byte{1, 2, 3}},

	"log.restore_found.v1": installation.RestoreFound{
		Evidence: installation.Evidence{
			BackupID: "backup-1", Stream: "agent-1", Revision: 7, EventID: "event-1", EventAt: at,
			Alone: true, OrganizationID: "org-1", Reason: "truncated",
		},
	},
	"log.foreign_event_found.v1": installation.ForeignEventFound{
		Finding: installation.Finding{Stream: "agent-1", Revision: 7, Reason: "foreign", OrganizationID: "org-1"},
	},
	"log.restore_confirmed.v1": installation.RestoreConfirmed{SuspendedAgents: 2},

	"organization.created.v1": organization.Created{Name: "Ädams & <Sons>"},
	"service_token.created.v1": organization.TokenCreated{
		Number: 1, TokenID: "token-1", Sealed: "c2VhbGVk", Role: domain.RoleAdmin, Hash: "hash",
		ExpiresAt: &at, Configured: true,
	},
	"organization.updated.v1": organization.Updated{
		Name: new("Acme"), External: &organization.External{Issuer: "https://id.example.com", ID: "org_2abc"},
	},
	"member.invited.v1": organization.MemberInvited{
		InvitationID: "invitation-1", Sealed: "sealed", EmailHash: "hash", Role: domain.RoleAdmin, ExpiresAt: at,
		Tools: []string{"tool-1"},
	},
	"member.invitation_revoked.v1": organization.InvitationRevoked{InvitationID: "invitation-1"},
	"member.joined.v1": organization.MemberJoined{
		MemberID: "member-1", Role: domain.RoleAdmin, InvitationID: "invitation-1", Provisioned: true, RoleAsOf: new(at),
		Tools: []string{"tool-1"},
	},
	"member.updated.v1": organization.MemberUpdated{
		MemberID: "member-1", Role: domain.RoleViewer, Provisioned: true, RoleAsOf: new(at), Tools: []string{"tool-1"},
	},
	"member.removed.v1": organization.MemberRemoved{MemberID: "member-1"},
	"session.offered.v1": organization.SessionOffered{
		SessionID: "session-1", Number: 1, TokenID: "token-1", Hash: "hash", ExpiresAt: at,
	},
	"session.began.v1": organization.SessionBegan{
		SessionID: "session-1", Number: 1, MemberID: "member-1", TokenID: "token-1", Hash: "hash", ExpiresAt: at,
		PersonHash: "hash",
	},
	"session.all_ended.v1": organization.SessionsEnded{OwnerID: "member-1", Role: domain.RoleAdmin},
	"session.ended.v1":     organization.SessionEnded{SessionID: "session-1"},
	"privacy.month_erased.v1": organization.MonthErased{
		Month: "2026-03", Through: "2026-03-31", Days: 31, Reason: "its time is over",
	},
	"service_token.revoked.v1": organization.TokenRevoked{Number: 1, TokenID: "token-1"},

	"rule.added.v1":   rulebook.Added{RuleID: "rule-1", Rule: ruleText, Simulated: &simulated},
	"rule.changed.v1": rulebook.Changed{RuleID: "rule-1", Version: 2, Rule: ruleText, Simulated: &simulated},
	"rule.removed.v1": rulebook.Removed{RuleID: "rule-1"},
	"rule.failed.v1": rulebook.Failed{
		RuleID: "rule-1", Version: 2, RequestID: "request-1", Problem: "it takes too long",
	},

	"notification_channel.added.v1": organization.ChannelAdded{
		ChannelID: "channel-1", Kind: organization.Webhook, Name: "Ops", Topics: []domain.Topic{domain.AccessRequested},
		SecretID: "secret-1", Host: "example.com", Recipients: 1,
	},
	"notification_channel.updated.v1": organization.ChannelUpdated{
		ChannelID: "channel-1", Name: new("Ops"), Topics: []domain.Topic{domain.GrantExpiring}, SecretID: "secret-2",
		Replaces: "secret-1", Host: "example.com", Recipients: 2,
	},
	"notification_channel.removed.v1": organization.ChannelRemoved{ChannelID: "channel-1", SecretID: "secret-1"},

	"delivery.queued.v1": delivery.Queued{
		OrganizationID: "org-1",
		ChannelID:      "channel-1",
		Topic:          domain.CredentialExpiring,
		About: delivery.About{
			Stream: "agent-1", Revision: 7, AgentID: "agent-1", ToolID: "tool-1", RequestID: "request-1",
			SuggestionID: "suggestion-1", EndsAt: &at,
		},
	},
	"delivery.claimed.v1":   delivery.Claimed{Attempt: 1, Until: at},
	"delivery.succeeded.v1": delivery.Succeeded{Attempt: 1, Digest: "digest-1"},
	"delivery.failed.v1":    delivery.Failed{Attempt: 1, Problem: "it answered 500", NextAt: at, Alone: true},
	"delivery.abandoned.v1": delivery.Abandoned{Attempt: 2, Problem: "it answered 410"},
	"delivery.requeued.v1":  delivery.Requeued{},
	"lane.claimed.v1": lane.Claimed{
		OrganizationID: "org-1",
		Turn:           1,
		Deliveries:     []string{"delivery-1", "delivery-2"},
		Until:          at,
	},
	"lane.released.v1": lane.Released{Turn: 1},
	"lane.held.v1":     lane.Held{Turn: 1, Until: at, Asked: true},
	"lane.resumed.v1":  lane.Resumed{},

	"agent.registered.v1": agent.Registered{
		OrganizationID: "org-1", Name: "Ädams \"bot\"", Description: "line\nline", OwnerID: "person-1",
		Key: agent.Key{Number: 1, ID: "key-1", Hash: "hash"}, Labels: labels,
	},
	"agent.updated.v1": agent.Updated{
		Name: new("name"), Description: new(""), OwnerID: new("person-1"), Labels: new(domain.Labels("")),
	},
	"agent.key_rotated.v1": agent.KeyRotated{
		Key: agent.Key{Number: 2, ID: "key-2", Hash: "hash"}, Ended: []agent.KeyEnd{{Number: 1, At: at}},
	},
	"agent.identity_bound.v1": agent.IdentityBound{
		Number: 2, Identity: agent.Identity{
			Issuer: "https://ci.example", Audience: "agentkey", Claims: map[string]string{"repository_id": "7", "sub": "a"},
			Keys: `{"keys":[]}`,
		},
	},
	"agent.identity_unbound.v1": agent.IdentityUnbound{Number: 2},
	"agent.suspended.v1":        agent.Suspended{},
	"agent.reactivated.v1":      agent.Reactivated{},
	"agent.retired.v1":          agent.Retired{},
	"grant.requested.v1": agent.GrantRequested{
		ToolID: "tool-1", RequestID: "request-1", Reason: "to deploy", SuggestionID: "suggestion-1",
		ToolFreezes: 2, RequestedSeconds: 3600,
	},
	"grant.withdrawn.v1":      agent.GrantWithdrawn{ToolID: "tool-1", RequestID: "request-1"},
	"grant.approval_given.v1": agent.GrantApprovalGiven{ToolID: "tool-1", RequestID: "request-1", DecidedOn: "d1"},
	"grant.approved.v1": agent.GrantApproved{
		ToolID: "tool-1", RequestID: "request-1", SecretID: "secret-1", ExpiresAt: &at, DecidedOn: "d1",
		CredentialFields: domain.Parts{"key", "user"}, ToolFreezes: 2, RequiredApprovals: 2,
		Approvals: []agent.Approval{{By: domain.Actor{Type: domain.ActorHuman, ID: "member-1"}, At: at, DecidedOn: "d1"}},
		Rule:      rule,
	},
	"grant.denied.v1": agent.GrantDenied{
		ToolID: "tool-1", RequestID: "request-1", Reason: "no", DecidedOn: "d1", Rule: rule,
	},
	"grant.assigned.v1": agent.GrantAssigned{
		ToolID: "tool-1", SecretID: "secret-1", ExpiresAt: &at, Reason: "to deploy", SuggestionID: "suggestion-1",
		CredentialFields: domain.Parts{"key", "user"}, ToolFreezes: 2,
	},
	"grant.revoked.v1": agent.GrantRevoked{
		ToolID: "tool-1", RequestID: "request-1", SecretID: "secret-1", Cause: agent.CauseToolRemoved,
	},
	"grant.expired.v1": agent.GrantExpired{ToolID: "tool-1", SecretID: "secret-1"},
	"grant.credential_replaced.v1": agent.GrantCredentialReplaced{
		ToolID: "tool-1", SecretID: "secret-2", Replaces: "secret-1", CredentialVersion: 2, ExpiresAt: &at,
		CredentialFields: domain.Parts{"key", "user"},
	},
	"tool.frozen.v1":   catalog.ToolFrozen{ToolID: "tool-1", Freeze: 2},
	"tool.unfrozen.v1": catalog.ToolUnfrozen{ToolID: "tool-1"},
	"tool.removed.v1":  catalog.ToolRemoved{ToolID: "tool-1", SecretID: "secret-1"},
	"tool.credential_rotated.v1": catalog.ToolCredentialRotated{
		ToolID: "tool-1", SecretID: "secret-2", Replaces: "secret-1", CredentialVersion: 2, ExpiresAt: &at,
		CredentialFields: domain.Parts{"key", "user"},
	},
	"tool.instructions_revised.v1": catalog.ToolInstructionsRevised{
		ToolID: "tool-1", Version: 3, Instructions: "use it\u2028so", RestoredFrom: 1, NoteID: "note-1",
		DecidedOn: "d1",
	},
	"tool.added.v1": catalog.ToolAdded{
		ToolID: "tool-1", Name: "Straße", FoldedName: "strasse", Description: "d",
		URL: "https://api.example.com/a?b=c&d=e", Site: "example.com",
		DocsURL: "https://docs.example.com", AuthType: "api_key", Mode: catalog.Shared, SecretID: "secret-1",
		MaxGrantSeconds: 86_400, CredentialFields: domain.Parts{"key", "user"},
		Approval: domain.ApprovalRules{
			SeparationOfDuties: true, RequiredApprovals: 2,
			AllowedHours: domain.AllowedHours{TimeZone: "Europe/Berlin", Days: "mon,fri", From: "09:00", To: "18:00"},
		},
		Labels: labels,
	},
	"tool.updated.v1": catalog.ToolUpdated{
		ToolID: "tool-1", Name: new("name"), FoldedName: new("name"), Description: new("d"),
		URL: new("https://example.com"), Site: new("example.com"),
		DocsURL: new("https://docs.example.com"), AuthType: new(catalog.AuthType("other")),
		MaxGrantSeconds: new(int64(60)), Approval: &domain.ApprovalRules{RequiredApprovals: 3}, Labels: &labels,
	},
	"suggestion.made.v1": catalog.SuggestionMade{
		SuggestionID: "suggestion-1", Name: "C++", FoldedName: "c++", URL: "https://cpp.example.com",
		Site: "example.com", AgentID: "agent-1", Reason: "to compile",
	},
	"suggestion.backed.v1": catalog.SuggestionBacked{
		SuggestionID: "suggestion-1", AgentID: "agent-2", Name: "C plus plus", URL: "https://example.com",
		Reason: "me too", Reopens: true,
	},
	"suggestion.dismissed.v1": catalog.SuggestionDismissed{
		SuggestionID: "suggestion-1", Reason: "not now", DecidedOn: "d1",
	},
	"suggestion.accepted.v1": catalog.SuggestionAccepted{
		SuggestionID: "suggestion-1", ToolID: "tool-1",
		Decisions: []catalog.Decision{
			{
				AgentID: "agent-1", Outcome: catalog.Pending, Why: "each agent needs its own", Reason: "to compile",
				Suspensions: 2,
			},
			{AgentID: "agent-2", Outcome: catalog.Skipped, Why: "the agent is suspended"},
		}, DecidedOn: "d1",
	},
	"suggestion.redirected.v1": catalog.SuggestionRedirected{
		SuggestionID: "suggestion-1", ToolID: "tool-1",
		Decisions: []catalog.Decision{
			{AgentID: "agent-1", Outcome: catalog.Pending, Why: "w", Reason: "to compile", Suspensions: 1},
		},
	},
	"suggestion.cooldown_refused.v1": catalog.SuggestionCooldownRefused{
		SuggestionID: "suggestion-1", AgentID: "agent-1",
	},
	"catalog.change_planned.v1": catalog.ChangePlanned{
		ChangeID: "change-1",
		Parts:    []catalog.ChangePart{{SecretID: "secret-1", Events: 512}, {SecretID: "secret-2", Events: 7}},
	},
	"catalog.change_completed.v1": catalog.ChangeCompleted{ChangeID: "change-1"},

	"instruction_suggestion.made.v1": guide.NoteMade{
		NoteID: "note-1", ToolID: "tool-1", AgentID: "agent-1", Learned: "Page by cursor.",
		FoldedText: "page by cursor.", Why: "offsets end at 1,000", GuideVersion: 3,
	},
	"instruction_suggestion.backed.v1": guide.NoteBacked{
		NoteID: "note-1", ToolID: "tool-1", AgentID: "agent-2", Why: "so it is",
	},
	"instruction_suggestion.accepted.v1": guide.NoteAccepted{
		NoteID: "note-1", ToolID: "tool-1", GuideVersion: 4, DecidedOn: "d1",
	},
	"instruction_suggestion.dismissed.v1": guide.NoteDismissed{
		NoteID: "note-1", ToolID: "tool-1", Reason: "it is in the guide", DecidedOn: "d1",
	},

	"call.refused.v1": codec.CallRefused{Operation: "freeze", Role: domain.RoleViewer, Count: 3, LastAt: at},
	"directory.entered.v1": codec.DirectoryEntered{
		OrganizationID: "organization-1", MemberID: "member-1", AgentID: "agent-1", Claims: "aud,sub", Issuer: "i",
	},
	"request.opened.v1":  codec.RequestOpened{AgentID: "agent-1", ToolID: "tool-1"},
	"person.recorded.v1": person.Recorded{OrganizationID: "org-1", KeyID: "key-1", Sealed: "c2VhbGVk"},
	"person.erased.v1":   person.Erased{OrganizationID: "org-1"},
	"secret.sealed.v1": codec.SecretSealed{
		SecretID: "secret-1", OrganizationID: "org-1", Purpose: "credential", Owner: "tool-1",
		Format: "agentkey.secret.v1", Sealed: "c2VhbGVk", Wrapping: wrap,
	},
	"secret.rewrapped.v1":  codec.SecretRewrapped{SecretID: "secret-1", Wrapping: wrap},
	"once.reserved.v1":     codec.OnceReserved{Request: "hmac", CommandID: "command-1"},
	"once.completed.v1":    codec.OnceCompleted{Sealed: "c2VhbGVk"},
	"once.released.v1":     codec.OnceReleased{},
	"checkpoint.signed.v1": codec.CheckpointSigned{Note: "agentkey/org-1\n1\nAAAA\n\n— agentkey/org-1 AAAA\n"},
	"checkpoint.cosigned.v1": codec.CheckpointCosigned{
		Size: 1, Witness: "witness.example.com+00000000+BAAA", Line: "— witness.example.com AAAA",
	},
	"reaction.handled.v1": codec.ReactionHandled{Stream: "agent-1", Revision: 7},
}

// golden returns what was stored under a name when it was first written.
func golden(t *testing.T, file string, now []byte) []byte {
	t.Helper()
	path := filepath.Join("testdata", file)
	stored, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) && *update {
		stored = append(now, '\n')
		err = os.WriteFile(path, stored, 0o644)
	}
	if err != nil {
		t.Fatalf("%v (go test ./eventstore/codec -update writes a new one)", err)
	}
	return bytes.TrimSuffix(stored, []byte("\n"))
}

// TestGoldenEvents says that what was ever stored is read as ever, and written as ever.
func TestGoldenEvents(t *testing.T) {
	for _, name := range codec.Names() {
		t.Run(name, func(t *testing.T) {
			sample, known := samples[name]
			if !known {
				t.Fatal("the name has no sample")
			}
			as, data, err := codec.Encode(sample)
			if err != nil || as != name {
				t.Fatalf("encoded as %q: %v", as, err)
			}
			stored := golden(t, name+".json", data)
			if string(stored) != string(data) {
				t.Errorf("it is written as\n%s\nand was\n%s", data, stored)
			}
			event, err := codec.Decode(name, stored)
			if diff := cmp.Diff(sample, event); diff != "" || err != nil {
				t.Errorf("it is read otherwise (-want +got):\n%s%v", diff, err)
			}
			if hole := hole(reflect.ValueOf(sample), ""); hole != "" {
				t.Errorf("the sample leaves %s empty, so its golden file would not notice a change", hole)
			}
		})
	}
}

// hole names the first field that a value leaves empty; "" when none does.
func hole(v reflect.Value, path string) string {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil(): // even to an empty string: it is written
		return ""
	case v.Type() == reflect.TypeFor[time.Time]() && !v.IsZero():
		return ""
	case v.Kind() == reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Tag.Get("json") == "-" { // it isn't stored
				continue
			}
			if h := hole(v.Field(i), path+"."+v.Type().Field(i).Name); h != "" {
				return h
			}
		}
		return ""
	case v.Kind() == reflect.Slice && v.Len() > 0:
		return hole(v.Index(0), path+"[0]")
	case v.IsZero():
		return path
	}
	return ""
}

func TestEveryNameHasASampleAndAGoldenFile(t *testing.T) {
	names := codec.Names()
	for name := range samples {
		if !slices.Contains(names, name) {
			t.Errorf("%s left the table: what was stored can't be read any more", name)
		}
	}
	files, err := filepath.Glob(filepath.Join("testdata", "*.v[0-9]*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if name := strings.TrimSuffix(filepath.Base(file), ".json"); !slices.Contains(names, name) {
			t.Errorf("%s was stored once and left the table", name)
		}
	}
	if len(files) != len(names) {
		t.Errorf("%d golden files for %d names", len(files), len(names))
	}
	shape := regexp.MustCompile(`^[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*\.v[1-9][0-9]*$`)
	seen := map[string]bool{}
	for _, name := range names {
		if !shape.MatchString(name) || seen[name] {
			t.Errorf("%q is not a name, or appears twice", name)
		}
		seen[name] = true
	}
}

// TestEveryEventOfTheDomainIsInTheTable reads the domain's source for the types of its sealed
// interfaces.
func TestEveryEventOfTheDomainIsInTheTable(t *testing.T) {
	inTable := map[string]bool{}
	for _, sample := range samples {
		inTable[fmt.Sprintf("%T", sample)] = true
	}
	files, err := filepath.Glob("../../domain/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			method, ok := d.(*ast.FuncDecl)
			if !ok || method.Recv == nil || !strings.HasSuffix(method.Name.Name, "Event") ||
				len(method.Type.Params.List) > 0 || method.Type.Results != nil {
				continue
			}
			receiver, ok := method.Recv.List[0].Type.(*ast.Ident)
			if !ok {
				t.Fatalf("%s: an event's method has another receiver", file)
			}
			found++
			if name := parsed.Name.Name + "." + receiver.Name; !inTable[name] {
				t.Errorf("%s can happen and not be stored", name)
			}
		}
	}
	if found < 20 {
		t.Errorf("only %d events were found", found)
	}
}

func TestUnknownEventsAreNeverSkipped(t *testing.T) {
	for _, tt := range []struct{ name, data string }{
		{"grant.approved.v2", `{}`},
		{"", `{}`},
		{"$metadata", `{}`},
		{"~snapshot.v1", `{}`},
		{"tool.removed.v1", `{"tool_id":"t","why":"new field"}`},
		{"secret.rewrapped.v1", `{"secret_id":"s","wrapping":{"master_key_id":"m","key":"k","hsm":true}}`},
		{"once.released.v1", `{"by":"x"}`},
		{"tool.removed.v1", `{"tool_id":7}`},
		{"tool.removed.v1", `{"tool_id":"t"}{"tool_id":"u"}`},
		{"tool.removed.v1", `not JSON`},
		{"tool.removed.v1", ``},
	} {
		if event, err := codec.Decode(tt.name, []byte(tt.data)); !errors.Is(err, codec.ErrUnknownEvent) {
			t.Errorf("%s %s: %v %v", tt.name, tt.data, event, err)
		}
	}
	for _, stranger := range []any{struct{}{}, nil, &agent.Suspended{}, "text"} {
		if name, _, err := codec.Encode(stranger); err == nil {
			t.Errorf("%T was encoded as %q", stranger, name)
		}
	}
}

// TestAnEventWithOnlyWhatItNeedsRoundTrips: what is omitted comes back as nothing.
func TestAnEventWithOnlyWhatItNeedsRoundTrips(t *testing.T) {
	for name, sample := range samples {
		zero := reflect.Zero(reflect.TypeOf(sample)).Interface()
		as, data, err := codec.Encode(zero)
		if err != nil || as != name {
			t.Fatalf("%s: encoded as %s: %v", name, as, err)
		}
		event, err := codec.Decode(name, data)
		if diff := cmp.Diff(zero, event); diff != "" || err != nil {
			t.Errorf("%s (-want +got):\n%s%v", name, diff, err)
		}
	}
}
