//go:build !(linux || darwin || freebsd)

package store

import "io/fs"

// freeBytes knows nothing here, so nothing is refused.
func freeBytes(dir string) (uint64, error) { return unlimited(dir) }

func ownerOf(fs.FileInfo) (uid int, ok bool) { return 0, false }
