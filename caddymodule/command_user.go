package caddymodule

import (
	"context"
	"errors"
	"net/http"

	"github.com/spf13/cobra"
)

func userCommand() *cobra.Command {
	cmd := group(&cobra.Command{Use: "user", Short: "Manages users"})
	cmd.AddCommand(
		userAddCommand(),
		leaf("list", "Lists all users", 0, 0, runUserList),
		leaf("show <localpart>", "Shows a user", 1, 1, runUserShow),
		setPasswordCommand(),
		leaf("lock <localpart>", "Suspends a user, whose sessions stay and do not work", 1, 1, userChange("lock", "locked")),
		leaf("unlock <localpart>", "Lets a locked user's sessions work again", 1, 1, userChange("unlock", "unlocked")),
		deactivateCommand(),
		leaf("reactivate <localpart>", "Opens a deactivated account again, with a new password", 1, 1, runReactivate),
		setAdminCommand(),
	)
	return cmd
}

func userAddCommand() *cobra.Command {
	cmd := leaf("add <localpart>", "Adds a user, here and at Synapse, and prints the user ID", 1, 1, runUserAdd)
	cmd.Flags().String("display-name", "", "Display name (default: the localpart)")
	cmd.Flags().Bool("admin", false, "Give the user the right to Synapse's admin API")
	cmd.Flags().Bool("adopt", false, "Take over a user that Synapse has already")
	return cmd
}

func runUserAdd(ctx context.Context, in *invocation) error {
	password, err := in.readSecret("Password for " + cell(in.args[0]) + " (empty: none)")
	if err != nil && !errors.Is(err, errNoSecret) {
		return err
	}
	var user userJSON
	err = in.ask(ctx, http.MethodPost, "/users", addUserJSON{
		Localpart:   in.args[0],
		Password:    password,
		DisplayName: in.text("display-name"),
		Admin:       in.flag("admin"),
		Adopt:       in.flag("adopt"),
	}, &user)
	if err != nil {
		return err
	}
	in.say("%s", user.UserID)
	return nil
}

func runUserList(ctx context.Context, in *invocation) error {
	heading := []string{"USER ID", "CREATED", "STATE", "PASSWORD", "ADMIN"}
	return in.askTable(ctx, "/users", heading, func(line []byte) ([]string, error) {
		var u userJSON
		err := decodeLine(line, &u)
		return []string{u.UserID, instant(u.CreatedAt), u.state(), yesNo(u.HasPassword), yesNo(u.Admin)}, err
	})
}

// state is what a user can do.
func (u *userJSON) state() string {
	switch {
	case !u.DeactivatedAt.IsZero():
		return "deactivated"
	case !u.LockedAt.IsZero():
		return "locked"
	}
	return "active"
}

func runUserShow(ctx context.Context, in *invocation) error {
	var u userJSON
	if err := in.ask(ctx, http.MethodGet, pathOf("users", in.args[0]), nil, &u); err != nil || in.json {
		return err
	}
	t := newTable(in.out())
	t.row("User ID:", u.UserID)
	t.row("ID:", u.ID)
	t.row("Display name:", u.DisplayName)
	t.row("State:", u.state())
	t.row("Admin:", yesNo(u.Admin))
	t.row("Password:", yesNo(u.HasPassword))
	t.row("Created:", instant(u.CreatedAt))
	if !u.LockedAt.IsZero() {
		t.row("Locked:", instant(u.LockedAt))
	}
	if !u.DeactivatedAt.IsZero() {
		t.row("Deactivated:", instant(u.DeactivatedAt))
	}
	return t.Flush()
}

// change makes a request that changes the user named by the first argument, and says what the user is then.
func (in *invocation) change(ctx context.Context, verb string, body any, done string) error {
	var u userJSON
	if err := in.ask(ctx, http.MethodPost, pathOf("users", in.args[0], verb), body, &u); err != nil {
		return err
	}
	in.say("%s: %s", u.UserID, done)
	return nil
}

func userChange(verb, done string) func(context.Context, *invocation) error {
	return func(ctx context.Context, in *invocation) error { return in.change(ctx, verb, nil, done) }
}

func deactivateCommand() *cobra.Command {
	cmd := leaf("deactivate <localpart>", "Closes an account, here and at Synapse: every session ends", 1, 1,
		func(ctx context.Context, in *invocation) error {
			return in.change(ctx, "deactivate", deactivateJSON{Erase: in.flag("erase")}, "deactivated")
		})
	cmd.Flags().Bool("erase", false, "Ask Synapse to forget the person as well (GDPR)")
	return cmd
}

func setAdminCommand() *cobra.Command {
	cmd := leaf("set-admin <localpart>", "Gives a user the right to Synapse's admin API", 1, 1,
		func(ctx context.Context, in *invocation) error {
			admin, done := true, "may use the admin API"
			if in.flag("revoke") {
				admin, done = false, "may not use the admin API"
			}
			return in.change(ctx, "admin", adminRightJSON{Admin: &admin}, done)
		})
	cmd.Flags().Bool("revoke", false, "Take the right away")
	return cmd
}

func setPasswordCommand() *cobra.Command {
	cmd := leaf("set-password <localpart>", "Sets a user's password; an empty line takes it away", 1, 1, runSetPassword)
	cmd.Flags().Bool("end-sessions", false, "End all sessions of the user as well")
	return cmd
}

func runSetPassword(ctx context.Context, in *invocation) error {
	password, err := in.readSecret("New password for " + cell(in.args[0]) + " (empty: none)")
	if err != nil {
		return err
	}
	done := "password set"
	if password == "" {
		done = "has no password any more"
	}
	return in.change(ctx, "password", passwordJSON{Password: &password, EndSessions: in.flag("end-sessions")}, done)
}

func runReactivate(ctx context.Context, in *invocation) error {
	password, err := in.readSecret("New password for " + cell(in.args[0]))
	if err != nil {
		return err
	}
	return in.change(ctx, "reactivate", passwordJSON{Password: &password}, "active")
}
