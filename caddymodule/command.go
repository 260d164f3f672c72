package caddymodule

import (
	"context"
	"errors"
	"fmt"
	"io"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "matrix-auth",
		Usage: "<command>",
		Short: "Manages the users and sessions of a Matrix homeserver",
		Long: `
Manages what the app matrix_auth of a running Caddy keeps: users, sessions,
tokens and signing keys, and tells how it is.

The commands talk to Caddy's admin endpoint, at its default address or the
one given by --address, or the one in the configuration given by --config.

A password is read as one line from standard input, or asked for twice if that
is a terminal. An empty line means no password. With --json, a command prints
one JSON object, or one per line for lists.

The exit status is 0 if it is done, 1 if it failed, and 2 if the command line
made no sense.`,
		CobraFunc: addCommands,
	})
}

// addCommands makes the command's tree.
func addCommands(root *cobra.Command) {
	flags := root.PersistentFlags()
	flags.String("address", "", "Address of the administration API listener (if --config is not used)")
	flags.StringP("config", "c", "", "Configuration file (if --address is not used)")
	flags.StringP("adapter", "a", "", "Name of config adapter to apply (if --config is used)")
	flags.Bool("json", false, "Print JSON instead of text")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error { return finish(cmd, usageError(err.Error())) })
	group(root)
	root.AddCommand(statusCommand(), doctorCommand(), userCommand(), sessionCommand(), tokenCommand(), keyCommand(),
		verifyCommand())
}

// group makes a command that only has commands below it. Cobra would take a misspelt one for a wish for help.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		return finish(cmd, usageError(fmt.Sprintf("there is no command %q", cmd.CommandPath()+" "+args[0])))
	}
	return cmd
}

// invocation is a command as it was called.
type invocation struct {
	*cobra.Command
	args []string
	json bool
}

// leaf makes a command that does something. It takes at least least and at most most arguments.
func leaf(use, short string, least, most int, run func(ctx context.Context, in *invocation) error) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.ArbitraryArgs, DisableFlagsInUseLine: true}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		in := &invocation{Command: cmd, args: args}
		in.json, _ = cmd.Flags().GetBool("json")
		if len(args) < least || len(args) > most {
			return finish(cmd, usageError("usage: "+cmd.UseLine()))
		}
		return finish(cmd, run(cmd.Context(), in))
	}
	return cmd
}

// out is where results go.
func (in *invocation) out() io.Writer { return in.OutOrStdout() }

// say tells a person that something is done. A program that asked for JSON has its object.
func (in *invocation) say(format string, args ...any) {
	if !in.json {
		fmt.Fprintf(in.out(), format+"\n", args...)
	}
}

func (in *invocation) text(flag string) string {
	s, _ := in.Flags().GetString(flag)
	return s
}

func (in *invocation) flag(name string) bool {
	b, _ := in.Flags().GetBool(name)
	return b
}

// usageError is an error in the command line itself.
type usageError string

// Error implements error.
func (e usageError) Error() string { return string(e) }

// Exit statuses.
const (
	exitFailed = 1
	exitUsage  = 2
)

// finish says what went wrong, once, and gives it its exit status.
func finish(cmd *cobra.Command, err error) error {
	if err == nil {
		return nil
	}
	cmd.SilenceErrors, cmd.SilenceUsage = true, true
	fmt.Fprintf(cmd.ErrOrStderr(), "Error: %v\n", err)
	if _, ok := errors.AsType[usageError](err); !ok {
		return exitWith(cmd, exitFailed)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "Run '%s --help' for usage.\n", cmd.CommandPath())
	return exitWith(cmd, exitUsage)
}

// exitWith makes an error that Caddy's main function turns into an exit status. Only its own wrapper can make one for any
// status but 1, which is that of all others.
func exitWith(cmd *cobra.Command, status int) error {
	wrapped := caddycmd.WrapCommandFuncForCobra(func(caddycmd.Flags) (int, error) { return status, nil })
	if err := wrapped(cmd, nil); err != nil {
		return err
	}
	return errFailed
}

var errFailed = errors.New("failed")
