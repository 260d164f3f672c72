package compat

import (
	"net/http"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// The login types that are known, if only to be refused (Matrix CS §login).
const (
	typePassword           = "m.login.password"
	typeApplicationService = "m.login.application_service"
)

// The identifier types (Matrix CS §identifier-types).
const (
	identifierUser       = "m.id.user"
	identifierThirdParty = "m.id.thirdparty"
	identifierPhone      = "m.id.phone"
)

// loginRequest is the body of POST /login. Top-level user, medium and address are the deprecated way to identify somebody.
type loginRequest struct {
	Type       *string     `json:"type"`
	Identifier *identifier `json:"identifier"`
	User       string      `json:"user"`
	Medium     string      `json:"medium"`
	Address    string      `json:"address"`
	Password   *string     `json:"password"`

	DeviceID     *string `json:"device_id"`
	DisplayName  string  `json:"initial_device_display_name"`
	RefreshToken bool    `json:"refresh_token"`
	MSC2918      bool    `json:"org.matrix.msc2918.refresh_token"`
}

// identifier says who logs in, in one of three forms.
type identifier struct {
	Type    string  `json:"type"`
	User    *string `json:"user"`
	Medium  *string `json:"medium"`
	Address *string `json:"address"`
	Country *string `json:"country"`
	Phone   *string `json:"phone"`
}

// loginReply is the answer to POST /login. home_server is deprecated, and Synapse still sends it.
type loginReply struct {
	UserID     mxid.UserID     `json:"user_id"`
	DeviceID   mxid.DeviceID   `json:"device_id"`
	HomeServer mxid.ServerName `json:"home_server"`
	tokensReply
}

// flow is one entry of GET /login.
type flow struct {
	Type string `json:"type"`
}

// errUnknownLogin: a login type that does not exist or is switched off.
var errUnknownLogin = badRequest(matrixerr.Unknown, "Unknown login type")

// flows lists the login types that work (Matrix CS §login). It asks for nothing and reads no token.
func (h *Handler) flows(w http.ResponseWriter, r *http.Request) {
	flows := []flow{}
	if h.service.PasswordEnabled() {
		flows = append(flows, flow{Type: typePassword})
	}
	h.writeReply(w, r, h.endpoints[route.Login], noStore, map[string][]flow{"flows": flows})
}

// login starts a session (Matrix CS §login).
func (h *Handler) login(r *http.Request, from auth.From) (any, error) {
	q, err := decode[loginRequest](r)
	if err != nil {
		return nil, err
	}
	if err := q.checkType(); err != nil {
		return nil, err
	}
	p, err := q.params(h.server)
	if err != nil {
		return nil, err
	}
	p.From = from
	tokens, err := h.service.Login(r.Context(), p)
	if err != nil {
		return nil, err
	}
	return loginReply{
		UserID:      tokens.UserID,
		DeviceID:    tokens.DeviceID,
		HomeServer:  h.server,
		tokensReply: h.tokensReply(tokens),
	}, nil
}

// checkType refuses every login type but passwords.
func (q *loginRequest) checkType() error {
	switch {
	case q.Type == nil:
		return missing("type")
	case *q.Type == typePassword:
		return nil
	case *q.Type == typeApplicationService:
		// Application services use their own token, and make devices by PUT /devices (Matrix CS §login, MSC4190).
		return badRequest(matrixerr.AppserviceLoginUnsupported, "Application services cannot log in here")
	}
	return errUnknownLogin
}

// params turns a password login into the use case's parameters.
func (q *loginRequest) params(server mxid.ServerName) (auth.LoginParams, error) {
	name, localpart, err := q.who(server)
	if err != nil {
		return auth.LoginParams{}, err
	}
	if q.Password == nil {
		return auth.LoginParams{}, missing("password")
	}
	p := auth.LoginParams{
		Name:        name,
		Localpart:   localpart,
		Password:    token.NewSecret(*q.Password),
		DisplayName: q.DisplayName,
		Refreshable: q.RefreshToken || q.MSC2918,
	}
	if q.DeviceID == nil {
		return p, nil
	}
	if p.DeviceID, err = mxid.ParseDeviceID(*q.DeviceID); err != nil {
		return auth.LoginParams{}, badRequest(matrixerr.InvalidParam, "device_id must have 1 to 255 characters and no controls")
	}
	return p, nil
}

// who finds out who wants to log in: the name for the limits, and the localpart if it can be a user of this server. The
// deprecated user goes before identifier, as in Synapse; identifier may lack its type, as in an example of the specification.
func (q *loginRequest) who(server mxid.ServerName) (name string, l mxid.Localpart, err error) {
	switch {
	case q.User != "":
		name, l = resolve(q.User, server)
		return name, l, nil
	case q.Medium != "" && q.Address != "":
		return thirdParty(q.Medium, q.Address), "", nil
	case q.Identifier == nil:
		return "", "", missing("identifier")
	}
	return q.Identifier.who(server)
}

// who is loginRequest.who for the identifier. An address belongs to nobody as long as users have none: it is answered as an
// unknown user is, after the same work.
func (i *identifier) who(server mxid.ServerName) (name string, l mxid.Localpart, err error) {
	switch i.kind() {
	case identifierUser:
		if i.User == nil {
			return "", "", missing("identifier.user")
		}
		name, l = resolve(*i.User, server)
		return name, l, nil
	case identifierThirdParty:
		if i.Medium == nil || i.Address == nil {
			return "", "", missing("identifier.medium or identifier.address")
		}
		return thirdParty(*i.Medium, *i.Address), "", nil
	case identifierPhone:
		if i.Country == nil || i.Phone == nil {
			return "", "", missing("identifier.country or identifier.phone")
		}
		return thirdParty("phone", *i.Country+" "+*i.Phone), "", nil
	case "":
		return "", "", missing("identifier.type")
	}
	return "", "", badRequest(matrixerr.Unknown, "Unknown login identifier type")
}

// kind is the type of an identifier, guessed from its members if it has none.
func (i *identifier) kind() string {
	switch {
	case i.Type != "":
		return i.Type
	case i.User != nil:
		return identifierUser
	case i.Address != nil:
		return identifierThirdParty
	case i.Phone != nil:
		return identifierPhone
	}
	return ""
}

// resolve finds the localpart of what somebody typed, empty if it cannot be a user of this server. All spellings of one user
// are one name.
func resolve(user string, server mxid.ServerName) (name string, l mxid.Localpart) {
	l, err := mxid.Resolve(user, server)
	if err != nil {
		return user, ""
	}
	return string(l), l
}

// thirdParty is the name of an address. A localpart has no space, so they cannot be confused.
func thirdParty(medium, address string) string { return medium + " " + address }

// missing makes the failure for an absent member.
func missing(member string) error {
	return badRequest(matrixerr.MissingParam, "Missing "+member)
}
