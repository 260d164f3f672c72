package auth

import (
	"context"
	"errors"
	"iter"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

var errStub = errors.New("not there yet")

type Service struct{}

// New makes a Service over an open store. Run has to be started for jobs, activity and sweeps.
func New(c Config, s Settings) (*Service, error) { return nil, errStub }

// Run works until ctx ends: jobs, activity batches, sweeps. It writes the last activity before it returns.
func (s *Service) Run(ctx context.Context) error { return errStub }

// Claim makes settings the ones in force and returns what gives the place back to the previous ones (a reload that fails).
func (s *Service) Claim(settings Settings) (release func()) { return nil }

// Login checks a password and starts a session (Matrix CS §login). Gate: the Update that inserts the session.
func (s *Service) Login(ctx context.Context, p LoginParams) (Tokens, error) { return Tokens{}, errStub }

// Refresh rotates a refresh token of one of the given kinds (token.CompatRefresh for the legacy API). Trouble is retried inside for up to 10 s.
func (s *Service) Refresh(ctx context.Context, text string, kind token.Kind, from From) (Tokens, error) {
	return Tokens{}, errStub
}

// Logout ends the session of an access token, however old the token is (Matrix CS §logout). ErrTokenUnknown: no live session.
func (s *Service) Logout(ctx context.Context, text string, from From) error { return errStub }

// LogoutAll ends every session of the token's user (Matrix CS §logout/all).
func (s *Service) LogoutAll(ctx context.Context, text string, from From) error { return errStub }

// EndSession ends one session. ErrNotFound: no such session, or over already.
func (s *Service) EndSession(ctx context.Context, id ulid.ULID, reason string) error { return errStub }

// EndSessions ends every live session of a user and reports how many there were.
func (s *Service) EndSessions(ctx context.Context, user mxid.Localpart, reason string) (int, error) {
	return 0, errStub
}

// Introspect says what an access token is good for, with the leeway that the homeserver needs (active until 90 s past its end).
// ErrTokenUnknown, ErrTokenExpired: inactive. ErrUserLocked: no answer may be cached. Others: no answer.
func (s *Service) Introspect(ctx context.Context, text string) (Introspection, error) {
	return Introspection{}, errStub
}

// Admission is a judged request's hold on its live session. The zero value holds nothing.
type Admission struct{ Verdict Verdict }

// Judge judges an access token for the gate and notes activity and first use. It does not allocate when the session is in memory.
// An error means no verdict (storage trouble). Call Release when the request is over.
func (s *Service) Judge(ctx context.Context, text string, from From) (Admission, error) {
	return Admission{}, errStub
}

// Done is closed when the session has ended or its user has been locked; judge again to learn which. Nil: never.
func (a Admission) Done() <-chan struct{} { return nil }

// Release lets the live session go. It may be called once.
func (a Admission) Release() {}

// UserID is the owner of the session, DeviceID its device, ClientID its OAuth client, SessionID itself. Admin: the token has the server admin scope and its user the right.
func (a Admission) UserID() mxid.UserID     { return "" }
func (a Admission) DeviceID() mxid.DeviceID { return "" }
func (a Admission) ClientID() string        { return "" }
func (a Admission) SessionID() ulid.ULID    { return ulid.ULID{} }
func (a Admission) Admin() bool             { return false }

func (s *Service) AddUser(ctx context.Context, p AddUserParams) (UserInfo, error) {
	return UserInfo{}, errStub
}
func (s *Service) User(l mxid.Localpart) (UserInfo, error) { return UserInfo{}, errStub }
func (s *Service) Users() iter.Seq2[UserInfo, error]       { return nil }

// Sessions yields the live sessions of a user, or with l empty those of everybody.
func (s *Service) Sessions(l mxid.Localpart) iter.Seq2[SessionInfo, error] { return nil }
func (s *Service) SetPassword(ctx context.Context, l mxid.Localpart, pw token.Secret, endSessions bool) error {
	return errStub
}
func (s *Service) Lock(ctx context.Context, l mxid.Localpart) error                   { return errStub }
func (s *Service) Unlock(ctx context.Context, l mxid.Localpart) error                 { return errStub }
func (s *Service) Deactivate(ctx context.Context, l mxid.Localpart, erase bool) error { return errStub }
func (s *Service) Reactivate(ctx context.Context, l mxid.Localpart, pw token.Secret) error {
	return errStub
}
func (s *Service) SetAdmin(ctx context.Context, l mxid.Localpart, admin bool) error { return errStub }
func (s *Service) IssueToken(ctx context.Context, p IssueTokenParams) (Tokens, error) {
	return Tokens{}, errStub
}
func (s *Service) Status() Status        { return Status{} }
func (s *Service) PasswordEnabled() bool { return false }
