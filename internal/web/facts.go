package web

import (
	"strings"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// fact is one thing that a program will be able to do, in words.
type fact struct {
	Text   string // names it in the catalogue
	Icon   string // names a template
	Device mxid.DeviceID
	Danger bool
}

// facts are a scope in words, the gravest last. Rights over the server have a line each.
func facts(scope []string) []fact {
	var all []fact
	device, err := mxid.DeviceOf(scope)
	for _, f := range factsOf {
		for _, sc := range scope {
			if sc == f.scope {
				all = append(all, f.facts...)
			}
		}
		if f.scope == "" && err == nil && device != "" {
			all = append(all, fact{Text: "fact.device", Icon: "icon.device", Device: device})
		}
	}
	return all
}

// factsOf are the scopes in the order of their lines; the one without a name is the device.
var factsOf = []struct {
	scope string
	facts []fact
}{
	{"openid", []fact{{Text: "fact.openid", Icon: "icon.person"}}},
	{"profile", []fact{{Text: "fact.profile", Icon: "icon.person"}}},
	{"email", []fact{{Text: "fact.email", Icon: "icon.mail"}}},
	{mxid.ScopeAPI, apiFacts},
	{mxid.ScopeAPIUnstable, apiFacts},
	{"", nil},
	{mxid.ScopeAdmin, []fact{{Text: "fact.server_admin", Icon: "icon.warning", Danger: true}}},
	{mxid.ScopeMASAdmin, []fact{{Text: "fact.account_admin", Icon: "icon.warning", Danger: true}}},
}

var apiFacts = []fact{{Text: "fact.messages", Icon: "icon.message"}, {Text: "fact.keys", Icon: "icon.key"}}

// shownUserCode is a user code as devices show it.
func shownUserCode(code string) string {
	if len(code) != 8 {
		return code
	}
	return strings.ToUpper(code[:4] + "-" + code[4:])
}
