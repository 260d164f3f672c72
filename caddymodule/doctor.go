package caddymodule

import (
	"maps"
	"slices"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/auth"
)

// signingKeyIDs are the keys that sign now. Trouble with them is in the log, and for the doctor there are none.
func signingKeyIDs(k auth.Keys, err error) []string {
	if err != nil {
		return nil
	}
	var ids []string
	for _, alg := range slices.Sorted(maps.Keys(k.Signing)) {
		ids = append(ids, k.Signing[alg].ID)
	}
	return ids
}
