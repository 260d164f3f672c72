package caddymodule

import (
	"sync"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// mounts collects which groups the sites of a configuration serve.
type mounts struct {
	mu       sync.Mutex
	groups   map[route.Group]bool
	internal []string // listener addresses of the sites with the group internal
}

func (m *mounts) add(list []route.Group) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.groups == nil {
		m.groups = make(map[route.Group]bool)
	}
	for _, g := range list {
		m.groups[g] = true
	}
}

func (m *mounts) addInternal(listen []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.internal = append(m.internal, listen...)
}

func (m *mounts) has(g route.Group) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.groups[g]
}

// unmounted says what does not work while no site serves a group.
var unmounted = map[route.Group]string{
	route.Discovery: "no site serves the group discovery: clients do not find the homeserver by themselves",
	route.OAuth:     "no site serves the group oauth: clients with OAuth cannot sign in",
	route.Human:     "no site serves the group human: there are no pages to sign in at",
	route.Assets:    "no site serves the group assets: the pages have no style",
	route.Compat:    "no site serves the group compat: nobody can log in with a client that does not know OAuth",
	route.Internal:  "no site serves the group internal: Synapse cannot ask whether a token is good, and refuses every one",
}

// warnAboutConfig says what is allowed and is probably a mistake.
func (a *App) warnAboutConfig() {
	for _, g := range groups {
		if !a.mounted.has(g) {
			a.log.Warn(unmounted[g], zap.String("group", string(g)), a.Source.field(wholeApp))
		}
	}
	a.warnAboutIssuer()
	for _, option := range a.conf.literalSecrets {
		a.log.Warn("a secret stands in the configuration itself, where the admin endpoint and the autosaved copy show it;"+
			" use a placeholder such as {file./path} or {env.NAME}", zap.String("option", option), a.Source.field(option))
	}
}
