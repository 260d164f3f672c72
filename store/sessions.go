package store

import (
	"iter"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// Session reads a session, live or ended.
func (tx *Tx) Session(id ulid.ULID) (Session, error) { return sessions.get(tx, id[:]) }

// SessionByAccessHandle reads the session, live or ended, of an access token's handle.
func (tx *Tx) SessionByAccessHandle(h token.Handle) (Session, error) {
	return sessions.lookup(tx, sessionByAccess, h[:])
}

// SessionByRefreshHandle reads the session, live or ended, of a refresh token's handle.
func (tx *Tx) SessionByRefreshHandle(h token.Handle) (Session, error) {
	return sessions.lookup(tx, sessionByRefresh, h[:])
}

// SessionByDevice reads the live session that holds a device.
func (tx *Tx) SessionByDevice(user ulid.ULID, device mxid.DeviceID) (Session, error) {
	return sessions.lookup(tx, sessionByDevice, deviceKey(user, device))
}

// LiveSessions lists a user's live sessions, oldest first. The function that ranges may end or remove them.
func (tx *Tx) LiveSessions(user ulid.ULID) iter.Seq2[Session, error] {
	return sessions.scanIndex(tx, sessionByUserLive, user[:])
}

// EndedSessions lists a user's ended sessions, oldest first.
func (tx *Tx) EndedSessions(user ulid.ULID) iter.Seq2[Session, error] {
	return sessions.scanIndex(tx, sessionByUserEnded, user[:])
}

// Sessions lists sessions, live and ended, by ID, which is by age, from the one after the given ID; the zero ID is before all.
func (tx *Tx) Sessions(after ulid.ULID) iter.Seq2[Session, error] {
	return sessions.scan(tx, cursor(after))
}

// InsertSession writes a new session. ErrConflict: its ID or a handle is taken, or its device is held by a live session.
func (tx *Tx) InsertSession(s Session) error { return sessions.insert(tx, &s) }

// UpdateSession writes a session that is there. ErrConflict as for InsertSession.
func (tx *Tx) UpdateSession(s Session) error { return sessions.update(tx, &s) }

// RemoveSession deletes a session; when it was last seen is another record.
func (tx *Tx) RemoveSession(id ulid.ULID) error { return sessions.remove(tx, id[:]) }

// LastSeen reads a session's activity; ErrNotFound: none yet.
func (tx *Tx) LastSeen(session ulid.ULID) (LastSeen, error) { return lastSeens.get(tx, session[:]) }

// PutLastSeen writes a session's activity, new or not.
func (tx *Tx) PutLastSeen(l LastSeen) error { return lastSeens.upsert(tx, &l) }

// RemoveLastSeen makes sure that nothing is known of a session's activity.
func (tx *Tx) RemoveLastSeen(session ulid.ULID) error {
	return absent(lastSeens.remove(tx, session[:]))
}

// cloneSession copies a session with its tokens. Scopes and seals are replaced, never written to.
func cloneSession(s *Session) Session {
	c := *s
	c.Access, c.Consumed = slices.Clone(s.Access), slices.Clone(s.Consumed)
	return c
}

func sessionTimes(s *Session) []*time.Time {
	times := make([]*time.Time, 0, 3+MaxAccessTokens+MaxConsumedTokens)
	times = append(times, &s.CreatedAt, &s.RefreshedAt, &s.EndedAt)
	for i := range s.Access {
		times = append(times, &s.Access[i].ExpiresAt)
	}
	for i := range s.Consumed {
		times = append(times, &s.Consumed[i].SuccessorUsedAt)
	}
	return times
}

// sessionUserLive is the key among the live sessions of a user.
func sessionUserLive(s *Session) []byte {
	if s.UserID.IsZero() || s.Ended() {
		return nil
	}
	return s.UserID[:]
}

// sessionUserEnded is the key among the ended sessions of a user.
func sessionUserEnded(s *Session) []byte {
	if s.UserID.IsZero() || !s.Ended() {
		return nil
	}
	return s.UserID[:]
}

// sessionDevice is the key of the device that a live session holds: one live session per device.
func sessionDevice(s *Session) []byte {
	if s.UserID.IsZero() || s.DeviceID == "" || s.Ended() {
		return nil
	}
	return deviceKey(s.UserID, s.DeviceID)
}

// sessionClient is the key among the sessions of an OAuth client.
func sessionClient(s *Session) []byte {
	if s.ClientID == "" {
		return nil
	}
	return []byte(s.ClientID)
}

func deviceKey(user ulid.ULID, device mxid.DeviceID) []byte {
	return append(append(make([]byte, 0, widthID+len(device)), user[:]...), device...)
}

// handleKey is the key of a token handle; no handle is not indexed.
func handleKey(h token.Handle) []byte {
	if h == (token.Handle{}) {
		return nil
	}
	return h[:]
}
