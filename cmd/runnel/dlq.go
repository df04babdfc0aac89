package main

import (
	"context"
	"errors"
	"os/user"

	"github.com/spf13/cobra"

	"github.com/runnel-go/runnel/deadletter"
)

const aboutLetters = `Dead letters: look at them, mend them, bring them back.

A letter is an event that a stage gave up on. Letters of one cause are a group. Letters of one
stage and key are a sequence: they keep their order, and those behind the first one were not tried.

The store is named by --store or RUNNEL_STORE:
  sqlite:letters.db          a file
  postgres://user@host/db    a database; the password may also come from PGPASSWORD

A redrive is done by a program that has the stages: the one that runs, or a maintenance job. This
command records what is asked for in the store, where such a program finds it.`

func (a *app) dlq() *cobra.Command {
	dlq := &cobra.Command{
		Use: "dlq", Short: "Look at dead letters, mend them, bring them back", Long: aboutLetters, Args: noArgs,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	f := dlq.PersistentFlags()
	f.StringVar(&a.url, "store", "", "the store's `URL`: sqlite:FILE or postgres://… (RUNNEL_STORE)")
	f.BoolVar(&a.json, "json", false, "print JSON")
	f.StringVar(&a.who, "who", username(), "`NAME` to record with what is changed")
	f.StringVar(&a.why, "why", "", "`TEXT` to record with what is changed")
	f.Lookup("who").DefValue = "your user name"
	dlq.AddCommand(
		a.ls(), a.groups(), a.show(), a.stats(), a.check(),
		a.redrive(), a.ops(), a.edit(), a.discard(), a.restore(), a.purge(), a.export(), a.importing(),
	)
	return dlq
}

func username() string {
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return ""
}

func (a *app) note(what string) deadletter.Note {
	return deadletter.Note{What: what, Who: a.who, Why: a.why}
}

// with opens the store, calls use, and closes it.
func (a *app) with(ctx context.Context, how access, use func(context.Context, store) error) (err error) {
	s, err := a.open(ctx, how)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	return use(ctx, s)
}

// command makes a subcommand whose body gets the open store.
func (a *app) command(use, short string, args cobra.PositionalArgs, how access, body func(ctx context.Context, s store, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(c *cobra.Command, args []string) error {
			return a.with(c.Context(), how, func(ctx context.Context, s store) error { return body(ctx, s, args) })
		},
	}
}

func exactly(n int, what string) cobra.PositionalArgs {
	return func(c *cobra.Command, args []string) error {
		if len(args) != n {
			return misuse("%s: give it %s", c.CommandPath(), what)
		}
		return nil
	}
}
