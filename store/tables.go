package store

import (
	"time"
)

// The tables. The key map in keys.go draws the same.
var (
	users = table[User]{
		id: 'u', name: "users", pkShape: layout{widthID},
		pk: func(u *User) []byte { return u.ID[:] },
		times: func(u *User) []*time.Time {
			return []*time.Time{&u.CreatedAt, &u.LockedAt, &u.DeactivatedAt, &u.ProvisionedAt}
		},
		indices: []index[User]{
			{id: userByLocalpart, unique: true, shape: layout{text}, key: func(u *User) []byte { return []byte(u.Localpart) }},
		},
	}
	passwords = table[Password]{
		id: 'p', name: "passwords", pkShape: layout{widthID},
		pk:    func(p *Password) []byte { return p.UserID[:] },
		times: func(p *Password) []*time.Time { return []*time.Time{&p.ChangedAt} },
	}
	sessions = table[Session]{
		id: 's', name: "sessions", pkShape: layout{widthID},
		pk:    func(s *Session) []byte { return s.ID[:] },
		times: sessionTimes,
		clone: cloneSession,
		indices: []index[Session]{
			{id: sessionByUserLive, shape: layout{widthID}, key: sessionUserLive},
			{id: sessionByDevice, unique: true, shape: layout{widthID, text}, key: sessionDevice},
			{id: sessionByClient, shape: layout{text}, key: sessionClient},
			{id: sessionByAccess, unique: true, shape: layout{widthHandle}, key: func(s *Session) []byte { return handleKey(s.AccessHandle) }},
			{id: sessionByRefresh, unique: true, shape: layout{widthHandle}, key: func(s *Session) []byte { return handleKey(s.RefreshHandle) }},
			{id: sessionByUserEnded, shape: layout{widthID}, key: sessionUserEnded},
		},
	}
	lastSeens = table[LastSeen]{
		id: 't', name: "last seen", pkShape: layout{widthID},
		pk:    func(l *LastSeen) []byte { return l.SessionID[:] },
		times: func(l *LastSeen) []*time.Time { return []*time.Time{&l.At} },
	}
	jobs = table[Job]{
		id: 'j', name: "jobs", pkShape: layout{widthID, text},
		pk:    func(j *Job) []byte { return jobKey(j.UserID, j.DeviceID) },
		times: func(j *Job) []*time.Time { return []*time.Time{&j.CreatedAt} },
	}
	metas = table[meta]{
		id: 'm', name: "meta", pkShape: layout{text},
		pk: func(m *meta) []byte { return []byte(m.Name) },
	}
)

// Numbers of indices; those of a table are never used for something else.
const (
	userByLocalpart = 1

	sessionByUserLive  = 1
	sessionByDevice    = 2
	sessionByClient    = 3
	sessionByAccess    = 4
	sessionByRefresh   = 5
	sessionByUserEnded = 6
)

// schema is what is asked of every table, whatever its records are.
type schema interface {
	kind() byte
	title() string
	shape() shape
	verifyRecord(tx *Tx, key parsedKey, value []byte) error
	verifyEntry(tx *Tx, key parsedKey, value []byte) error
}

// schemas are all tables by their kind.
var schemas = byKind(&users, &passwords, &sessions, &lastSeens, &jobs, &metas,
	&browserSessions, &grants, &deviceGrants, &clients, &consents, &assertions, &signingKeys)

func byKind(all ...schema) map[byte]schema {
	m := make(map[byte]schema, len(all))
	for _, s := range all {
		m[s.kind()] = s
	}
	return m
}

func (t *table[T]) kind() byte    { return t.id }
func (t *table[T]) title() string { return t.name }

func (t *table[T]) shape() shape {
	s := shape{pk: t.pkShape}
	for _, i := range t.indices {
		s.indices = append(s.indices, indexShape{i.id, i.unique, i.shape})
	}
	return s
}
