package auth

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/password"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// Service is the authentication service of one homeserver. There is one for each open store; all methods may be called
// concurrently.
type Service struct {
	Config
	settings atomic.Pointer[Settings]
	mint     *token.Mint
	live     *liveSessions
	users    userMutex
	limits   *limits
	polls    *polls
	keys     keyring
	redeemed sync.Map // :: ulid.ULID → time.Time; see noteRedeemed
	bounds   bounds
	flood    flood
	jobs     worker
	clock    clock
	holding  atomic.Int64                   // refreshes that are held
	counted  atomic.Pointer[map[string]int] // live sessions by kind; set by each sweep
	rand     lockedReader
	census   password.Census // of the stored hashes, for dummies
	dummyKey [32]byte
}

// New makes a Service over an open store. Run has to be started for jobs, activity and sweeps.
func New(c Config, settings Settings) (*Service, error) {
	if c.DB == nil || c.Hasher == nil || c.Now == nil || c.Rand == nil || c.ServerName == "" {
		return nil, errors.New("auth: incomplete configuration")
	}
	s := &Service{
		Config: c,
		mint:   token.NewMint(c.DB.TokenKey(), c.Rand),
		live:   newLiveSessions(c.DB, c.ServerName),
		limits: newLimits(c.Now),
		polls:  newPolls(),
		bounds: bounds{clients: maxClients, grants: maxPending, bytes: maxBytes},
		flood:  flood{much: make(chan struct{}, 1)},
		rand:   lockedReader{r: c.Rand},
	}
	var err error
	if s.dummyKey, err = dummyKey(c.DB.TokenKey()); err != nil {
		return nil, fmt.Errorf("auth: deriving a key: %w", err)
	}
	s.jobs.init(s)
	s.clock.init(c.Now)
	s.settings.Store(&settings)
	return s, nil
}

// Claim makes settings the ones in force. The returned function gives the place back to the previous ones, unless somebody
// else has taken it meanwhile: a reload that is rejected after its start must leave no trace.
func (s *Service) Claim(settings Settings) (release func()) {
	mine := &settings
	before := s.settings.Swap(mine)
	return func() { s.settings.CompareAndSwap(mine, before) }
}

// PasswordEnabled reports whether password logins are offered.
func (s *Service) PasswordEnabled() bool { return s.settings.Load().PasswordEnabled }

// Status describes the service's state for operators.
func (s *Service) Status() Status {
	n, oldest := s.jobs.pending(s.now())
	counted := s.counted.Load()
	if counted == nil {
		counted = new(map[string]int)
	}
	return Status{Sessions: *counted, LiveSessions: s.live.size(), Jobs: n, OldestJob: oldest, HeldRefresh: int(s.holding.Load())}
}

func (s *Service) now() time.Time { return s.Now() }

func (s *Service) emit(e Event) { s.settings.Load().Emit(e) }

func (s *Service) userID(l mxid.Localpart) mxid.UserID {
	id, err := mxid.NewUserID(l, s.ServerName)
	if err != nil { // checked when the user was added
		return ""
	}
	return id
}

func (s *Service) newID() (ulid.ULID, error) { return ulid.New(ulid.Timestamp(s.now()), &s.rand) }

// putSession stores a changed session and flips its live object after the commit.
func (s *Service) putSession(tx *store.Tx, sess *store.Session) error {
	if err := tx.UpdateSession(*sess); err != nil {
		return err
	}
	s.flipSession(tx, sess)
	return nil
}

func (s *Service) flipSession(tx *store.Tx, sess *store.Session) {
	rec, revision := *sess, tx.Revision()
	tx.OnCommit(func() { s.live.flip(&rec, revision) })
}

// putUser stores a changed user and flips its live object after the commit.
func (s *Service) putUser(tx *store.Tx, u *store.User) error {
	if err := tx.UpdateUser(*u); err != nil {
		return err
	}
	rec, revision := *u, tx.Revision()
	tx.OnCommit(func() { s.live.users.flip(&rec, revision) })
	return nil
}

// update runs one use case's transaction; what is not a verdict of the use case is trouble of the store.
func (s *Service) update(ctx context.Context, fn func(tx *store.Tx) error) error {
	return troubled(s.DB.Update(ctx, s.recovered(ctx, fn)))
}

// spareUpdate is update for what nobody has authenticated for: it must not crowd out the others.
func (s *Service) spareUpdate(ctx context.Context, fn func(tx *store.Tx) error) error {
	return troubled(s.DB.UpdateSpare(ctx, s.recovered(ctx, fn)))
}

func troubled(err error) error {
	if errors.Is(err, store.ErrUnavailable) {
		return errors.Join(ErrUnavailable, err)
	}
	return err
}

// lockedReader makes the random source safe for concurrent use.
type lockedReader struct {
	mu sync.Mutex
	r  io.Reader
}

// Read implements io.Reader.
func (l *lockedReader) Read(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.r.Read(p)
}
