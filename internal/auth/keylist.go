package auth

import (
	"iter"
	"slices"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

// KeyInfo is a signing key as the administrator sees it.
type KeyInfo struct {
	ID        string
	Algorithm string
	CreatedAt time.Time
	RetiredAt time.Time // zero: it signs
	Published bool      // in the key set that clients fetch
}

// KeyList yields the signing keys and the retired ones that are still good for something, newest first.
func (s *Service) KeyList() iter.Seq2[KeyInfo, error] {
	return func(yield func(KeyInfo, error) bool) {
		keys, err := s.keyList()
		if err != nil {
			yield(KeyInfo{}, err)
			return
		}
		for _, k := range keys {
			if !yield(k, nil) {
				return
			}
		}
	}
}

func (s *Service) keyList() (list []KeyInfo, err error) {
	var unread failures
	err = s.DB.View(func(tx *store.Tx) error {
		for rec, err := range known(tx.SigningKeys(), &unread) {
			if err != nil {
				return err
			}
			retired := tx.Now().Sub(rec.RetiredAt)
			if !rec.RetiredAt.IsZero() && retired >= store.KeyHintFor {
				continue
			}
			list = append(list, KeyInfo{
				ID: rec.ID, Algorithm: rec.Algorithm, CreatedAt: rec.CreatedAt, RetiredAt: rec.RetiredAt,
				Published: rec.RetiredAt.IsZero() || retired < store.KeyPublishedFor,
			})
		}
		return nil
	})
	s.logUnread(&unread)
	slices.SortStableFunc(list, func(a, b KeyInfo) int { return b.CreatedAt.Compare(a.CreatedAt) })
	return list, err
}
