package export

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"agentkey/audit/actions"
	"agentkey/domain"
	"agentkey/readmodels"
)

// ocsfVersion is the release of the Open Cybersecurity Schema Framework that the lines follow.
const ocsfVersion = "1.3.0"

// product is what the program is called.
const product = "AgentKey"

// ocsfDetail is what OCSF has a place for in the data of events.
type ocsfDetail struct {
	Reason    string     `json:"reason"`
	Problem   string     `json:"problem"`
	RequestID string     `json:"request_id"`
	Count     int        `json:"count"`
	LastAt    *time.Time `json:"last_at"`
}

// AppendOCSF appends an entry as an event of OCSF, in a line of JSON.
func AppendOCSF(text []byte, e Entry) ([]byte, error) {
	a, known := ocsfActions[e.Action]
	if !known {
		return nil, fmt.Errorf("%s has no place in OCSF", e.Action)
	}
	var d ocsfDetail
	if len(e.Data) > 0 {
		if err := json.Unmarshal(e.Data, &d); err != nil {
			return nil, fmt.Errorf("read the data of %s: %w", e.ID, err)
		}
	}
	event := ocsfOf(e, a, d)
	var err error
	if event.Message, err = actions.Summary(e.AuditEntry); err != nil {
		return nil, err
	}
	line, err := json.Marshal(event)
	if err != nil {
		return nil, fmt.Errorf("write %s as OCSF: %w", e.ID, err)
	}
	return append(append(text, line...), '\n'), nil
}

func ocsfOf(e Entry, a ocsfAction, d ocsfDetail) ocsfEvent {
	class := ocsfClasses[a.class]
	out := ocsfEvent{
		ClassUID: a.class, ClassName: class.name, CategoryUID: class.category,
		ActivityID: a.activity, ActivityName: cmp.Or(class.activities[a.activity], a.word),
		TypeUID: a.class*100 + a.activity, SeverityID: a.severity, Severity: severities[a.severity],
		StatusID: a.status, Status: statuses[a.status],
		Time: e.OccurredAt.UnixMilli(),
		Metadata: ocsfMetadata{
			Version: ocsfVersion, Product: ocsfProduct{Name: product, VendorName: product, Version: e.Version},
			UID: e.ID, EventCode: e.Action, Sequence: e.Position, TenantUID: e.Organization, CorrelationUID: e.RequestID,
			LogName: "audit", LogProvider: product, Profiles: class.profiles,
		},
		Actor: actorOf(e), Source: sourceOf(e), Unmapped: unmappedOf(e),
	}
	if a.status == failure {
		out.StatusCode, out.StatusDetail = d.Reason, d.Problem
	}
	if d.LastAt != nil {
		out.Count, out.EndTime = d.Count, d.LastAt.UnixMilli()
	}
	if e.RequestID != "" {
		out.Request = &ocsfRequest{UID: e.RequestID, UserAgent: e.UserAgent}
	}
	switch a.class {
	case apiActivity:
		out.API = apiOf(e, a, d)
		out.Resources = []ocsfThing{{UID: e.Target.ID, Name: e.Target.Label, Type: words(e.Target.Type)}}
		if out.Source == nil { // the class wants one
			out.Source = &ocsfEndpoint{Name: "unknown"}
		}
	case accountChange:
		out.User, out.Policy = accountOf(e)
	case entityManagement:
		out.Entity = entityOf(e, d)
		if e.Actor.Type != domain.ActorSystem {
			out.Comment = d.Reason
		}
	}
	return out
}

// operator acts by a command on the host. It is a person, and not a part of the program.
const operator = "operator"

// actorOf names a part of the program as an application, and as its user the one for whom it acts.
func actorOf(e Entry) ocsfActor {
	if e.Actor.Type != domain.ActorSystem || e.Actor.ID == operator {
		return ocsfActor{User: userOf(e.Actor)}
	}
	out := ocsfActor{AppUID: e.Actor.ID, AppName: cmp.Or(e.Actor.Label, product)}
	if e.OnBehalfOf.ID != "" {
		out.User = userOf(e.OnBehalfOf)
	}
	return out
}

func userOf(a domain.Actor) *ocsfUser {
	out := &ocsfUser{UID: a.ID, Name: a.Label, TypeID: other, Type: words(string(a.Type))}
	switch a.Type {
	case domain.ActorHuman:
		out.TypeID, out.Type = 1, "User"
	case domain.ActorSystem:
		out.TypeID, out.Type = 3, "System"
		if a.ID == operator {
			out.TypeID, out.Type = 2, "Admin"
		}
	case domain.ActorAgent, domain.ActorService:
	}
	if out.UID == "" && out.Name == "" {
		out.Name = "unknown"
	}
	return out
}

// accountOf returns whose account changes: an agent's, a member's or a service token's. What is
// attached to it and detached from it is access to a tool.
func accountOf(e Entry) (user *ocsfUser, policy *ocsfThing) {
	if e.ToolID != "" {
		policy = &ocsfThing{UID: e.ToolID, Name: e.ToolName}
	}
	if e.Target.Type == "service_token" {
		return userOf(domain.Actor{Type: domain.ActorService, ID: e.Target.ID, Label: e.Target.Label}), policy
	}
	if e.Target.Type == "member" {
		return userOf(domain.Actor{Type: domain.ActorHuman, ID: e.Target.ID, Label: e.Target.Label}), policy
	}
	return userOf(domain.Actor{Type: domain.ActorAgent, ID: e.AgentID, Label: e.AgentName}), policy
}

func entityOf(e Entry, d ocsfDetail) *ocsfEntity {
	out := &ocsfEntity{UID: e.Target.ID, Name: e.Target.Label, TypeID: other, Type: words(e.Target.Type)}
	switch {
	case strings.HasPrefix(e.Action, "grant."): // whose target is the tool
		out.Type, out.UID = "grant", d.RequestID
	case e.Target.Type == "agent":
		out.TypeID, out.Type = 2, "User"
		out.User = userOf(domain.Actor{Type: domain.ActorAgent, ID: e.Target.ID, Label: e.Target.Label})
	case e.Target.Type == "person":
		out.TypeID, out.Type = 2, "User"
		out.User = userOf(domain.Actor{Type: domain.ActorHuman, ID: e.Target.ID, Label: e.Target.Label})
	case e.Target.Type == "organization":
		out.TypeID, out.Type = 4, "Organization"
		out.Org = &ocsfThing{UID: e.Target.ID, Name: e.Target.Label}
	}
	if out.UID == "" && out.Name == "" {
		out.Name = "unknown"
	}
	return out
}

func apiOf(e Entry, a ocsfAction, d ocsfDetail) *ocsfAPI {
	out := &ocsfAPI{Operation: a.word, Service: ocsfThing{Name: product}}
	if e.RequestID != "" {
		out.Request = &ocsfAPIRequest{UID: e.RequestID}
	}
	if a.status == failure && d.Reason != "" {
		out.Response = &ocsfAPIResponse{Error: d.Reason}
	}
	return out
}

// sourceOf returns nil if no address is known, such as that of an erased person.
func sourceOf(e Entry) *ocsfEndpoint {
	address, err := netip.ParseAddr(e.Address)
	if err != nil {
		return nil
	}
	return &ocsfEndpoint{IP: address.Unmap().WithZone("").String()}
}

func unmappedOf(e Entry) ocsfUnmapped {
	out := ocsfUnmapped{
		Stream: e.Stream, Revision: e.Revision, ActorType: string(e.Actor.Type), Data: e.Data,
		Target: ocsfThing{UID: e.Target.ID, Name: e.Target.Label, Type: e.Target.Type},
	}
	if by := e.OnBehalfOf; by.ID != "" {
		out.OnBehalfOf = &ocsfThing{UID: by.ID, Name: by.Label, Type: string(by.Type)}
	}
	if e.AgentID != "" {
		out.Agent = &ocsfThing{UID: e.AgentID, Name: e.AgentName}
	}
	if e.ToolID != "" {
		out.Tool = &ocsfThing{UID: e.ToolID, Name: e.ToolName}
	}
	if c := e.Current; c != (readmodels.Current{}) {
		out.Current = &ocsfCurrent{
			Actor: c.Actor, OnBehalfOf: c.OnBehalfOf, Target: c.Target, Agent: c.Agent, Tool: c.Tool,
		}
	}
	return out
}

func words(name string) string { return strings.ReplaceAll(name, "_", " ") }
