package export

import "encoding/json"

// The structs are the part of OCSF that the audit uses. What it has no place for goes into
// unmapped.
type (
	ocsfEvent struct {
		ClassUID     int    `json:"class_uid"`
		ClassName    string `json:"class_name"`
		CategoryUID  int    `json:"category_uid"`
		ActivityID   int    `json:"activity_id"`
		ActivityName string `json:"activity_name"`
		TypeUID      int    `json:"type_uid"`
		SeverityID   int    `json:"severity_id"`
		Severity     string `json:"severity"`
		StatusID     int    `json:"status_id"`
		Status       string `json:"status"`
		StatusCode   string `json:"status_code,omitempty"`
		StatusDetail string `json:"status_detail,omitempty"`

		Time    int64  `json:"time"`
		Count   int    `json:"count,omitempty"`
		EndTime int64  `json:"end_time,omitempty"`
		Message string `json:"message"`
		Comment string `json:"comment,omitempty"`

		Metadata ocsfMetadata `json:"metadata"`
		Actor    ocsfActor    `json:"actor"`

		Entity    *ocsfEntity   `json:"entity,omitempty"`
		User      *ocsfUser     `json:"user,omitempty"`
		Policy    *ocsfThing    `json:"policy,omitempty"`
		API       *ocsfAPI      `json:"api,omitempty"`
		Resources []ocsfThing   `json:"resources,omitempty"`
		Source    *ocsfEndpoint `json:"src_endpoint,omitempty"`
		Request   *ocsfRequest  `json:"http_request,omitempty"`
		Unmapped  ocsfUnmapped  `json:"unmapped"`
	}
	ocsfMetadata struct {
		Version        string      `json:"version"`
		Product        ocsfProduct `json:"product"`
		UID            string      `json:"uid"`
		EventCode      string      `json:"event_code"`
		Sequence       uint64      `json:"sequence"`
		TenantUID      string      `json:"tenant_uid,omitempty"`
		CorrelationUID string      `json:"correlation_uid,omitempty"`
		LogName        string      `json:"log_name"`
		LogProvider    string      `json:"log_provider"`
		Profiles       []string    `json:"profiles,omitempty"`
	}
	ocsfProduct struct {
		Name       string `json:"name"`
		VendorName string `json:"vendor_name"`
		Version    string `json:"version,omitempty"`
	}
	// ocsfThing has a name, an id, or both.
	ocsfThing struct {
		UID  string `json:"uid,omitempty"`
		Name string `json:"name,omitempty"`
		Type string `json:"type,omitempty"`
	}
	ocsfUser struct {
		UID    string `json:"uid,omitempty"`
		Name   string `json:"name,omitempty"`
		TypeID int    `json:"type_id"`
		Type   string `json:"type"`
	}
	ocsfActor struct {
		User    *ocsfUser `json:"user,omitempty"`
		AppUID  string    `json:"app_uid,omitempty"`
		AppName string    `json:"app_name,omitempty"`
	}
	ocsfEntity struct {
		UID    string     `json:"uid,omitempty"`
		Name   string     `json:"name,omitempty"`
		TypeID int        `json:"type_id"`
		Type   string     `json:"type"`
		User   *ocsfUser  `json:"user,omitempty"`
		Org    *ocsfThing `json:"org,omitempty"`
	}
	ocsfAPI struct {
		Operation string           `json:"operation"`
		Service   ocsfThing        `json:"service"`
		Request   *ocsfAPIRequest  `json:"request,omitempty"`
		Response  *ocsfAPIResponse `json:"response,omitempty"`
	}
	ocsfAPIRequest struct {
		UID string `json:"uid"`
	}
	ocsfAPIResponse struct {
		Error string `json:"error"`
	}
	ocsfEndpoint struct {
		IP   string `json:"ip,omitempty"`
		Name string `json:"name,omitempty"`
	}
	ocsfRequest struct {
		UID       string `json:"uid"`
		UserAgent string `json:"user_agent,omitempty"`
	}
	ocsfUnmapped struct {
		Stream     string          `json:"stream"`
		Revision   uint64          `json:"revision"`
		ActorType  string          `json:"actor_type"`
		OnBehalfOf *ocsfThing      `json:"on_behalf_of,omitempty"`
		Target     ocsfThing       `json:"target"`
		Agent      *ocsfThing      `json:"agent,omitempty"`
		Tool       *ocsfThing      `json:"tool,omitempty"`
		Current    *ocsfCurrent    `json:"current,omitempty"`
		Data       json.RawMessage `json:"data,omitempty"`
	}
	ocsfCurrent struct {
		Actor      string `json:"actor,omitempty"`
		OnBehalfOf string `json:"on_behalf_of,omitempty"`
		Target     string `json:"target,omitempty"`
		Agent      string `json:"agent,omitempty"`
		Tool       string `json:"tool,omitempty"`
	}
)
