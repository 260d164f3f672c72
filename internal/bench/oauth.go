package main

import (
	"context"
	"errors"
	"fmt"
)

// oauthOptions set no limits for the one address that everything comes from.
const oauthOptions = "rate_limit authorize off"

// issuerHost is the authority that the edge calls itself: only there are there pages.
func (e *edge) issuerHost() string { return fmt.Sprintf("localhost:%d", e.Port) }

// grant compares the refresh grant with the durable commits that it could be at best, and counts it through Caddy.
func (r *run) grant(ctx context.Context) ([]row, error) {
	found, err := goBench(ctx, "./store", "^BenchmarkServiceGrant$", or(r, "10x", "1x"))
	if err != nil {
		return nil, err
	}
	var rows []row
	for _, n := range grantClients {
		f, err := found.get(fmt.Sprintf("ServiceGrant/callers=%d", n))
		if err != nil {
			return rows, err
		}
		what := fmt.Sprintf("auth.RefreshOAuth ÷ bare commits in groups, %d clients", n)
		raw := fmt.Sprintf("%s ÷ %s per second, of %.0f bytes each; processors bound it: such sessions only read and written, %s",
			number(f["grants/s"]), number(f["commits/s"]), f["session-bytes"], number(f["writes/s"]))
		if n < 64 {
			rows = append(rows, shownRatio(what, f["ratio"], "%s", raw))
			continue
		}
		rows = append(rows, atLeast(what, f["ratio"], .5, "%s", raw))
	}
	more, err := r.grantOverHTTP(ctx, found)
	return append(rows, more...), err
}

// grantClients are how many clients refresh at once.
var grantClients = []int{1, 16, 64}

// grantOverHTTP counts refresh grants through Caddy. Processors are what bounds them, shared with the clients: a ratio to what
// the disk can do is shown, and none is asked for.
func (r *run) grantOverHTTP(ctx context.Context, commits results) ([]row, error) {
	e, err := r.startEdgeOf(ctx, (*seeder).addOAuthSession, 64, 1+16+64, oauthOptions, shortGrace)
	if err != nil {
		return nil, err
	}
	defer e.close()
	var rows []row
	tokens := e.refresh
	for _, n := range grantClients {
		f, err := commits.get(fmt.Sprintf("ServiceGrant/callers=%d", n))
		if err != nil {
			return rows, err
		}
		perSecond, processor, err := r.refreshes(e, e.issuerHost(), tokens[:n], true)
		if err != nil {
			return rows, err
		}
		tokens = tokens[n:]
		rows = append(rows, shownRatio(fmt.Sprintf("refresh grant over HTTP ÷ the same commits, %d clients", n), perSecond/f["commits/s"],
			"%s ÷ %s per second, %s ms each of the edge's processors, which bound it", number(perSecond), number(f["commits/s"]), number(processor)))
	}
	return rows, ctx.Err()
}

// oauthMemory is sessionMemory with sessions of an OAuth client.
func (r *run) oauthMemory(ctx context.Context) ([]row, error) {
	return r.memoryOfSessions(ctx, "OAuth sessions", (*seeder).addOAuthSession, oauthOptions)
}

// documents compares what every client fetches with the least that a Caddy handler answers.
func (r *run) documents(ctx context.Context) ([]row, error) {
	e, err := r.startEdge(ctx, 1, 1)
	if err != nil {
		return nil, err
	}
	defer e.close()
	var rows []row
	for _, d := range []struct{ what, path string }{
		{"discovery", "/.well-known/openid-configuration"},
		{"auth_metadata", "/_matrix/client/v1/auth_metadata"},
		{"keys", "/oauth2/keys.json"},
	} {
		ours, err1 := dial(e.public, cycles(connections, [][]byte{request("GET", e.issuerHost(), d.path, "", "")})...)
		theirs, err2 := dial(e.drain, cycles(connections, [][]byte{request("GET", e.drain, d.path, "", "")})...)
		if err := errors.Join(err1, err2); err != nil {
			return rows, err
		}
		c, err := e.compare(ctx, r, ours, theirs)
		if err = errors.Join(err, ours.close(), theirs.close()); err != nil {
			return rows, err
		}
		rows = append(rows, atLeast(d.what+" ÷ a handler that answers {}", c.ratio(), .5, "%s; requests per CPU second", c))
	}
	return rows, nil
}

// code counts sign-ins by people whose browser is signed in already: to a program that they have said yes to before and that
// wants an ID token, and with a Matrix client, for which they are asked each time. From the authorization request to the tokens.
func (r *run) code(ctx context.Context) ([]row, error) {
	const people = 16
	e, err := r.startEdge(ctx, people, 0, oauthOptions)
	if err != nil {
		return nil, err
	}
	defer e.close()
	var remembered, asked []*codeFlow
	for i := range people {
		cookies, err := e.signIn(ctx, localpart(i))
		if err != nil {
			return nil, err
		}
		remembered = append(remembered, &codeFlow{host: e.issuerHost(), cookies: cookies})
		asked = append(asked, &codeFlow{host: e.issuerHost(), cookies: cookies, devices: fmt.Sprintf("CODE%02d", i)})
	}
	var rows []row
	for _, kind := range []struct {
		what  string
		flows []*codeFlow
	}{{"code flow, consent remembered, ID token", remembered}, {"code flow, Matrix client, consent asked", asked}} {
		for _, n := range []int{1, people} {
			one, err := r.codes(e, fmt.Sprintf("%s, %d at once", kind.what, n), kind.flows[:n])
			if err != nil {
				return rows, err
			}
			rows = append(rows, one)
		}
	}
	return rows, ctx.Err()
}

// codes counts sign-ins.
func (r *run) codes(e *edge, what string, flows []*codeFlow) (row, error) {
	var callers []caller
	for _, f := range flows {
		callers = append(callers, f)
	}
	before := 0
	took, cpu, _, err := r.warmAndTimed(e, callers, func() { before = flowsOf(flows) })
	if err != nil {
		return row{}, err
	}
	done := float64(flowsOf(flows) - before)
	return shown(what, "%s per second, %s ms of the edge's processors each", number(done/took.Seconds()), number(1000*cpu.Seconds()/done)), nil
}

func flowsOf(all []*codeFlow) (n int) {
	for _, f := range all {
		n += f.flows
	}
	return n
}
