package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/runnel-go/runnel/adapter/pgstore"
	"github.com/runnel-go/runnel/adapter/sqlitestore"
	"github.com/runnel-go/runnel/deadletter"
)

// store is what the commands need: letters, and the operations on them.
type store interface {
	deadletter.RedriveStore
	io.Closer
}

// access is what a command does with the store.
type access int

const (
	existing access = iota // it must be there
	creating               // it may be made
)

// openers open a store by the scheme of its URL.
var openers = map[string]func(ctx context.Context, rawURL string, how access) (store, error){
	"sqlite":     openSQLite,
	"postgres":   openPostgres,
	"postgresql": openPostgres,
}

// open opens the store that --store names.
func (a *app) open(ctx context.Context, how access) (store, error) {
	if a.url == "" {
		a.url = os.Getenv("RUNNEL_STORE") // no default of the flag: help would print the password
	}
	if a.url == "" {
		return nil, misuse("no store: give --store sqlite:FILE or set RUNNEL_STORE")
	}
	scheme, _, found := strings.Cut(a.url, ":")
	opener := openers[scheme]
	if !found || opener == nil {
		return nil, misuse("--store %s: unknown kind of store; give %s", a.url, kinds())
	}
	return opener(ctx, a.url, how)
}

func kinds() string {
	var all []string
	for scheme := range openers {
		all = append(all, scheme+":…")
	}
	slices.Sort(all)
	return strings.Join(all, " or ")
}

const masked = "xxxxx"

// loose finds what may be a password in an address that names no host as a URL does: key=value pairs, or a URL whose
// beginning is wrong.
var loose = regexp.MustCompile(`(?i)password\s*=\s*('(?:[^'\\]|\\.)*'|[^\s&;]+)|:([^/@\s].*)@`)

// mask takes the passwords of the store's URL out of a text, however they are written there. A URL that cannot be
// read may have one anywhere.
func (a *app) mask(text string) string {
	if a.url == "" {
		return text
	}
	u, err := url.Parse(a.url)
	if err != nil {
		end := strings.IndexAny(a.url, ":/= ") + 1
		return strings.ReplaceAll(text, a.url, a.url[:end]+masked)
	}
	var forms []string
	for _, secret := range secrets(u) {
		forms = append(forms, secret, url.QueryEscape(secret), url.PathEscape(secret))
	}
	if u.Host == "" {
		for _, m := range loose.FindAllStringSubmatch(a.url, -1) {
			forms = append(forms, m[1]+m[2]) // one of them is empty
		}
	}
	return cover(text, forms)
}

// cover writes masked over every run of bytes of text that belongs to one of the secrets. They are all looked for in
// the text as it came: were one replaced after another, the rest of a password would stay that begins with another.
func cover(text string, secrets []string) string {
	covered := make([]bool, len(text))
	for _, secret := range secrets {
		for at := range len(text) {
			if strings.HasPrefix(text[at:], secret) {
				for i := at; i < at+len(secret); i++ {
					covered[i] = true
				}
			}
		}
	}
	var out strings.Builder
	for i, hidden := range covered {
		switch {
		case !hidden:
			out.WriteByte(text[i])
		case i == 0 || !covered[i-1]:
			out.WriteString(masked)
		}
	}
	return out.String()
}

// secrets are the passwords of a URL: its user's, decoded and as they stand there, and those in its parameters.
func secrets(u *url.URL) (all []string) {
	if _, raw, found := strings.Cut(u.User.String(), ":"); found {
		p, _ := u.User.Password()
		all = append(all, raw, p)
	}
	for name, values := range u.Query() {
		if name == "password" || name == "sslpassword" {
			all = append(all, values...)
		}
	}
	return slices.DeleteFunc(all, func(s string) bool { return s == "" })
}

// openSQLite opens a file without limits and without retention: what is removed by age, and refused for want of
// room, is the running program's to say.
func openSQLite(ctx context.Context, rawURL string, how access) (store, error) {
	path := strings.TrimPrefix(strings.TrimPrefix(rawURL, "sqlite:"), "//")
	if path == "" {
		return nil, misuse("--store %s: it names no file; give sqlite:FILE", rawURL)
	}
	if how == existing {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return nil, fmt.Errorf("%s: there is no such file", path)
		} else if err != nil {
			return nil, err
		}
	}
	return sqlitestore.Open(ctx, path, sqlitestore.Config{
		MaxLetters: -1, MaxSequences: -1, MaxPerSequence: -1, MaxLetterBytes: -1, Retention: -1, Visit: true,
		Logger: slog.New(slog.DiscardHandler),
	})
}

// openPostgres connects to a database, without limits and without retention, as openSQLite. What the URL leaves
// out, such as the password, comes from the environment as libpq's programs read it.
func openPostgres(ctx context.Context, rawURL string, how access) (store, error) {
	if u, err := url.Parse(rawURL); err == nil && u.Host == "" && u.RawQuery == "" && strings.Trim(u.Path+u.Opaque, "/") == "" {
		return nil, misuse("--store %s: it names no database; give postgres://user@host/db", rawURL)
	}
	return pgstore.Open(ctx, rawURL, pgstore.Config{
		Existing:   how == existing,
		MaxLetters: -1, MaxSequences: -1, MaxPerSequence: -1, MaxLetterBytes: -1, Retention: -1, Watch: -1,
		Logger: slog.New(slog.DiscardHandler),
	})
}
