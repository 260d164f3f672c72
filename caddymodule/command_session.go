package caddymodule

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"
)

func sessionCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "session", Short: "Manages sessions"})
	end := leaf("end <session ID> | end --all <localpart>", "Ends a session, or all sessions of a user", 1, 1, runSessionEnd)
	end.Flags().Bool("all", false, "End all sessions of a user")
	cmd.AddCommand(leaf("list [<localpart>]", "Lists the live sessions of everybody, or of a user", 0, 1, runSessionList), end)
	return cmd
}

func runSessionList(ctx context.Context, in *invocation) error {
	path := "/sessions"
	if len(in.args) > 0 {
		path += "?" + url.Values{"localpart": in.args}.Encode()
	}
	heading := []string{"ID", "KIND", "USER ID", "DEVICE", "CLIENT", "CREATED", "LAST ACTIVE", "ADDRESS", "USER AGENT"}
	return in.askTable(ctx, path, heading, func(line []byte) ([]string, error) {
		var s sessionJSON
		err := decodeLine(line, &s)
		return []string{
			s.ID, s.Kind, s.UserID, s.DeviceID, s.ClientID, instant(s.CreatedAt), instant(s.LastActiveAt), s.LastActiveIP,
			s.UserAgent,
		}, err
	})
}

func runSessionEnd(ctx context.Context, in *invocation) error {
	var ended endedJSON
	var err error
	if in.flag("all") {
		err = in.ask(ctx, http.MethodPost, "/sessions/end", endSessionsJSON{Localpart: in.args[0]}, &ended)
	} else {
		err = in.ask(ctx, http.MethodPost, pathOf("sessions", in.args[0], "end"), nil, &ended)
	}
	if err != nil {
		return err
	}
	in.say("sessions ended: %d", ended.Ended)
	return nil
}

func tokenCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "token", Short: "Issues access tokens"})
	issue := leaf("issue <localpart>", "Issues an access token for a user, and shows it this once", 1, 1, runTokenIssue)
	issue.Flags().String("device", "", "Device that the token is for; a live session on it ends (default: none)")
	issue.Flags().Bool("legacy", false, "Make it a token of the legacy login, which always has a device")
	issue.Flags().StringArray("scope", nil, "Further scope: urn:synapse:admin:* for a user with the admin right")
	issue.Flags().String("expires", "", "How long it is good for, such as 12h or 30d (default: without end)")
	cmd.AddCommand(issue)
	return cmd
}

func runTokenIssue(ctx context.Context, in *invocation) error {
	scope, _ := in.Flags().GetStringArray("scope")
	body := issueTokenJSON{
		Localpart: in.args[0],
		DeviceID:  in.text("device"),
		Legacy:    in.flag("legacy"),
		Scope:     strings.Join(scope, " "),
	}
	if expires := in.text("expires"); expires != "" {
		d, err := caddy.ParseDuration(expires)
		if err != nil || d < time.Second {
			return usageError("--expires takes a duration of at least a second, such as 12h or 30d")
		}
		body.ExpiresIn = int64(d / time.Second)
	}
	var t tokenJSON
	if err := in.ask(ctx, http.MethodPost, "/tokens", body, &t); err != nil || in.json {
		return err
	}
	in.say("%s", t.AccessToken)
	end := "never"
	if !t.ExpiresAt.IsZero() {
		end = instant(t.ExpiresAt)
	}
	fmt.Fprintf(in.ErrOrStderr(), "For %s, device %s, session %s, expires %s. It is not shown again.\n",
		cell(t.UserID), cell(t.DeviceID), cell(t.SessionID), end)
	return nil
}
