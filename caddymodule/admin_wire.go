package caddymodule

import (
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The objects of the admin API, which the command line prints as well. What has no value is absent. Times are in UTC.

type errorJSON struct {
	Error string `json:"error"`
}

type userJSON struct {
	UserID        string    `json:"user_id"`
	Localpart     string    `json:"localpart"`
	ID            string    `json:"id"`
	DisplayName   string    `json:"display_name,omitzero"`
	Admin         bool      `json:"admin"`
	CreatedAt     time.Time `json:"created_at"`
	LockedAt      time.Time `json:"locked_at,omitzero"`
	DeactivatedAt time.Time `json:"deactivated_at,omitzero"`
	HasPassword   bool      `json:"has_password"`
}

func newUserJSON(u *auth.UserInfo) any {
	return userJSON{
		UserID:        string(u.UserID),
		Localpart:     string(u.Localpart),
		ID:            u.ID.String(),
		DisplayName:   u.DisplayName,
		Admin:         u.Admin,
		CreatedAt:     seconds(u.CreatedAt),
		LockedAt:      seconds(u.LockedAt),
		DeactivatedAt: seconds(u.DeactivatedAt),
		HasPassword:   u.HasPassword,
	}
}

type addUserJSON struct {
	Localpart   string `json:"localpart"`
	Password    string `json:"password,omitzero"` // none: the user has no password
	DisplayName string `json:"display_name,omitzero"`
	Admin       bool   `json:"admin,omitzero"`
	Adopt       bool   `json:"adopt,omitzero"`
}

type passwordJSON struct {
	Password    *string `json:"password"` // empty: the user's password is taken away
	EndSessions bool    `json:"end_sessions,omitzero"`
}

type deactivateJSON struct {
	Erase bool `json:"erase,omitzero"`
}

type adminRightJSON struct {
	Admin *bool `json:"admin"`
}

type sessionJSON struct {
	ID           string    `json:"id"`
	Kind         string    `json:"kind"`
	UserID       string    `json:"user_id,omitzero"`
	DeviceID     string    `json:"device_id,omitzero"`
	ClientID     string    `json:"client_id,omitzero"`
	CreatedAt    time.Time `json:"created_at"`
	LastActiveAt time.Time `json:"last_active_at,omitzero"`
	LastActiveIP string    `json:"last_active_ip,omitzero"`
	UserAgent    string    `json:"user_agent,omitzero"`
	EndedAt      time.Time `json:"ended_at,omitzero"`
}

func newSessionJSON(s *auth.SessionInfo) any {
	return sessionJSON{
		ID:           s.ID.String(),
		Kind:         s.Kind.String(),
		UserID:       string(s.Owner),
		DeviceID:     string(s.DeviceID),
		ClientID:     s.ClientID,
		CreatedAt:    seconds(s.CreatedAt),
		LastActiveAt: seconds(s.LastSeen.At),
		LastActiveIP: s.LastSeen.Addr,
		UserAgent:    s.LastSeen.UserAgent,
		EndedAt:      seconds(s.EndedAt),
	}
}

type endSessionsJSON struct {
	Localpart string `json:"localpart"`
}

type endedJSON struct {
	Ended int `json:"ended"` // sessions
}

type issueTokenJSON struct {
	Localpart string `json:"localpart"`
	DeviceID  string `json:"device_id,omitzero"`
	Legacy    bool   `json:"legacy,omitzero"`
	Scope     string `json:"scope,omitzero"`      // further scopes, separated by spaces
	ExpiresIn int64  `json:"expires_in,omitzero"` // seconds; none: never
}

type tokenJSON struct {
	AccessToken string    `json:"access_token"`
	SessionID   string    `json:"session_id"`
	UserID      string    `json:"user_id"`
	DeviceID    string    `json:"device_id,omitzero"`
	Scope       string    `json:"scope,omitzero"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
}

// keyJSON is a signing key. Its state is signing, published (id tokens signed with it are still good) or retired (it only
// recognises whose browser sent an old id token).
type keyJSON struct {
	ID        string    `json:"id"`
	Algorithm string    `json:"algorithm"`
	State     string    `json:"state"`
	CreatedAt time.Time `json:"created_at"`
	RetiredAt time.Time `json:"retired_at,omitzero"`
}

func newKeyJSON(k *auth.KeyInfo) any {
	state := "retired"
	switch {
	case k.RetiredAt.IsZero():
		state = "signing"
	case k.Published:
		state = "published"
	}
	return keyJSON{ID: k.ID, Algorithm: k.Algorithm, State: state, CreatedAt: seconds(k.CreatedAt), RetiredAt: seconds(k.RetiredAt)}
}

type statusJSON struct {
	Version          string `json:"version"`
	ServerName       string `json:"server_name"`
	Issuer           string `json:"issuer"`
	PublicBaseURL    string `json:"public_baseurl"`
	Synapse          string `json:"synapse"`
	DataDir          string `json:"data_dir"`
	Writable         bool   `json:"writable"`
	NotWritable      string `json:"not_writable,omitzero"` // why
	StoreBytes       uint64 `json:"store_bytes"`
	Revision         uint64 `json:"revision"`
	SessionsInMemory int    `json:"sessions_in_memory"`
	Jobs             int    `json:"jobs"`
	OldestJobSeconds int64  `json:"oldest_job_seconds,omitzero"`
	HeldRefreshes    int    `json:"held_refreshes"`
	Hasher           string `json:"hasher"`
	PasswordsWaiting int    `json:"passwords_waiting"`
}

type verifyJSON struct {
	OK           bool                       `json:"ok"`
	Revision     uint64                     `json:"revision"`
	Tables       map[string]verifyTableJSON `json:"tables"`
	ProblemCount int                        `json:"problem_count"`
	Problems     []string                   `json:"problems,omitzero"` // the first ones
}

type verifyTableJSON struct {
	Records int    `json:"records"`
	Entries int    `json:"entries"` // of its indices
	Bytes   uint64 `json:"bytes"`
}

func newVerifyJSON(r *store.Report) verifyJSON {
	v := verifyJSON{
		OK:           r.OK(),
		Revision:     r.Revision,
		Tables:       make(map[string]verifyTableJSON, len(r.Tables)),
		ProblemCount: r.ProblemCount,
		Problems:     r.Problems,
	}
	for name, t := range r.Tables {
		v.Tables[name] = verifyTableJSON{Records: t.Records, Entries: t.Entries, Bytes: t.Bytes}
	}
	return v
}

// seconds is a time as the API tells it.
func seconds(t time.Time) time.Time { return t.UTC().Truncate(time.Second) }
