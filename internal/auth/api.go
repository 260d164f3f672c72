package auth

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/oklog/ulid/v2"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/password"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Config is what a Service keeps for its whole life.
type Config struct {
	DB         *store.DB
	ServerName mxid.ServerName
	Hasher     *password.Hasher
	Now        func() time.Time
	Rand       io.Reader
}

// Settings is what a configuration reload may change. A use case reads them once.
type Settings struct {
	Homeserver      Homeserver
	AccessTTL       time.Duration // access tokens of OAuth sessions; ≥ 60 s
	CompatTTL       time.Duration // access tokens of refreshable legacy sessions; ≥ 60 s
	RefreshGrace    time.Duration // how long a consumed refresh token outlives the first use of its successor
	RefreshIdle     time.Duration // sessions with a refresh token end after that long without any use; 0: never
	PasswordEnabled bool
	Clients         map[string]Client // OAuth clients of the configuration, by ID
	Admins          map[mxid.Localpart]bool
	LoginLimit      Limit       // failed passwords; the zero value means off, here and below
	AuthorizeLimit  Limit       // authorization requests per address
	DeviceCodeLimit Limit       // device authorization requests per address
	RegisterLimit   Limit       // client registrations per address
	Log             *zap.Logger // never nil
	Emit            func(Event) // audit log, metrics, Caddy events; never nil; must not block
}

// Limit is a number of attempts within a window.
type Limit struct {
	Burst  int
	Window time.Duration
}

// Homeserver is what the use cases ask of Synapse (its /_synapse/mas API). Every method is idempotent and bounded in time.
//
// Errors are classified by methods they may have, each true for one class: Unreachable() bool (no or no sensible answer: try
// again), NotFound() bool (no such user), Conflict() bool (the name is taken, malformed or reserved), Taken() bool (it is
// taken). Any other error is a refusal. Reason() string, if there, is a text for the operator.
type Homeserver interface {
	ProvisionUser(ctx context.Context, user mxid.Localpart, displayName string) error
	QueryUser(ctx context.Context, user mxid.Localpart) (displayName string, deactivated bool, err error)
	IsLocalpartAvailable(ctx context.Context, user mxid.Localpart) error
	UpsertDevice(ctx context.Context, user mxid.Localpart, device mxid.DeviceID, displayName string) error
	DeleteDevice(ctx context.Context, user mxid.Localpart, device mxid.DeviceID) error
	DeleteUser(ctx context.Context, user mxid.Localpart, erase bool) error
	ReactivateUser(ctx context.Context, user mxid.Localpart) error
	AllowCrossSigningReset(ctx context.Context, user mxid.Localpart) error
}

// Event is something that happened, for the audit log, the metrics and Caddy's events. It holds no token and no password.
type Event struct {
	Name      string // login_succeeded, login_failed, session_started, session_ended, token_refreshed, grant_approved, grant_denied, signed_out, client_registered, user_registered, user_removed, user_locked, user_unlocked, user_deactivated, user_reactivated, password_changed, admin_changed, cross_signing_reset_allowed, key_rotated, synapse_unreachable, reconciled
	Method    string // of a login: password or browser; of a start or an end: the session's kind
	Grant     string // of a start, a yes or a no: what was or will be presented, password, admin or an OAuth grant type without its urn
	Reason    string // of a failure or an end; success or failure; granted or revoked, removed, erase
	UserID    mxid.UserID
	DeviceID  mxid.DeviceID
	SessionID ulid.ULID
	GrantID   ulid.ULID // of a yes or a no, and of a session that was redeemed for it
	ClientID  string
	Addr      netip.Addr
}

// From says who asks: the client's address as Caddy determined it, and its user agent.
type From struct {
	Addr      netip.Addr
	UserAgent string
	Unproven  bool // HTTP/3 early data: the address is unverified and the request may be a replay, so it counts as no activity
}

// LoginParams is a password login (Matrix CS §login).
type LoginParams struct {
	Name        string         // as submitted
	Localpart   mxid.Localpart // whom it means; empty: it cannot be a user of this server
	Password    token.Secret
	DeviceID    mxid.DeviceID // empty: one is made
	DisplayName string        // of the device, if it is new
	Refreshable bool          // the client can refresh: give it tokens that expire
	From        From
}

// Tokens is what a login, a refresh or an issue hands out.
type Tokens struct {
	SessionID    ulid.ULID
	UserID       mxid.UserID
	DeviceID     mxid.DeviceID
	Scope        []string
	AccessToken  token.Secret
	RefreshToken token.Secret // empty: none
	ExpiresAt    time.Time    // of the access token; zero: never
}

// Verdict is the gate's judgement of an access token (sessions: live and expired, ended, locked).
type Verdict uint8

// The verdicts.
const (
	Foreign Verdict = iota // not a token of ours: none of our business
	Active
	Expired // the session lives: soft_logout true
	Unknown // ended, never there, malformed, or without the right to the client-server API: soft_logout false
	Locked  // the user is locked
)

// Introspection is what the homeserver is told about an active token (RFC 7662 §2.2, Synapse mas.py).
type Introspection struct {
	SessionID ulid.ULID
	Subject   ulid.ULID // zero, like the localpart: a client's own token
	Localpart mxid.Localpart
	DeviceID  mxid.DeviceID
	ClientID  string
	Scope     string    // space-separated (RFC 7662 §2.2), with both spellings of each Matrix scope
	ExpiresAt time.Time // zero: never
}

// UserInfo is a user as the administrator sees it.
type UserInfo struct {
	store.User
	UserID      mxid.UserID
	HasPassword bool
}

// SessionInfo is a session as the administrator sees it.
type SessionInfo struct {
	store.Session
	Owner    mxid.UserID // empty: a client's own session, or its user cannot be read
	LastSeen store.LastSeen
}

// AddUserParams describes a new user.
type AddUserParams struct {
	Localpart   mxid.Localpart
	Password    token.Secret // empty: none
	DisplayName string
	Admin       bool
	Adopt       bool // take over a user that the homeserver has already
}

// IssueTokenParams asks for a token on an administrator's behalf.
type IssueTokenParams struct {
	Localpart mxid.Localpart
	DeviceID  mxid.DeviceID // empty: a personal token has no device, a legacy one gets a new one
	Legacy    bool
	Scope     []string      // further scopes; only mxid.ScopeAdmin exists
	ExpiresIn time.Duration // 0: never
}

// Status is the service's own health, for operators.
type Status struct {
	Sessions     map[string]int // live ones by kind, as of the last sweep
	LiveSessions int            // in memory
	Jobs         int            // users waiting to be reconciled
	OldestJob    time.Duration  // 0: none
	HeldRefresh  int
}
