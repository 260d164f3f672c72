package oidcprovider

import (
	"crypto/rsa"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Bounds of what a client says about itself.
const (
	maxName      = 100 // characters
	maxMarks     = 8   // above and below one letter: more than any script has, and too few to cover the lines around it
	maxLocalized = 20
	maxKeys      = 10
	minRSABits   = 2048 // RFC 7518 §3.3
)

// checkNames keeps out what could make a page say something else than it says.
func checkNames(m *clientMetadata) error {
	if m.Name != "" && !isName(m.Name) {
		return badMetadata("client_name is too long, has control characters, or shows as nothing or over more than itself")
	}
	return nil
}

// isName reports whether a name is short and shows as it is: no controls, nothing that turns the direction of writing,
// nothing that covers what stands around it, something to be seen.
func isName(s string) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= maxName && !strings.ContainsFunc(s, isHidden) &&
		strings.ContainsFunc(s, isSeen) && !isHeaped(s)
}

func isHeaped(s string) bool {
	marks := 0
	for _, r := range s {
		switch {
		case unicode.In(r, unicode.Mn, unicode.Me):
			marks++
		case !unicode.In(r, unicode.Cf, unicode.Other_Default_Ignorable_Code_Point): // What is invisible keeps no two marks apart.
			marks = 0
		}
		if marks > maxMarks {
			return true
		}
	}
	return false
}

// isSeen reports whether a character is one to know something by: not a space, a stop, or a mark that is nothing without a
// letter, nor what is invisible by definition (Unicode §5.21). All of them have their place between others.
func isSeen(r rune) bool {
	const brailleBlank = '\u2800' // a symbol without ink
	return unicode.In(r, unicode.L, unicode.N, unicode.S) && !unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) && r != brailleBlank
}

func isHidden(r rune) bool {
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029' || r == '\ufeff'
}

// localized are the members with a language (RFC 7591 §2.2): those that are good as the member itself would be. The others are
// dropped and never an error.
func localized(m *clientMetadata) map[string]string {
	members, err := m.members()
	if err != nil {
		return nil
	}
	var names []string
	for name := range members {
		if base, lang, tagged := strings.Cut(name, "#"); tagged && isLanguage(lang) && isLocalizable(base) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var kept map[string]string
	for _, name := range names {
		var value string
		if len(kept) == maxLocalized || json.Unmarshal(members[name], &value) != nil || !isLocalized(m, name, value) {
			continue
		}
		if kept == nil {
			kept = make(map[string]string)
		}
		kept[name] = value
	}
	return kept
}

func isLocalizable(member string) bool {
	switch member {
	case "client_name", "client_uri", "logo_uri", "tos_uri", "policy_uri":
		return true
	}
	return false
}

func isLocalized(m *clientMetadata, name, value string) bool {
	if strings.HasPrefix(name, "client_name#") {
		return value != "" && isName(value)
	}
	return checkRelated(m.URI, value) == nil
}

// isLanguage reports whether s looks like a language tag (BCP 47).
func isLanguage(s string) bool {
	return s != "" && len(s) <= 35 && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-") == ""
}

// canonicalKeys checks the client's keys: public ones only, and few.
func canonicalKeys(m *clientMetadata) error {
	if len(m.JWKS) == 0 || string(m.JWKS) == "null" {
		m.JWKS = nil
		if m.AuthMethod == authPrivateKeyJWT {
			return badMetadata("private_key_jwt needs jwks")
		}
		return nil
	}
	var set jose.JSONWebKeySet
	if err := json.Unmarshal(m.JWKS, &set); err != nil || len(set.Keys) == 0 || len(set.Keys) > maxKeys {
		return badMetadata("jwks has to be a set of up to ten public keys")
	}
	var keys []string
	for i := range set.Keys {
		if !set.Keys[i].Valid() || !set.Keys[i].IsPublic() {
			return badMetadata("jwks has to be a set of up to ten public keys")
		}
		if k, ok := set.Keys[i].Key.(*rsa.PublicKey); ok && k.N.BitLen() < minRSABits {
			return badMetadata("jwks has an RSA key with fewer than 2048 bits")
		}
		key := jose.JSONWebKey{Key: set.Keys[i].Key, KeyID: set.Keys[i].KeyID, Algorithm: set.Keys[i].Algorithm, Use: set.Keys[i].Use}
		b, err := json.Marshal(key)
		if err != nil {
			return badMetadata("jwks has to be a set of up to ten public keys")
		}
		keys = append(keys, string(b))
	}
	slices.Sort(keys)
	m.JWKS = jsontext.Value(`{"keys":[` + strings.Join(slices.Compact(keys), ",") + `]}`)
	return nil
}
