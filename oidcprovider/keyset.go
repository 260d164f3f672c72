package oidcprovider

import (
	"net/http"
	"slices"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-json-experiment/json"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/matrixerr"
	"github.com/caddy-matrix/caddy-matrix-auth/internal/route"
)

// keySet is the published keys, encoded.
type keySet struct {
	of []string // their IDs
	*published
}

// serveKeys answers with the key set (RFC 7517 §5): the keys that sign, and those that signed a short time ago.
func (o *OAuth) serveKeys(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		new(published).serve(w, r)
		return
	}
	keys, err := o.Service.Keys(r.Context())
	if err == nil {
		var set *keySet
		if set, err = o.keySet(&keys); err == nil {
			set.write(w, r)
			return
		}
	}
	o.note(&call{endpoint: route.Keys}, err)
	matrixerr.CORS(w.Header())
	trouble(w, true)
}

// keySet encodes the keys, if they are not those of the last time.
func (o *OAuth) keySet(keys *auth.Keys) (*keySet, error) {
	if set := o.keys.Load(); set != nil && set.isOf(keys.Public) {
		return set, nil
	}
	var out jose.JSONWebKeySet
	var of []string
	for _, k := range keys.Public {
		out.Keys = append(out.Keys, jose.JSONWebKey{Key: k.Public, KeyID: k.ID, Algorithm: k.Algorithm, Use: "sig"})
		of = append(of, k.ID)
	}
	body, err := json.Marshal(out)
	if err != nil {
		return nil, err
	}
	set := &keySet{of: of, published: publish(body)}
	o.keys.Store(set)
	return set, nil
}

func (s *keySet) isOf(keys []auth.PublicKey) bool {
	return slices.EqualFunc(s.of, keys, func(id string, k auth.PublicKey) bool { return id == k.ID })
}
