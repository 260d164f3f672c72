package auth

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// start describes a session to be put on a device.
type start struct {
	user        store.User
	kind        store.SessionKind
	grant       string // as in Event
	device      mxid.DeviceID
	displayName string // of the device, if it is new
	refreshable bool
	grantID     ulid.ULID // what was approved; zero: nothing
	clientID    string
	scope       []string
	ttl         time.Duration                                                   // of the access token; 0: it never expires
	approver    ulid.ULID                                                       // the browser session in which it was approved
	gate        func(tx *store.Tx, user *store.User, sess *store.Session) error // what else has to hold in the Update, and is consumed there
	from        From
}

// start puts a new session on its device, or without one just into the store.
func (s *Service) start(ctx context.Context, st start) (Tokens, error) {
	if st.device == "" {
		return s.commitSession(ctx, &st)
	}
	return s.startSession(ctx, st)
}

// startSession puts a new session on a device: Synapse first, commit last (log in, redeem, issue on a device).
//
// Under the user's mutex: the device is listed as one to look at, announced to the homeserver, and taken off the list in the
// Update that ends the session that was on it and inserts the new one. A crash in between leaves the list, and the worker
// deletes a device without a session. If the homeserver is unreachable but the device has a live session, it exists, and
// that is enough.
//
// ErrUnavailable, ErrHomeserver: nothing has changed. ErrUserLocked, ErrBadCredentials: the user was locked or closed meanwhile.
func (s *Service) startSession(ctx context.Context, st start) (Tokens, error) {
	unlock, err := s.users.lock(ctx, st.user.ID)
	if err != nil {
		return Tokens{}, fmt.Errorf("%w: waiting for the user: %w", ErrUnavailable, err)
	}
	defer unlock()
	if err := s.announceDevice(ctx, &st); err != nil {
		return Tokens{}, err
	}
	out, err := s.commitSession(ctx, &st)
	if err != nil {
		s.jobs.add(st.user.ID, s.now()) // the device may be one too many
	}
	return out, err
}

// commitSession is the second half of startSession: the Update and the answer.
func (s *Service) commitSession(ctx context.Context, st *start) (Tokens, error) {
	sess, access, refresh, err := s.newSession(st)
	if err != nil {
		return Tokens{}, err
	}
	var replaced *store.Session
	err = s.update(ctx, func(tx *store.Tx) error {
		replaced = nil
		user, err := tx.User(st.user.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && user.Deactivated() {
			return ErrBadCredentials
		}
		if err != nil {
			return err
		}
		if user.Locked() {
			return ErrUserLocked
		}
		if st.gate != nil {
			if err := st.gate(tx, &user, sess); err != nil {
				return err
			}
		}
		replaced, err = s.insertSession(tx, sess)
		return err
	})
	if err != nil {
		return Tokens{}, err
	}
	out := s.tokens(sess, &st.user, access, sess.Access[0].ExpiresAt)
	if st.refreshable {
		out.RefreshToken = token.NewSecret(refresh.Reveal())
	}
	if st.kind == store.SessionOAuth2 {
		s.noteRedeemed(sess)
	}
	if replaced != nil {
		s.ended(replaced, out.UserID, st.from)
	}
	s.started(sess, out.UserID, st)
	return out, nil
}

func (s *Service) started(sess *store.Session, user mxid.UserID, st *start) {
	s.emit(Event{
		Name: "session_started", Method: sess.Kind.String(), Grant: st.grant, UserID: user,
		DeviceID: sess.DeviceID, SessionID: sess.ID, GrantID: st.grantID, ClientID: sess.ClientID, Addr: st.from.Addr,
	})
}

// insertSession puts a session in the place of the live one on its device, if there is one, and takes the device off the
// list.
func (s *Service) insertSession(tx *store.Tx, sess *store.Session) (replaced *store.Session, err error) {
	if sess.DeviceID != "" {
		old, err := tx.SessionByDevice(sess.UserID, sess.DeviceID)
		switch {
		case err == nil:
			old.End(tx.Now(), "replaced") // the device stays
			if err := s.putSession(tx, &old); err != nil {
				return nil, err
			}
			replaced = &old
		case !errors.Is(err, store.ErrNotFound):
			return nil, err
		}
		if err := tx.RemoveJob(sess.UserID, sess.DeviceID); err != nil {
			return nil, err
		}
	}
	if err := tx.InsertSession(*sess); err != nil {
		return nil, err
	}
	s.flipSession(tx, sess)
	return replaced, nil
}

// announceDevice makes the homeserver know the device, and the user. The caller holds the user's mutex.
func (s *Service) announceDevice(ctx context.Context, st *start) error {
	set := s.settings.Load()
	found, err := s.deviceState(st)
	if err != nil {
		return err
	}
	trouble := settleFirst(ctx, set, st, found)
	if !found.held && !found.listed {
		err := s.update(ctx, func(tx *store.Tx) error { return list(tx, st.user.ID, st.device) })
		if err != nil {
			return err
		}
	}
	if trouble == nil {
		trouble = upsertDevice(ctx, set, st, found.held)
	}
	if trouble == nil || found.held && unreachable(trouble) {
		return nil
	}
	s.jobs.add(st.user.ID, s.now())
	if !unreachable(trouble) {
		return fmt.Errorf("%w: %w", ErrHomeserver, trouble)
	}
	if !errors.Is(ctx.Err(), context.Canceled) { // the caller went away: that says nothing of synapse
		s.unreachable(set, trouble)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, trouble)
}

// deviceState is what there is to know of a device before a session is put on it.
type deviceState struct {
	held    bool // by a live session
	listed  bool // to be looked at
	account bool // the account is listed
}

func (s *Service) deviceState(st *start) (found deviceState, err error) {
	err = s.DB.View(func(tx *store.Tx) (err error) {
		if found.account, err = tx.HasJob(st.user.ID, ""); err != nil {
			return err
		}
		if found.listed, err = tx.HasJob(st.user.ID, st.device); err != nil {
			return err
		}
		_, err = tx.SessionByDevice(st.user.ID, st.device)
		found.held = err == nil
		return ignoreNotFound(err)
	})
	if err != nil {
		return found, fmt.Errorf("%w: reading the device's state: %w", ErrUnavailable, err)
	}
	return found, nil
}

// settleFirst does what is listed of the account and of this device before a session is put on it. Both stay listed: acting twice is
// harmless, and the device's own job goes with the login's commit.
func settleFirst(ctx context.Context, set *Settings, st *start, found deviceState) error {
	if found.account {
		if err := settleAccount(ctx, set, &st.user); err != nil {
			return err
		}
	}
	if found.listed && !found.held {
		return set.Homeserver.DeleteDevice(ctx, st.user.Localpart, st.device)
	}
	return nil
}

// upsertDevice announces the device; a user that the homeserver does not know is provisioned first.
func upsertDevice(ctx context.Context, set *Settings, st *start, held bool) error {
	name := st.displayName
	if held {
		name = "" // the person may have renamed it
	}
	err := set.Homeserver.UpsertDevice(ctx, st.user.Localpart, st.device, name)
	if !isNotFound(err) {
		return err
	}
	if err := set.Homeserver.ProvisionUser(ctx, st.user.Localpart, st.user.DisplayName); err != nil {
		return err
	}
	return set.Homeserver.UpsertDevice(ctx, st.user.Localpart, st.device, name)
}

// newSession mints a session with its first tokens.
func (s *Service) newSession(st *start) (sess *store.Session, access, refresh token.Token, err error) {
	accessKind, refreshKind := tokenKinds(st.kind)
	sess = &store.Session{
		Kind: st.kind, UserID: st.user.ID, DeviceID: st.device, ClientID: st.clientID, Scope: st.scope, Approver: st.approver,
		CreatedAt: s.now(), Generation: 1,
	}
	if sess.ID, err = s.newID(); err != nil {
		return nil, access, refresh, err
	}
	if sess.AccessHandle, err = s.mint.Handle(); err != nil {
		return nil, access, refresh, err
	}
	if access, err = s.mint.New(accessKind, sess.AccessHandle); err != nil {
		return nil, access, refresh, err
	}
	first := store.AccessToken{Hash: access.Hash(), Generation: sess.Generation}
	if st.ttl > 0 {
		first.ExpiresAt = sess.CreatedAt.Add(st.ttl)
	}
	sess.Access = []store.AccessToken{first}
	if !st.refreshable {
		return sess, access, refresh, nil
	}
	if sess.RefreshHandle, err = s.mint.Handle(); err != nil {
		return nil, access, refresh, err
	}
	refresh, err = s.mint.New(refreshKind, sess.RefreshHandle)
	sess.Refresh = refresh.Hash()
	return sess, access, refresh, err
}
