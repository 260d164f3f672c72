package caddymodule

import (
	"fmt"
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"go.uber.org/zap"
)

// Source is where options stand in a Caddyfile, file and line, by the names that errors give the options.
type Source map[string]string

// sourceOf looks at the block of the global option, which has been parsed already. The dispenser is at its name.
func sourceOf(d *caddyfile.Dispenser) Source {
	s := make(Source)
	s.add(d, wholeApp)
	return s
}

// wholeApp is the name of what stands beside the global option's name itself.
const wholeApp = "server_name"

func (s Source) add(d *caddyfile.Dispenser, name string) {
	place := placeOf(d)
	if args := d.RemainingArgs(); (name == "client" || name == "rate_limit") && len(args) > 0 {
		name += " " + args[0]
	}
	if before, ok := s[name]; ok {
		place = before + " or " + place
	}
	s[name] = place
	prefix := name + ": "
	if name == wholeApp {
		prefix = ""
	}
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		s.add(d, prefix+strings.TrimSuffix(d.Val(), "_file"))
	}
}

func placeOf(d *caddyfile.Dispenser) string { return fmt.Sprintf("%s:%d", d.File(), d.Line()) }

// place returns where the option stands that a text begins with, or the block that it is missing from; empty: nobody knows.
func (s Source) place(text string) string {
	found := ""
	for name := range s {
		if len(name) > len(found) && (text == name || strings.HasPrefix(text, name+": ")) {
			found = name
		}
	}
	if found == "" {
		found = wholeApp
	}
	return s[found]
}

// locate completes an error that begins with an option's name.
func (s Source) locate(err error) error {
	if err == nil {
		return nil
	}
	return located(err, s.place(err.Error()))
}

// field tells a log where an option stands.
func (s Source) field(option string) zap.Field {
	if place := s.place(option); place != "" {
		return zap.String("source", place)
	}
	return zap.Skip()
}

// located adds a place to an error, as Caddy's own parser does.
func located(err error, place string) error {
	if err == nil || place == "" {
		return err
	}
	return fmt.Errorf("%w, at %s", err, place)
}
