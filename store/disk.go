package store

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
)

// Limits of free disk space. Badger writes to sparse mappings: without a block behind the page the process dies of SIGBUS.
const (
	minFreeToOpen  = 64 << 20  // below, Open is refused: it writes too
	minFreeToWrite = 256 << 20 // or as much as the store has, if that is more: a compaction may write it all again
)

func unlimited(string) (uint64, error) { return math.MaxUint64, nil }

// mebibytes rounds down, for people.
func mebibytes(n uint64) uint64 { return n >> 20 }

// prepareDir makes the directory if it is absent and makes sure that it is ours alone.
func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the store's directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("looking at the store's directory: %w", err)
	}
	if owner, ok := ownerOf(info); ok && owner != os.Geteuid() {
		return fmt.Errorf("%w: %s is owned by uid %d, and this process is uid %d: run it as that user, or chown -R the directory",
			ErrForeign, dir, owner, os.Geteuid())
	}
	if info.Mode().Perm()&0o077 == 0 {
		return nil
	}
	return tighten(dir)
}

// tighten closes a directory to others if it is a store or about to become one, and nothing else.
func tighten(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("reading the store's directory: %w", err)
	}
	if len(entries) > 0 && !holdsStore(dir) {
		return nil
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return fmt.Errorf("closing the store's directory to others: %w", err)
	}
	return nil
}

// holdsStore reports whether there is a Badger database in dir.
func holdsStore(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "MANIFEST"))
	return err == nil
}

// checkSpaceToOpen refuses to open with so little space that opening could kill the process.
func checkSpaceToOpen(o *Options) error {
	free, err := o.FreeBytes(o.Dir)
	if err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", o.Dir, err)
	}
	if free < minFreeToOpen {
		return fmt.Errorf("%w: only %d MiB are free on the file system of %s, and the store needs at least %d MiB to open",
			ErrUnavailable, mebibytes(free), o.Dir, mebibytes(minFreeToOpen))
	}
	return nil
}

// checkSpaceToWrite says why writing must wait for more space; size is that of the store.
func checkSpaceToWrite(o *Options, size uint64) error {
	free, err := o.FreeBytes(o.Dir)
	if err != nil {
		return fmt.Errorf("asking for the free space of %s: %w", o.Dir, err)
	}
	need := max(minFreeToWrite, size)
	if free < need {
		return errors.New(lowSpace(o.Dir, free, need))
	}
	return nil
}

func lowSpace(dir string, free, need uint64) string {
	return fmt.Sprintf("only %d MiB are free on the file system of %s, and writing needs %d MiB",
		mebibytes(free), dir, mebibytes(need))
}
