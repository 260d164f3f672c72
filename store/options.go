package store

import (
	"errors"
	"fmt"
	"io"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/mxid"
)

// Options says where a store is and what it is handed.
type Options struct {
	Dir           string          // made with mode 0700 if absent; empty: in memory, for tests
	EncryptionKey []byte          // 16, 24 or 32 bytes; nil: not encrypted
	ServerName    mxid.ServerName // remembered in the data: one store serves one server
	Now           func() time.Time
	Rand          io.Reader
	Log           *zap.Logger // nil: no log

	// FreeBytes tells the space left on the file system of dir. Nil: it is asked (and is unlimited in memory).
	FreeBytes func(dir string) (uint64, error)

	// FailCommit is for tests of what lies above: it is asked after each commit, and its error makes the commit one of unknown
	// outcome. Nil: no commit fails by itself.
	FailCommit func() error

	anyServer bool // VerifyDir may not know the server's name
	fault     faultFunc
}

// faultFunc lets a test fail a step: before a commit, after it (its outcome is then unknown to the writer), when the
// database is opened, or when a failed commit is undone. The last step, when writing goes on after that, cannot fail.
type faultFunc func(step faultStep) error

type faultStep int

const (
	faultBeforeCommit faultStep = iota + 1
	faultAfterCommit
	faultOpen
	faultUndo
	faultHealed
)

func (f faultFunc) at(step faultStep) error {
	if f == nil {
		return nil
	}
	return f(step)
}

// check refuses what cannot work and fills in what may be left out.
func (o *Options) check() error {
	if o.Now == nil || o.Rand == nil {
		return errors.New("store: options without clock or randomness")
	}
	if o.ServerName == "" && !o.anyServer {
		return errors.New("store: options without server name")
	}
	switch len(o.EncryptionKey) {
	case 0, 16, 24, 32:
	default:
		return fmt.Errorf("store: an encryption key has 16, 24 or 32 bytes, this one has %d", len(o.EncryptionKey))
	}
	if o.Log == nil {
		o.Log = zap.NewNop()
	}
	if fail := o.FailCommit; fail != nil {
		o.fault = func(step faultStep) error {
			if step != faultAfterCommit {
				return nil
			}
			return fail()
		}
	}
	if o.FreeBytes == nil {
		o.FreeBytes = freeBytes
		if o.Dir == "" {
			o.FreeBytes = unlimited
		}
	}
	return nil
}
