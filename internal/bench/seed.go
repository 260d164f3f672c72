package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/password"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

const (
	serverName    = "bench.test"
	rightPassword = "correct horse battery staple"
	seedBatch     = 500 // records of one Update
	seedTTL       = 24 * time.Hour
)

// localpart is the nth user's name.
func localpart(n int) string { return fmt.Sprintf("user%d", n) }

// seeded is the tokens of the sessions in a store, by session.
type seeded struct{ access, refresh []string }

// seeder fills a store before its edge opens it, as 100,000 logins would.
type seeder struct {
	db       *store.DB
	mint     *token.Mint
	hash     string
	users    []ulid.ULID
	browsers []ulid.ULID // the users' sign-ins at our pages
	out      seeded
}

// sessionKind is one of the seeder's methods: legacy sessions or those of the OAuth client.
type sessionKind func(s *seeder, tx *store.Tx, n int) error

// fill makes a store with users, each with the same password, and sessions that can refresh and have done so once.
func fill(ctx context.Context, dir string, users, sessions int, add sessionKind) (_ *seeded, err error) {
	db, err := store.Open(ctx, store.Options{Dir: dir, ServerName: serverName, Now: time.Now, Rand: rand.Reader})
	if err != nil {
		return nil, err
	}
	defer func() {
		if e := db.Close(); err == nil {
			err = e
		}
	}()
	hasher := password.NewHasher(password.Config{Rand: rand.Reader, Now: time.Now})
	defer hasher.Close()
	hash, err := hasher.Hash(ctx, password.Source{}, rightPassword)
	if err != nil {
		return nil, err
	}
	s := &seeder{db: db, mint: token.NewMint(db.TokenKey(), rand.Reader), hash: hash}
	if err := errors.Join(s.batches(ctx, 1, s.addClient), s.batches(ctx, users, s.addUser)); err != nil {
		return nil, err
	}
	return &s.out, s.batches(ctx, sessions, func(tx *store.Tx, n int) error { return add(s, tx, n) })
}

// batches calls add n times, within as few commits as can be.
func (s *seeder) batches(ctx context.Context, n int, add func(tx *store.Tx, n int) error) error {
	for from := 0; from < n; from += seedBatch {
		err := s.db.Update(ctx, func(tx *store.Tx) error {
			for i := from; i < min(from+seedBatch, n); i++ {
				if err := add(tx, i); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *seeder) addUser(tx *store.Tx, n int) error {
	u := store.User{ID: ulid.Make(), Localpart: mxid.Localpart(localpart(n)), CreatedAt: tx.Now(), ProvisionedAt: tx.Now()}
	s.users = append(s.users, u.ID)
	if err := tx.InsertUser(u); err != nil {
		return err
	}
	return tx.PutPassword(store.Password{UserID: u.ID, Hash: s.hash, ChangedAt: tx.Now()})
}

// addSession adds the nth legacy session.
func (s *seeder) addSession(tx *store.Tx, n int) error {
	return s.add(tx, n, token.CompatAccess, token.CompatRefresh, store.Session{Kind: store.SessionCompat})
}

func seedDevice(n int) mxid.DeviceID { return mxid.DeviceID(fmt.Sprintf("SEED%06d", n)) }

// add gives the nth session two access tokens and a consumed refresh token, as it has between two refreshes.
func (s *seeder) add(tx *store.Tx, n int, accessKind, refreshKind token.Kind, sess store.Session) error {
	access, err := s.mint.Handle()
	if err != nil {
		return err
	}
	refresh, err := s.mint.Handle()
	if err != nil {
		return err
	}
	var t [4]token.Token // access and refresh token, twice
	for i := range t {
		kind, handle := accessKind, access
		if i%2 == 1 {
			kind, handle = refreshKind, refresh
		}
		if t[i], err = s.mint.New(kind, handle); err != nil {
			return err
		}
	}
	sess.ID, sess.UserID, sess.DeviceID = ulid.Make(), s.users[n%len(s.users)], seedDevice(n)
	sess.AccessHandle, sess.RefreshHandle, sess.CreatedAt, sess.RefreshedAt = access, refresh, tx.Now(), tx.Now()
	sess.Generation, sess.Refresh = 2, t[3].Hash()
	sess.Access = []store.AccessToken{
		{Hash: t[2].Hash(), ExpiresAt: tx.Now().Add(seedTTL), Generation: 2},
		{Hash: t[0].Hash(), ExpiresAt: tx.Now().Add(time.Minute), Generation: 1},
	}
	seal, err := token.Seal(t[1], sess.ID[:], [24]byte{}, token.Successor{Refresh: t[3], Access: t[2], AccessExpiresAt: sess.Access[0].ExpiresAt})
	if err != nil {
		return err
	}
	sess.Consumed = []store.ConsumedToken{{Hash: t[1].Hash(), Generation: 1, Seal: seal}}
	s.out.access, s.out.refresh = append(s.out.access, t[2].Reveal()), append(s.out.refresh, t[3].Reveal())
	return tx.InsertSession(sess)
}
