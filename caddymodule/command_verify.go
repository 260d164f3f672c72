package caddymodule

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-matrix/caddy-matrix-auth/store"
)

func verifyCommand() *cobra.Command {
	cmd := leaf("verify --offline DIR", "Reads a database that no server uses, and proves that it is sound", 0, 0, runVerify)
	cmd.Flags().String("offline", "", "The data directory")
	return cmd
}

// runVerify works on the directory itself. The store refuses one that a server uses.
func runVerify(ctx context.Context, in *invocation) error {
	dir := in.text("offline")
	if dir == "" {
		return usageError("--offline DIR is missing: a database is verified while no server uses it")
	}
	o := store.Options{Dir: dir, Now: time.Now, Rand: rand.Reader}
	report, err := store.VerifyDir(ctx, o)
	if errors.Is(err, store.ErrEncryptionKey) {
		if o.EncryptionKey, err = in.readEncryptionKey(); err != nil {
			return err
		}
		report, err = store.VerifyDir(ctx, o)
	}
	if err != nil {
		return err
	}
	if err := in.printReport(&report); err != nil {
		return err
	}
	if !report.OK() {
		return fmt.Errorf("the database has %d problems", report.ProblemCount)
	}
	return nil
}

func (in *invocation) readEncryptionKey() ([]byte, error) {
	text, err := in.readSecret("The database is encrypted. Its encryption_key")
	if errors.Is(err, errNoSecret) || err == nil && text == "" {
		return nil, errors.New("the database is encrypted: give its encryption_key as a line on standard input")
	}
	if err != nil {
		return nil, err
	}
	key, err := parseEncryptionKey(text)
	if err != nil {
		return nil, fmt.Errorf("encryption_key: %w", err)
	}
	return key, nil
}

func (in *invocation) printReport(r *store.Report) error {
	if in.json {
		line, err := encodeLine(newVerifyJSON(r))
		if err != nil {
			return err
		}
		_, err = in.out().Write(line)
		return err
	}
	t := newTable(in.out(), "TABLE", "RECORDS", "INDEX ENTRIES", "BYTES")
	for _, name := range slices.Sorted(maps.Keys(r.Tables)) {
		v := r.Tables[name]
		t.row(name, strconv.Itoa(v.Records), strconv.Itoa(v.Entries), strconv.FormatUint(v.Bytes, 10))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	for _, p := range r.Problems {
		in.say("problem: %s", printableLine(p))
	}
	if r.OK() {
		in.say("no problems, revision %d", r.Revision)
	}
	return nil
}
