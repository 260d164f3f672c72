package store

import (
	"iter"
	"time"

	"github.com/oklog/ulid/v2"
)

// The tables of the OAuth provider and of our pages. The key map in keys.go draws the same.
var (
	browserSessions = table[BrowserSession]{
		id: 'b', name: "browser sessions", pkShape: layout{widthID},
		pk: func(b *BrowserSession) []byte { return b.ID[:] },
		times: func(b *BrowserSession) []*time.Time {
			return []*time.Time{&b.CreatedAt, &b.AuthenticatedAt, &b.UsedAt}
		},
		indices: []index[BrowserSession]{
			{id: browserSessionByUser, shape: layout{widthID}, key: func(b *BrowserSession) []byte { return b.UserID[:] }},
			{id: browserSessionByCookie, unique: true, shape: layout{widthDigest}, key: func(b *BrowserSession) []byte { return b.Cookie[:] }},
		},
	}
	grants = table[Grant]{
		id: 'g', name: "grants", pkShape: layout{widthID},
		pk: func(g *Grant) []byte { return g.ID[:] },
		times: func(g *Grant) []*time.Time {
			return []*time.Time{&g.MinAuthTime, &g.CreatedAt, &g.AuthTime, &g.FulfilledAt, &g.ExchangedAt}
		},
		indices: []index[Grant]{
			{id: grantByCode, unique: true, shape: layout{widthDigest}, key: func(g *Grant) []byte { return digestKey(&g.Code) }},
		},
	}
	deviceGrants = table[DeviceGrant]{
		id: 'd', name: "device grants", pkShape: layout{widthID},
		pk: func(d *DeviceGrant) []byte { return d.ID[:] },
		times: func(d *DeviceGrant) []*time.Time {
			return []*time.Time{&d.CreatedAt, &d.AuthTime, &d.DecidedAt, &d.ExchangedAt}
		},
		indices: []index[DeviceGrant]{
			{id: deviceGrantByDeviceCode, unique: true, shape: layout{widthDigest}, key: func(d *DeviceGrant) []byte { return d.DeviceCode[:] }},
			{id: deviceGrantByUserCode, unique: true, shape: layout{text}, key: deviceGrantUserCode},
		},
	}
	clients = table[Client]{
		id: 'c', name: "clients", pkShape: layout{text},
		pk:    func(c *Client) []byte { return []byte(c.ID) },
		times: func(c *Client) []*time.Time { return []*time.Time{&c.CreatedAt, &c.UsedAt, &c.RegisteredAt} },
		indices: []index[Client]{
			{id: clientByDigest, unique: true, shape: layout{widthDigest}, key: func(c *Client) []byte { return digestKey(&c.Digest) }},
		},
	}
	consents = table[Consent]{
		id: 'o', name: "consents", pkShape: layout{widthID, widthDigest, text},
		pk:    func(c *Consent) []byte { return consentKey(c.UserID, c.ClientID, &c.Scope) },
		times: func(c *Consent) []*time.Time { return []*time.Time{&c.GrantedAt} },
	}
	assertions = table[Assertion]{
		id: 'n', name: "client assertions", pkShape: layout{widthDigest},
		pk:    func(a *Assertion) []byte { return a.Key[:] },
		times: func(a *Assertion) []*time.Time { return []*time.Time{&a.ExpiresAt} },
	}
	signingKeys = table[SigningKey]{
		id: 'k', name: "signing keys", pkShape: layout{text},
		pk:    func(k *SigningKey) []byte { return []byte(k.ID) },
		times: func(k *SigningKey) []*time.Time { return []*time.Time{&k.CreatedAt, &k.RetiredAt} },
	}
)

// Numbers of indices; those of a table are never used for something else.
const (
	browserSessionByUser   = 1
	browserSessionByCookie = 2

	grantByCode = 1

	deviceGrantByDeviceCode = 1
	deviceGrantByUserCode   = 2

	clientByDigest = 1
)

// widthDigest is the width of a Digest.
const widthDigest = 32

// digestKey is the key of a digest; the zero one is not indexed.
func digestKey(d *Digest) []byte {
	if *d == (Digest{}) {
		return nil
	}
	return d[:]
}

// deviceGrantUserCode is the key of a user code while it may be entered: codes are unique while they live.
func deviceGrantUserCode(d *DeviceGrant) []byte {
	if d.Status != GrantPending {
		return nil
	}
	return []byte(d.UserCode)
}

func consentKey(user ulid.ULID, client string, scope *Digest) []byte {
	k := append(make([]byte, 0, widthID+widthDigest+len(client)), user[:]...)
	return append(append(k, scope[:]...), client...)
}

// BrowserSession reads a sign-in.
func (tx *Tx) BrowserSession(id ulid.ULID) (BrowserSession, error) {
	return browserSessions.get(tx, id[:])
}

// BrowserSessionByCookie reads the sign-in that a cookie holds.
func (tx *Tx) BrowserSessionByCookie(cookie Digest) (BrowserSession, error) {
	return browserSessions.lookup(tx, browserSessionByCookie, cookie[:])
}

// BrowserSessionsOf lists a user's sign-ins, oldest first.
func (tx *Tx) BrowserSessionsOf(user ulid.ULID) iter.Seq2[BrowserSession, error] {
	return browserSessions.scanIndex(tx, browserSessionByUser, user[:])
}

// BrowserSessions lists sign-ins by ID from the one after the given ID; the zero ID is before all.
func (tx *Tx) BrowserSessions(after ulid.ULID) iter.Seq2[BrowserSession, error] {
	return browserSessions.scan(tx, cursor(after))
}

// InsertBrowserSession writes a new sign-in.
func (tx *Tx) InsertBrowserSession(b BrowserSession) error { return browserSessions.insert(tx, &b) }

// UpdateBrowserSession writes a sign-in that is there.
func (tx *Tx) UpdateBrowserSession(b BrowserSession) error { return browserSessions.update(tx, &b) }

// RemoveBrowserSession ends a sign-in.
func (tx *Tx) RemoveBrowserSession(id ulid.ULID) error { return browserSessions.remove(tx, id[:]) }

// Grant reads an authorization grant.
func (tx *Tx) Grant(id ulid.ULID) (Grant, error) { return grants.get(tx, id[:]) }

// GrantByCode reads the grant of an authorization code.
func (tx *Tx) GrantByCode(code Digest) (Grant, error) { return grants.lookup(tx, grantByCode, code[:]) }

// Grants lists grants by ID, which is by age, from the one after the given ID.
func (tx *Tx) Grants(after ulid.ULID) iter.Seq2[Grant, error] { return grants.scan(tx, cursor(after)) }

// InsertGrant writes a new grant.
func (tx *Tx) InsertGrant(g Grant) error { return grants.insert(tx, &g) }

// UpdateGrant writes a grant that is there.
func (tx *Tx) UpdateGrant(g Grant) error { return grants.update(tx, &g) }

// RemoveGrant deletes a grant.
func (tx *Tx) RemoveGrant(id ulid.ULID) error { return grants.remove(tx, id[:]) }

// DeviceGrant reads a device grant.
func (tx *Tx) DeviceGrant(id ulid.ULID) (DeviceGrant, error) { return deviceGrants.get(tx, id[:]) }

// DeviceGrantByDeviceCode reads the device grant of a device code.
func (tx *Tx) DeviceGrantByDeviceCode(code Digest) (DeviceGrant, error) {
	return deviceGrants.lookup(tx, deviceGrantByDeviceCode, code[:])
}

// DeviceGrantByUserCode reads the pending device grant of a user code, upper case and without the dash.
func (tx *Tx) DeviceGrantByUserCode(code string) (DeviceGrant, error) {
	return deviceGrants.lookup(tx, deviceGrantByUserCode, []byte(code))
}

// DeviceGrants lists device grants by ID, which is by age, from the one after the given ID.
func (tx *Tx) DeviceGrants(after ulid.ULID) iter.Seq2[DeviceGrant, error] {
	return deviceGrants.scan(tx, cursor(after))
}

// InsertDeviceGrant writes a new device grant. ErrConflict: the user code is taken.
func (tx *Tx) InsertDeviceGrant(d DeviceGrant) error { return deviceGrants.insert(tx, &d) }

// UpdateDeviceGrant writes a device grant that is there.
func (tx *Tx) UpdateDeviceGrant(d DeviceGrant) error { return deviceGrants.update(tx, &d) }

// RemoveDeviceGrant deletes a device grant.
func (tx *Tx) RemoveDeviceGrant(id ulid.ULID) error { return deviceGrants.remove(tx, id[:]) }

// Client reads a self-registered client.
func (tx *Tx) Client(id string) (Client, error) { return clients.get(tx, []byte(id)) }

// ClientByDigest reads the client without a secret that has this metadata.
func (tx *Tx) ClientByDigest(d Digest) (Client, error) {
	return clients.lookup(tx, clientByDigest, d[:])
}

// Clients lists self-registered clients by ID, which is by age, from the one after the given ID; "" is before all.
func (tx *Tx) Clients(after string) iter.Seq2[Client, error] { return clients.scan(tx, []byte(after)) }

// InsertClient writes a new client. ErrConflict: there is one with the same metadata.
func (tx *Tx) InsertClient(c Client) error { return clients.insert(tx, &c) }

// UpdateClient writes a client that is there.
func (tx *Tx) UpdateClient(c Client) error { return clients.update(tx, &c) }

// RemoveClient deletes a client.
func (tx *Tx) RemoveClient(id string) error { return clients.remove(tx, []byte(id)) }

// SessionsOfClient lists the sessions of a client, live and ended, oldest first.
func (tx *Tx) SessionsOfClient(id string) iter.Seq2[Session, error] {
	return sessions.scanIndex(tx, sessionByClient, []byte(id))
}

// Consent reads a remembered consent.
func (tx *Tx) Consent(user ulid.ULID, client string, scope Digest) (Consent, error) {
	return consents.get(tx, consentKey(user, client, &scope))
}

// PutConsent remembers a consent, new or not.
func (tx *Tx) PutConsent(c Consent) error { return consents.upsert(tx, &c) }

// Consents lists the remembered consents by user.
func (tx *Tx) Consents() iter.Seq2[Consent, error] { return consents.scan(tx, nil) }

// ConsentsOf lists the remembered consents of a user.
func (tx *Tx) ConsentsOf(user ulid.ULID) iter.Seq2[Consent, error] {
	return consents.scanUnder(tx, user[:])
}

// RemoveConsent forgets a consent.
func (tx *Tx) RemoveConsent(user ulid.ULID, client string, scope Digest) error {
	return absent(consents.remove(tx, consentKey(user, client, &scope)))
}

// Assertion reads a client assertion that was used.
func (tx *Tx) Assertion(key Digest) (Assertion, error) { return assertions.get(tx, key[:]) }

// Assertions lists used client assertions.
func (tx *Tx) Assertions() iter.Seq2[Assertion, error] { return assertions.scan(tx, nil) }

// PutAssertion notes that a client assertion was used.
func (tx *Tx) PutAssertion(a Assertion) error { return assertions.upsert(tx, &a) }

// RemoveAssertion forgets a client assertion.
func (tx *Tx) RemoveAssertion(key Digest) error { return absent(assertions.remove(tx, key[:])) }

// SigningKeys lists the signing keys, retired ones too.
func (tx *Tx) SigningKeys() iter.Seq2[SigningKey, error] { return signingKeys.scan(tx, nil) }

// PutSigningKey writes a signing key, new or not.
func (tx *Tx) PutSigningKey(k SigningKey) error { return signingKeys.upsert(tx, &k) }

// RemoveSigningKey deletes a signing key.
func (tx *Tx) RemoveSigningKey(id string) error { return absent(signingKeys.remove(tx, []byte(id))) }
