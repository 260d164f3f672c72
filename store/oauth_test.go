package store

import (
	"context"
	"errors"
	"reflect"
	"runtime"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/oklog/ulid/v2"
)

func testDigest(n int) Digest { return Digest{byte(n), 0, byte(n >> 8), 7} }

func testBrowserSession(n, user int) BrowserSession {
	return BrowserSession{ID: testID(n), UserID: testID(user), Cookie: testDigest(n), CreatedAt: testTime, AuthenticatedAt: testTime, UsedAt: testTime}
}

func testGrant(n int) Grant {
	return Grant{ID: testID(n), ClientID: "client", RedirectURI: "app:/", Challenge: "challenge", Browser: testDigest(n), CreatedAt: testTime, Status: GrantPending}
}

func testDeviceGrant(n int) DeviceGrant {
	return DeviceGrant{ID: testID(n), DeviceCode: testDigest(n), UserCode: "BCDFGHJK", ClientID: "client", CreatedAt: testTime, Status: GrantPending}
}

// TestGoldenOAuth has the bytes of the OAuth provider's records: a full and a least one of each.
func TestGoldenOAuth(t *testing.T) {
	checkGolden(t, &browserSessions, "browser_session", BrowserSession{
		ID: testID(1), UserID: testID(2), Cookie: testDigest(3), CreatedAt: testTime, AuthenticatedAt: testTime.Add(time.Second), UsedAt: testTime.Add(time.Minute),
		Addr: "192.0.2.1", UserAgent: "Browser/1 \xff",
	})
	checkGolden(t, &grants, "grant", Grant{
		ID: testID(1), ClientID: "client", RedirectURI: "com.example.App:/a%20b?x=1", ResponseMode: "form_post", Scope: []string{"openid", "urn:matrix:client:api:*"},
		State: "state", HasState: true, Nonce: "nonce", Challenge: "challenge", Prompt: []string{"login"}, LoginHint: "mxid:@a:b", Subject: testID(2),
		UILocales: "de en", ACR: true, MinAuthTime: testTime, Browser: testDigest(3), CreatedAt: testTime, Status: GrantExchanged, UserID: testID(4),
		BrowserSessionID: testID(5), AuthTime: testTime, Code: testDigest(6), FulfilledAt: testTime, ExchangedAt: testTime, SessionID: testID(7),
	})
	checkGolden(t, &grants, "grant_least", testGrant(1))
	failed := testGrant(1)
	failed.Status, failed.Failure = GrantFailed, Failure{Error: "login_required", Description: "nobody is signed in"}
	checkGolden(t, &grants, "grant_failed", failed)
	checkGolden(t, &deviceGrants, "device_grant", DeviceGrant{
		ID: testID(1), DeviceCode: testDigest(2), UserCode: "BCDFGHJK", ClientID: "client", Scope: []string{"openid"}, CreatedAt: testTime, Addr: "192.0.2.1",
		UserAgent: "Phone/1", Browser: testDigest(3), Status: GrantDenied, UserID: testID(4), BrowserSessionID: testID(5), AuthTime: testTime, DecidedAt: testTime,
		ExchangedAt: testTime, SessionID: testID(6),
	})
	checkGolden(t, &deviceGrants, "device_grant_least", testDeviceGrant(1))
	checkGolden(t, &clients, "client", Client{
		ID: "client", Digest: testDigest(1), Name: "App", URI: "https://a.example/", LogoURI: "https://a.example/l", PolicyURI: "https://a.example/p", TOSURI: "https://a.example/t",
		Localized: map[string]string{"client_name#de": "Anwendung", "client_name#fr": "Appli"}, ApplicationType: "native", RedirectURIs: []string{"app:/"},
		GrantTypes: []string{"authorization_code"}, ResponseTypes: []string{"code"}, AuthMethod: "none", Secret: testDigest(2), JWKS: []byte(`{"keys":[]}`),
		IDTokenAlg: "ES256", CreatedAt: testTime, UsedAt: testTime, RegisteredAt: testTime,
	})
	checkGolden(t, &clients, "client_least", Client{ID: "client", AuthMethod: "none", CreatedAt: testTime, RegisteredAt: testTime})
	checkGolden(t, &consents, "consent", Consent{UserID: testID(1), ClientID: "client", Scope: testDigest(2), GrantedAt: testTime, Redirects: testDigest(3)})
	checkGolden(t, &assertions, "assertion", Assertion{Key: testDigest(1), ExpiresAt: testTime})
	checkGolden(t, &signingKeys, "signing_key", SigningKey{
		ID: "kid", Algorithm: "RS256", Private: []byte{1, 2}, Public: []byte{3, 4}, CreatedAt: testTime, RetiredAt: testTime,
	})
}

// TestMetadataDigestIsOfTheMetadataAlone: every member of the metadata counts, and nothing else.
func TestMetadataDigestIsOfTheMetadataAlone(t *testing.T) {
	base := Client{Name: "App", AuthMethod: "none", RedirectURIs: []string{"app:/"}}
	want, err := base.MetadataDigest()
	if err != nil {
		t.Fatal(err)
	}
	same := base
	same.ID, same.Digest, same.Secret, same.CreatedAt, same.UsedAt, same.RegisteredAt = "x", testDigest(1), testDigest(2), testTime, testTime, testTime
	if got, _ := same.MetadataDigest(); got != want {
		t.Error("what is not metadata changes the digest")
	}
	metadata := reflect.TypeFor[Client]()
	for i := range metadata.NumField() {
		name := metadata.Field(i).Name
		switch name {
		case "ID", "Digest", "Secret", "CreatedAt", "UsedAt", "RegisteredAt":
			continue
		}
		other := base
		change(reflect.ValueOf(&other).Elem().Field(i))
		if got, _ := other.MetadataDigest(); got == want {
			t.Errorf("%s does not change the digest", name)
		}
	}
}

// change makes a field another one.
func change(v reflect.Value) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Map:
		v.Set(reflect.ValueOf(map[string]string{"a#b": "c"}))
	case reflect.Slice:
		v.Set(reflect.Append(v, reflect.New(v.Type().Elem()).Elem()))
	}
}

// TestUniqueOfTheProvider: what may be there only once.
func TestUniqueOfTheProvider(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	mustUpdate(t, db, func(tx *Tx) error {
		g := testGrant(1)
		g.Code = testDigest(1)
		return errors.Join(
			tx.InsertBrowserSession(testBrowserSession(1, 7)), tx.InsertGrant(g), tx.InsertGrant(testGrant(2)), tx.InsertDeviceGrant(testDeviceGrant(1)),
			tx.InsertClient(Client{ID: "a", Digest: testDigest(1)}), tx.InsertClient(Client{ID: "b"}), tx.InsertClient(Client{ID: "c"}),
		)
	})
	mustUpdate(t, db, func(tx *Tx) error {
		cookie := testBrowserSession(2, 8)
		cookie.Cookie = testDigest(1)
		code := testGrant(2)
		code.Code = testDigest(1)
		user, device := testDeviceGrant(2), testDeviceGrant(3)
		device.DeviceCode, device.UserCode = testDigest(1), "CDFGHJKL"
		for name, err := range map[string]error{
			"cookie": tx.InsertBrowserSession(cookie), "code": tx.UpdateGrant(code), "user code": tx.InsertDeviceGrant(user),
			"device code": tx.InsertDeviceGrant(device), "metadata": tx.InsertClient(Client{ID: "d", Digest: testDigest(1)}), "client": tx.InsertClient(Client{ID: "b"}),
		} {
			if !errors.Is(err, ErrConflict) {
				t.Errorf("the same %s: got %v, want a conflict", name, err)
			}
		}
		return nil
	})
	mustUpdate(t, db, func(tx *Tx) error {
		d := testDeviceGrant(1)
		d.Status = GrantFulfilled
		return errors.Join(tx.UpdateDeviceGrant(d), tx.InsertDeviceGrant(testDeviceGrant(2)), tx.RemoveGrant(testID(1)), tx.RemoveClient("a"))
	})
	mustView(t, db, func(tx *Tx) error {
		d, err := tx.DeviceGrantByUserCode("BCDFGHJK")
		if err != nil || d.ID != testID(2) {
			t.Errorf("a user code is free once its grant was decided: got %v, %v", d.ID, err)
		}
		if _, err := tx.GrantByCode(testDigest(1)); !errors.Is(err, ErrNotFound) {
			t.Errorf("the code of a removed grant: got %v", err)
		}
		if _, err := tx.GrantByCode(Digest{}); !errors.Is(err, ErrNotFound) {
			t.Errorf("no code: got %v", err)
		}
		if _, err := tx.ClientByDigest(testDigest(1)); !errors.Is(err, ErrNotFound) {
			t.Errorf("the metadata of a removed client: got %v", err)
		}
		return nil
	})
	mustVerify(t, db)
}

// TestEveryAccessorOfTheProvider writes, reads, lists and removes one record of each table.
func TestEveryAccessorOfTheProvider(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	b, g, d := testBrowserSession(1, 7), testGrant(1), testDeviceGrant(1)
	c, k := Client{ID: "client", Name: "App", CreatedAt: testTime}, SigningKey{ID: "kid", Algorithm: "ES256", Public: []byte{1}, CreatedAt: testTime}
	o := Consent{UserID: testID(7), ClientID: "client", Scope: testDigest(1), GrantedAt: testTime}
	other := Consent{UserID: testID(8), ClientID: "client", GrantedAt: testTime}
	a := Assertion{Key: testDigest(1), ExpiresAt: testTime}
	mustUpdate(t, db, func(tx *Tx) error {
		return errors.Join(tx.InsertBrowserSession(b), tx.InsertGrant(g), tx.InsertDeviceGrant(d), tx.InsertClient(c), tx.PutConsent(o), tx.PutConsent(o),
			tx.PutConsent(other), tx.PutAssertion(a), tx.PutSigningKey(k), tx.PutSigningKey(k))
	})
	report := mustVerify(t, db)
	for name, want := range map[string][2]int{
		"browser sessions": {1, 2}, "grants": {1, 0}, "device grants": {1, 2}, "clients": {1, 0}, "consents": {2, 0}, "client assertions": {1, 0}, "signing keys": {1, 0},
	} {
		if got := report.Tables[name]; got.Records != want[0] || got.Entries != want[1] {
			t.Errorf("%s: got %+v, want %v", name, got, want)
		}
	}
	mustView(t, db, func(tx *Tx) error {
		checkRecord(t, b)(tx.BrowserSession(b.ID))
		checkRecord(t, b)(tx.BrowserSessionByCookie(b.Cookie))
		checkAll(t, "sign-ins of a user", tx.BrowserSessionsOf(b.UserID), []BrowserSession{b})
		checkAll(t, "sign-ins", tx.BrowserSessions(ulid.ULID{}), []BrowserSession{b})
		checkAll(t, "sign-ins after", tx.BrowserSessions(b.ID), nil)
		checkRecord(t, g)(tx.Grant(g.ID))
		checkAll(t, "grants", tx.Grants(ulid.ULID{}), []Grant{g})
		checkRecord(t, d)(tx.DeviceGrant(d.ID))
		checkRecord(t, d)(tx.DeviceGrantByDeviceCode(d.DeviceCode))
		checkRecord(t, d)(tx.DeviceGrantByUserCode(d.UserCode))
		checkAll(t, "device grants", tx.DeviceGrants(ulid.ULID{}), []DeviceGrant{d})
		checkRecord(t, c)(tx.Client(c.ID))
		checkAll(t, "clients", tx.Clients(""), []Client{c})
		checkAll(t, "clients after", tx.Clients(c.ID), nil)
		checkRecord(t, o)(tx.Consent(o.UserID, o.ClientID, o.Scope))
		checkAll(t, "consents", tx.Consents(), []Consent{o, other})
		checkAll(t, "consents of a user", tx.ConsentsOf(o.UserID), []Consent{o})
		checkAll(t, "consents of another", tx.ConsentsOf(other.UserID), []Consent{other})
		checkAll(t, "consents of nobody", tx.ConsentsOf(testID(6)), nil)
		checkRecord(t, a)(tx.Assertion(a.Key))
		checkAll(t, "assertions", tx.Assertions(), []Assertion{a})
		checkAll(t, "keys", tx.SigningKeys(), []SigningKey{k})
		return nil
	})
	mustUpdate(t, db, func(tx *Tx) error {
		return errors.Join(tx.RemoveBrowserSession(b.ID), tx.RemoveGrant(g.ID), tx.RemoveDeviceGrant(d.ID), tx.RemoveClient(c.ID),
			tx.RemoveConsent(o.UserID, o.ClientID, o.Scope), tx.RemoveConsent(o.UserID, o.ClientID, o.Scope),
			tx.RemoveConsent(other.UserID, other.ClientID, other.Scope), tx.RemoveAssertion(a.Key), tx.RemoveAssertion(a.Key), tx.RemoveSigningKey(k.ID), tx.RemoveSigningKey(k.ID))
	})
	report = mustVerify(t, db)
	for _, name := range []string{"browser sessions", "grants", "device grants", "clients", "consents", "client assertions", "signing keys"} {
		if got := report.Tables[name]; got != (TableReport{}) {
			t.Errorf("%s after their removal: got %+v", name, got)
		}
	}
}

// checkRecord compares a record with what a read gives.
func checkRecord[T any](t *testing.T, want T) func(T, error) {
	return func(got T, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

// TestLifetimes: a grant only goes forward, and how long it does.
func TestLifetimes(t *testing.T) {
	at := func(d time.Duration) time.Time { return testTime.Add(d) }
	g := testGrant(1)
	if !g.Pending(at(GrantPendingFor-1)) || g.Pending(at(GrantPendingFor)) || g.Redeemable(at(0)) || g.Over(at(2*GrantPendingFor)) || !g.Over(at(2*GrantPendingFor+1)) {
		t.Error("a pending grant")
	}
	g.Status, g.FulfilledAt = GrantFulfilled, at(0)
	if g.Pending(at(0)) || !g.Redeemable(at(CodeFor-1)) || g.Redeemable(at(CodeFor)) || g.Over(at(GrantPendingFor)) || !g.Over(at(GrantPendingFor+1)) {
		t.Error("a fulfilled grant")
	}
	g.Status, g.ExchangedAt = GrantExchanged, at(0)
	if g.Redeemable(at(1)) || g.Over(at(GrantKeptFor)) || !g.Over(at(GrantKeptFor+1)) {
		t.Error("an exchanged grant")
	}
	d := testDeviceGrant(1)
	if !d.ExpiresAt().Equal(at(DeviceGrantFor)) || d.Over(at(2*DeviceGrantFor)) || !d.Over(at(2*DeviceGrantFor+1)) {
		t.Error("a pending device grant")
	}
	d.Status, d.ExchangedAt = GrantExchanged, at(0)
	if d.Over(at(GrantKeptFor)) || !d.Over(at(GrantKeptFor+1)) {
		t.Error("an exchanged device grant")
	}
}

// TestSpareUpdatesLeaveRoom: what nobody has authenticated for takes part in half of the queue.
func TestSpareUpdatesLeaveRoom(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	hold, held := make(chan struct{}), make(chan struct{})
	nothing := func(*Tx) error { return nil }
	results := make(chan error, queueLimit)
	go func() {
		results <- db.Update(context.Background(), func(*Tx) error { close(held); <-hold; return nil })
	}()
	<-held
	for range queueLimit / 2 {
		go func() { results <- db.UpdateSpare(context.Background(), nothing) }()
	}
	for db.Health().Queue < queueLimit/2 {
		runtime.Gosched()
	}
	if err := db.UpdateSpare(context.Background(), nothing); !errors.Is(err, ErrUnavailable) {
		t.Errorf("beyond half of the queue: got %v, want unavailable", err)
	}
	go func() { results <- db.Update(context.Background(), nothing) }()
	for db.Health().Queue < queueLimit/2+1 {
		runtime.Gosched()
	}
	close(hold)
	for range queueLimit/2 + 2 {
		if err := <-results; err != nil {
			t.Fatal(err)
		}
	}
}

// One consent that cannot be read is trouble for its own user alone, whose others are still listed.
func TestConsentsOfAUserAreNobodyElses(t *testing.T) {
	db := mustOpen(t, testOptions(""))
	before, after := Consent{UserID: testID(1), ClientID: "client"}, Consent{UserID: testID(2), ClientID: "client", Scope: testDigest(9)}
	mustUpdate(t, db, func(tx *Tx) error {
		spoiled := Digest{}
		tx.set(recordKey(consents.id, consentKey(after.UserID, "client", &spoiled)), []byte("spoiled"))
		return errors.Join(tx.PutConsent(before), tx.PutConsent(after))
	})
	mustView(t, db, func(tx *Tx) error {
		checkAll(t, "consents", tx.ConsentsOf(before.UserID), []Consent{before})
		var errs []error
		var all []Consent
		for c, err := range tx.ConsentsOf(after.UserID) {
			errs, all = append(errs, err), append(all, c)
		}
		if len(all) != 2 || !errors.Is(errs[0], ErrCorrupt) || errs[1] != nil || all[1] != after {
			t.Errorf("got %v, %v", all, errs)
		}
		return nil
	})
}
