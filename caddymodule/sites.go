package caddymodule

import (
	"errors"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// warnAboutIssuer says if the site at the issuer's host is not the one that serves the pages: people would be sent where
// nobody is. What only a request can tell (another proxy, a path matcher) is the doctor's business.
func (a *App) warnAboutIssuer() {
	if !a.mounted.has(route.Human) {
		return // There is a warning about that already.
	}
	app, err := a.ctx.AppIfConfigured("http")
	if err != nil {
		if !errors.Is(err, caddy.ErrNotConfigured) {
			a.log.Warn("looking at the sites", zap.Error(err))
		}
		return
	}
	host := a.conf.issuer.Hostname()
	for _, server := range app.(*caddyhttp.App).Servers {
		if servesPages(server.Routes, host) {
			return
		}
	}
	a.log.Warn("no site for the issuer's host serves the group human: the pages to sign in at are not where clients send people",
		zap.String("host", host), zap.String("group", string(route.Human)), a.Source.field("issuer"))
}

// servesPages reports whether a request for the host can reach a handler of ours that serves the pages.
func servesPages(routes caddyhttp.RouteList, host string) bool {
	for i := range routes {
		if !takesHost(routes[i].MatcherSets, host) {
			continue
		}
		for _, handler := range routes[i].Handlers {
			switch h := handler.(type) {
			case *Handler:
				if slices.Contains(h.groups, route.Human) {
					return true
				}
			case *caddyhttp.Subroute:
				if servesPages(h.Routes, host) {
					return true
				}
			}
		}
	}
	return false
}

// takesHost reports whether one of the matcher sets takes requests for the host: it names it, or names none. A pattern whose
// meaning is only known with a request is believed.
func takesHost(sets caddyhttp.MatcherSets, host string) bool {
	if len(sets) == 0 {
		return true
	}
	return slices.ContainsFunc(sets, func(set caddyhttp.MatcherSet) bool {
		for _, m := range set {
			names, ok := m.(caddyhttp.MatchHost)
			if p, pointer := m.(*caddyhttp.MatchHost); pointer {
				names, ok = *p, true
			}
			if ok && !slices.ContainsFunc(names, func(name string) bool { return hostCovers(name, host) }) {
				return false
			}
		}
		return true
	})
}

// hostCovers reports whether a site's name stands for the host, as caddyhttp.MatchHost has it.
func hostCovers(name, host string) bool {
	if strings.Contains(name, "{") || strings.EqualFold(name, host) {
		return true
	}
	nameLabels, hostLabels := strings.Split(name, "."), strings.Split(host, ".")
	if !strings.Contains(name, "*") || len(nameLabels) != len(hostLabels) {
		return false
	}
	for i, label := range nameLabels {
		if label != "*" && !strings.EqualFold(label, hostLabels[i]) {
			return false
		}
	}
	return true
}
