package main

import (
	"crypto/rand"

	"github.com/oklog/ulid/v2"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// The OAuth client in every store, as Matrix clients register themselves, and its redirect URI.
const (
	oauthClient   = "01K00000000000000000BENCH0"
	oauthRedirect = "https://app.bench.test/callback"
)

// addClient registers the OAuth client.
func (s *seeder) addClient(tx *store.Tx, _ int) error {
	c := store.Client{
		ID: oauthClient, Name: "Bench", URI: "https://app.bench.test/", ApplicationType: "web", AuthMethod: "none",
		RedirectURIs: []string{oauthRedirect}, ResponseTypes: []string{"code"},
		GrantTypes: []string{auth.GrantTypeAuthorizationCode, auth.GrantTypeRefreshToken},
		CreatedAt:  tx.Now(), UsedAt: tx.Now(), RegisteredAt: tx.Now(),
	}
	var err error
	if c.Digest, err = c.MetadataDigest(); err != nil {
		return err
	}
	return tx.InsertClient(c)
}

// addOAuthSession adds the nth session of the OAuth client, approved in its user's browser.
func (s *seeder) addOAuthSession(tx *store.Tx, n int) error {
	user := n % len(s.users)
	if user == len(s.browsers) {
		if err := s.addBrowser(tx, s.users[user]); err != nil {
			return err
		}
	}
	device, _, _ := seedDevice(n).Scopes()
	return s.add(tx, n, token.Access, token.Refresh, store.Session{
		Kind: store.SessionOAuth2, ClientID: oauthClient, Scope: []string{mxid.ScopeAPI, device}, Approver: s.browsers[user],
	})
}

// addBrowser signs a user in at our pages.
func (s *seeder) addBrowser(tx *store.Tx, user ulid.ULID) error {
	b := store.BrowserSession{
		ID: ulid.Make(), UserID: user, CreatedAt: tx.Now(), AuthenticatedAt: tx.Now(), UsedAt: tx.Now(), Addr: "192.0.2.1", UserAgent: seedAgent,
	}
	if _, err := rand.Read(b.Cookie[:]); err != nil {
		return err
	}
	s.browsers = append(s.browsers, b.ID)
	return tx.InsertBrowserSession(b)
}

const seedAgent = "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"
