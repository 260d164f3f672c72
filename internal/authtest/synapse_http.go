package authtest

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// call is a decoded request. Pointers tell a member that is missing from one that is empty.
type call struct {
	Localpart        *string   `json:"localpart"`
	DeviceID         *string   `json:"device_id"`
	DeviceName       *string   `json:"display_name"`
	UserName         *string   `json:"displayname"`
	SetDisplayName   *string   `json:"set_displayname"`
	UnsetDisplayName *bool     `json:"unset_displayname"`
	Locked           *bool     `json:"locked"`
	Erase            *bool     `json:"erase"`
	Devices          *[]string `json:"devices"`
}

func (c *call) user() mxid.Localpart { return mxid.Localpart(value(c.Localpart)) }

func (c *call) device() mxid.DeviceID { return mxid.DeviceID(value(c.DeviceID)) }

func value[T any](p *T) (v T) {
	if p != nil {
		v = *p
	}
	return v
}

// reply is an answer: a status with a body, or a Matrix error.
type reply struct {
	status  int
	errcode string
	message string
	body    any // nil: {}
}

var (
	done    = reply{status: http.StatusOK}
	created = reply{status: http.StatusCreated}
	noUser  = reply{status: http.StatusNotFound, errcode: "M_NOT_FOUND", message: "User not found"}
)

func badRequest(errcode, message string) reply {
	return reply{status: http.StatusBadRequest, errcode: errcode, message: message}
}

// operation is one path of the API (Synapse rest/synapse/mas/*). serve is called with the mutex held.
type operation struct {
	method string
	needs  func(*call) []any // members that must be there
	serve  func(*Synapse, *call) reply
}

func localpartOnly(c *call) []any { return []any{c.Localpart} }

func localpartAndDevice(c *call) []any { return []any{c.Localpart, c.DeviceID} }

var operations = map[string]operation{
	"query_user":                 {http.MethodGet, localpartOnly, existing((*Synapse).queryUser)},
	"is_localpart_available":     {http.MethodGet, localpartOnly, (*Synapse).isLocalpartAvailable},
	"provision_user":             {http.MethodPost, localpartOnly, (*Synapse).provisionUser},
	"upsert_device":              {http.MethodPost, localpartAndDevice, existing((*Synapse).upsertDevice)},
	"update_device_display_name": {http.MethodPost, func(c *call) []any { return []any{c.Localpart, c.DeviceID, c.DeviceName} }, existing((*Synapse).renameDevice)},
	"delete_device":              {http.MethodPost, localpartAndDevice, existing((*Synapse).deleteDevice)},
	"sync_devices":               {http.MethodPost, func(c *call) []any { return []any{c.Localpart, c.Devices} }, existing((*Synapse).syncDevices)},
	"delete_user":                {http.MethodPost, func(c *call) []any { return []any{c.Localpart, c.Erase} }, existing((*Synapse).deleteUser)},
	"reactivate_user":            {http.MethodPost, localpartOnly, existing((*Synapse).reactivateUser)},
	"set_displayname":            {http.MethodPost, func(c *call) []any { return []any{c.Localpart, c.UserName} }, existing((*Synapse).setDisplayName)},
	"unset_displayname":          {http.MethodPost, localpartOnly, existing((*Synapse).unsetDisplayName)},
	"allow_cross_signing_reset":  {http.MethodPost, localpartOnly, existing((*Synapse).allowCrossSigningReset)},
}

// ServeHTTP implements http.Handler.
func (s *Synapse) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", "Synapse/"+s.Version)
	op, _ := strings.CutPrefix(r.URL.Path, "/_synapse/mas/")
	o, known := operations[op]
	c, bad := readCall(r)
	fault := s.arrive(r, op, known, c)
	switch {
	case r.URL.Path == "/_matrix/client/versions":
		writeReply(w, reply{status: http.StatusOK, body: map[string]any{"versions": []string{"v1.12"}}})
	case fault == Undelegated, !known:
		writeHTML(w, http.StatusNotFound)
	case fault == Garbage:
		writeHTML(w, http.StatusOK)
	case fault == Broken:
		writeReply(w, reply{status: http.StatusInternalServerError, errcode: "M_UNKNOWN", message: "Internal server error"})
	case r.Method != o.method:
		writeReply(w, reply{status: http.StatusMethodNotAllowed, errcode: "M_UNRECOGNIZED", message: "Unrecognized request"})
	case r.Header.Get("Authorization") == "":
		writeReply(w, reply{status: http.StatusUnauthorized, errcode: "M_MISSING_TOKEN", message: "Missing access token"})
	case fault == WrongSecret, r.Header.Get("Authorization") != "Bearer "+Secret:
		writeReply(w, reply{status: http.StatusForbidden, errcode: "M_UNKNOWN", message: "This endpoint must only be called by MAS"})
	case fault == Refused:
		writeReply(w, reply{status: http.StatusForbidden, errcode: "M_FORBIDDEN", message: "Not allowed"})
	case bad != "":
		writeReply(w, badRequest("M_NOT_JSON", bad))
	default:
		s.serve(w, o, c, fault)
	}
}

func (s *Synapse) serve(w http.ResponseWriter, o operation, c *call, fault Fault) {
	if missing(o.needs(c)) {
		writeReply(w, badRequest("M_MISSING_PARAM", "Field required"))
		return
	}
	s.mu.Lock()
	answer := o.serve(s, c)
	s.mu.Unlock()
	if fault == AnswerLost {
		panic(http.ErrAbortHandler)
	}
	writeReply(w, answer)
}

// arrive records a call and lets it suffer: it returns the fault that is left to be answered.
func (s *Synapse) arrive(r *http.Request, op string, known bool, c *call) Fault {
	s.mu.Lock()
	fault, own := s.faults[op]
	if !own {
		fault = s.fault
	}
	released := s.released
	if known && fault != Down {
		s.calls = append(s.calls, Call{Op: op, Localpart: c.user(), DeviceID: c.device()})
	}
	s.mu.Unlock()
	switch fault {
	case Down:
		panic(http.ErrAbortHandler)
	case Slow:
		select {
		case <-released:
		case <-r.Context().Done():
			panic(http.ErrAbortHandler)
		}
	}
	return fault
}

func readCall(r *http.Request) (c *call, problem string) {
	c = &call{}
	if r.Method == http.MethodGet {
		if q := r.URL.Query(); q.Has("localpart") {
			l := q.Get("localpart")
			c.Localpart = &l
		}
		return c, ""
	}
	body, err := io.ReadAll(r.Body) // To the end, or the server would not notice that the client goes away.
	if err != nil || json.Unmarshal(body, c) != nil {
		return c, "Content not JSON."
	}
	return c, ""
}

func missing(members []any) bool {
	return slices.ContainsFunc(members, func(m any) bool {
		switch p := m.(type) {
		case *string:
			return p == nil
		case *bool:
			return p == nil
		case *[]string:
			return p == nil
		}
		return true
	})
}

func writeReply(w http.ResponseWriter, a reply) {
	body := a.body
	switch {
	case a.errcode != "":
		body = map[string]string{"errcode": a.errcode, "error": a.message}
	case body == nil:
		body = struct{}{}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	if a.status != http.StatusNoContent {
		json.NewEncoder(w).Encode(body) //nolint:errcheck // The caller is gone.
	}
}

func writeHTML(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<html><title>%d</title></html>\n", status)
}

// tooLong reports whether a name has more than n characters, as Python counts them.
func tooLong(name *string, n int) bool { return utf8.RuneCountInString(value(name)) > n }

var _ http.RoundTripper = (*Synapse)(nil)
