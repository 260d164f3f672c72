package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-matrix/caddy-matrix-auth/internal/doctor"
)

func statusCommand() *cobra.Command {
	return leaf("status", "Shows what runs", 0, 0, runStatus)
}

func runStatus(ctx context.Context, in *invocation) error {
	var s statusJSON
	if err := in.ask(ctx, http.MethodGet, "/status", nil, &s); err != nil || in.json {
		return err
	}
	database := fmt.Sprintf("%s, %.1f MiB, revision %d", s.DataDir, float64(s.StoreBytes)/(1<<20), s.Revision)
	if !s.Writable {
		database += ", cannot be written to: " + s.NotWritable
	}
	jobs := strconv.Itoa(s.Jobs)
	if s.Jobs > 0 {
		jobs += ", waiting for up to " + (time.Duration(s.OldestJobSeconds) * time.Second).String()
	}
	t := newTable(in.out())
	t.row("Version:", s.Version)
	t.row("Server name:", s.ServerName)
	t.row("Issuer:", s.Issuer)
	t.row("Public base URL:", s.PublicBaseURL)
	t.row("Synapse:", s.Synapse)
	t.row("Database:", database)
	t.row("Sessions in memory:", strconv.Itoa(s.SessionsInMemory))
	t.row("Jobs for Synapse:", jobs)
	t.row("Refreshes held:", strconv.Itoa(s.HeldRefreshes))
	t.row("Password hasher:", s.Hasher)
	t.row("Passwords waiting:", strconv.Itoa(s.PasswordsWaiting))
	return t.Flush()
}

func doctorCommand() *cobra.Command {
	cmd := leaf("doctor", "Tries out whether everything works, and says what to do about what does not", 0, 0, runDoctor)
	cmd.Flags().StringArray("homeserver-yaml", nil,
		"Synapse's configuration, to be compared with ours; may be repeated, in Synapse's order")
	return cmd
}

// runDoctor lets the running service examine itself. homeserver.yaml is read here, by who may read it, and goes there
// without its secrets.
func runDoctor(ctx context.Context, in *invocation) error {
	method, body := http.MethodGet, any(nil)
	if files, _ := in.Flags().GetStringArray("homeserver-yaml"); len(files) > 0 {
		d, err := doctor.Read(files...)
		if err != nil {
			return err
		}
		method, body = http.MethodPost, d
	}
	var checks []doctor.Check
	err := in.askLines(ctx, method, "/doctor", body, func(line []byte) error {
		checks = append(checks, doctor.Check{})
		return decodeLine(line, &checks[len(checks)-1])
	})
	if err != nil {
		return err
	}
	failed := 0
	for _, c := range checks {
		if !c.OK {
			failed++
		}
	}
	if !in.json {
		printChecks(in, checks)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed", failed, len(checks))
	}
	if len(checks) == 0 {
		return errors.New("no check was made")
	}
	return nil
}

// printChecks prints a line for each check. Further lines of a message, which are for copying, are indented.
func printChecks(in *invocation, checks []doctor.Check) {
	width := 0
	for _, c := range checks {
		width = max(width, len(c.Name))
	}
	for _, c := range checks {
		mark := "ok  "
		if !c.OK {
			mark = "FAIL"
		}
		first, rest, _ := strings.Cut(c.Message, "\n")
		in.say("%s  %-*s  %s", mark, width, cell(c.Name), printableLine(first))
		for line := range strings.Lines(rest) {
			in.say("          %s", printableLine(strings.TrimSuffix(line, "\n")))
		}
	}
}
