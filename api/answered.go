package api

import (
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
)

// Answered is a call and its result, for metrics. It doesn't say who called or for what, and
// however calls are made, each member has few values.
type Answered struct {
	Operation string // its name in the document, "" when it has none
	Method    string // "other" unless HTTP defines it
	Route     string // with the names of parameters in place of their values; "unknown" when there is none
	Status    int
	Code      string // of the refusal or fault, "" on success
	Took      time.Duration
}

func answered(c *gin.Context, call *call, took time.Duration) Answered {
	a := Answered{Method: c.Request.Method, Route: c.FullPath(), Status: c.Writer.Status(), Code: call.code, Took: took}
	if call.op != nil {
		a.Operation = call.op.ID
	}
	if a.Route == "" {
		a.Route = "unknown"
	}
	switch a.Method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
		http.MethodConnect, http.MethodOptions, http.MethodTrace:
	default: // a client may send any word
		a.Method = "other"
	}
	return a
}
