package store

import (
	"bytes"
	"testing"
)

// everyKey makes a key of each form in the key map.
func everyKey() [][]byte {
	id, user, handle := testID(1), testID(2), testHandle('a', 3)
	device := deviceKey(user, "DEVICE")
	sum := Digest{1, 0, 0, 2} // with zeros: only text must have none
	return [][]byte{
		recordKey('u', id[:]), uniqueKey('u', userByLocalpart, []byte("alice")),
		recordKey('p', user[:]),
		recordKey('s', id[:]),
		entryKey('s', sessionByUserLive, user[:], id[:]),
		uniqueKey('s', sessionByDevice, device),
		uniqueKey('s', sessionByAccess, handle[:]), uniqueKey('s', sessionByRefresh, handle[:]),
		entryKey('s', sessionByUserEnded, user[:], id[:]), entryKey('s', sessionByClient, []byte("client"), id[:]),
		recordKey('t', id[:]), recordKey('j', jobKey(user, "")), recordKey('j', jobKey(user, "DEVICE")), recordKey('m', []byte("format")),
		recordKey('b', id[:]), entryKey('b', browserSessionByUser, user[:], id[:]), uniqueKey('b', browserSessionByCookie, sum[:]),
		recordKey('g', id[:]), uniqueKey('g', grantByCode, sum[:]),
		recordKey('d', id[:]), uniqueKey('d', deviceGrantByDeviceCode, sum[:]), uniqueKey('d', deviceGrantByUserCode, []byte("BCDFGHJK")),
		recordKey('c', []byte("client")), uniqueKey('c', clientByDigest, sum[:]),
		recordKey('o', consentKey(user, "client", &sum)), recordKey('n', sum[:]), recordKey('k', []byte("kid")),
	}
}

func TestEveryKeyHasItsParser(t *testing.T) {
	for _, b := range everyKey() {
		k, err := parseKey(b)
		if err != nil {
			t.Errorf("parsing %x: %v", b, err)
			continue
		}
		if got := k.bytes(); !bytes.Equal(got, b) {
			t.Errorf("got %x, want %x", got, b)
		}
	}
}

func TestParsedParts(t *testing.T) {
	id, user := testID(1), testID(2)
	k, err := parseKey(entryKey('s', sessionByUserLive, user[:], id[:]))
	if err != nil {
		t.Fatal(err)
	}
	if k.kind != 's' || k.index != sessionByUserLive || !bytes.Equal(k.key, user[:]) || !bytes.Equal(k.pk, id[:]) {
		t.Errorf("got %+v", k)
	}
}

func TestKeysThatAreNone(t *testing.T) {
	id := testID(1)
	for _, b := range [][]byte{
		nil, {'u'}, {'u', 0}, {'x', 0, 1}, {'u', 9, 'a'}, {'u', 1}, {'u', 1, 'a', 0}, recordKey('u', id[:15]), recordKey('u', append(id[:], 0)),
		uniqueKey('s', sessionByDevice, id[:]), entryKey('s', sessionByUserLive, id[:8], id[:]), uniqueKey('s', sessionByUserLive, id[:]),
		uniqueKey('s', 3, []byte("client")), entryKey('s', 3, nil, id[:]), entryKey('s', 3, []byte("a\x00b"), id[:]),
		recordKey('c', nil), recordKey('c', []byte("a\x00b")), recordKey('n', id[:]), recordKey('j', id[:]), recordKey('o', append(id[:], make([]byte, widthDigest)...)),
		uniqueKey('g', 1, id[:]), uniqueKey('d', 2, nil), recordKey('k', nil), uniqueKey('u', 1, bytes.Repeat([]byte{'a'}, maxText+1)),
	} {
		if k, err := parseKey(b); err == nil {
			t.Errorf("got %+v for %x, want an error", k, b)
		}
	}
}

func FuzzParseKey(f *testing.F) {
	for _, b := range everyKey() {
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := parseKey(b)
		if err != nil {
			return
		}
		if got := k.bytes(); !bytes.Equal(got, b) {
			t.Errorf("got %x, want %x", got, b)
		}
	})
}
