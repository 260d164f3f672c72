package store

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/token"
)

// meta is a fact about the store itself.
type meta struct {
	Name  string `cbor:"1,keyasint"`
	Value []byte `cbor:"2,keyasint"`
}

// Names of what the store knows about itself.
const (
	metaFormat     = "format"      // big-endian uint32
	metaServerName = "server_name" // text
	metaCreated    = "created"     // RFC 3339
	metaTokenKey   = "token_key"   // 32 random bytes: the MAC key of token.Mint
)

// format is the version of everything in this package. A program opens only its own; 1 is the first.
const format = 1

// Meta reads a named fact about the store.
func (tx *Tx) Meta(name string) ([]byte, error) {
	m, err := metas.get(tx, []byte(name))
	return m.Value, err
}

// PutMeta writes a named fact about the store.
func (tx *Tx) PutMeta(name string, value []byte) error {
	return metas.upsert(tx, &meta{Name: name, Value: value})
}

// initMeta writes the first facts into an empty store.
func initMeta(tx *Tx, o *Options) error {
	var key token.Key
	if _, err := io.ReadFull(o.Rand, key[:]); err != nil {
		return fmt.Errorf("making the token key: %w", err)
	}
	facts := []meta{
		{metaFormat, binary.BigEndian.AppendUint32(nil, format)},
		{metaServerName, []byte(o.ServerName)},
		{metaCreated, tx.Now().AppendFormat(nil, time.RFC3339)},
		{metaTokenKey, key[:]},
	}
	for _, m := range facts {
		if err := metas.insert(tx, &m); err != nil {
			return err
		}
	}
	return nil
}

// readMeta makes sure that the store is one of this server in our format, and reads its token key.
func readMeta(tx *Tx, o *Options) (key token.Key, err error) {
	if err := checkFormat(tx, o.Dir); err != nil {
		return key, err
	}
	name, err := tx.Meta(metaServerName)
	if err != nil {
		return key, fmt.Errorf("reading the store's server name: %w", err)
	}
	if !o.anyServer && string(name) != string(o.ServerName) {
		return key, fmt.Errorf("%w: the store in %s belongs to the server %s, and the configuration says %s: "+
			"correct the server name or choose another directory",
			ErrForeign, o.Dir, name, o.ServerName)
	}
	value, err := tx.Meta(metaTokenKey)
	if err != nil || len(value) != len(key) {
		return key, fmt.Errorf("%w: no token key in the store", ErrCorrupt)
	}
	copy(key[:], value)
	return key, nil
}

func checkFormat(tx *Tx, dir string) error {
	value, err := tx.Meta(metaFormat)
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("%w: the database in %s is not a store of this program: choose another directory", ErrForeign, dir)
	}
	if err != nil {
		return fmt.Errorf("reading the store's format: %w", err)
	}
	if len(value) != 4 {
		return fmt.Errorf("%w: format of %d bytes", ErrCorrupt, len(value))
	}
	if got := binary.BigEndian.Uint32(value); got != format {
		return fmt.Errorf("%w: the store in %s has format %d, and this program reads format %d: "+
			"use the version of the program that wrote it, or a newer one that converts it",
			ErrForeign, dir, got, format)
	}
	return nil
}
