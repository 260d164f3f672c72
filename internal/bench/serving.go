package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// connections is how many clients ask at once where it does not matter.
const connections = 16

// introspections are the requests that Synapse sends for tokens.
func introspections(addr string, tokens []string) [][]byte {
	all := make([][]byte, len(tokens))
	for i, t := range tokens {
		all[i] = request("POST", addr, "/oauth2/introspect", secret, "token="+t+"&token_type_hint=access_token")
	}
	return all
}

// introspect compares an introspection with the least that a Caddy handler does with the same request.
func (r *run) introspect(ctx context.Context) ([]row, error) {
	e, err := r.startEdge(ctx, 100, 1000)
	if err != nil {
		return nil, err
	}
	defer e.close()
	ours, err1 := dial(e.internal, cycles(connections, introspections(e.internal, e.access))...)
	theirs, err2 := dial(e.drain, cycles(connections, introspections(e.drain, e.access))...)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	c, err := e.compare(ctx, r, ours, theirs)
	if err != nil {
		return nil, err
	}
	return []row{atLeast("introspection ÷ a handler that drains", c.ratio(), .75, "%s; requests per CPU second", c)}, nil
}

// proxy compares a request through the gate, with a live token, with one through a plain reverse_proxy.
func (r *run) proxy(ctx context.Context) ([]row, error) {
	e, err := r.startEdge(ctx, 100, 1000)
	if err != nil {
		return nil, err
	}
	defer e.close()
	get := func(addr, token string) []byte {
		return request("GET", addr, "/_matrix/client/v3/sync?since=s72594_4483_1934&timeout=30000", token, "")
	}
	put := func(addr, token string) []byte {
		return request("PUT", addr, "/_matrix/client/v3/rooms/!a:bench.test/send/m.room.message/1", token, `{"msgtype":"m.text","body":"hello"}`)
	}
	read, err := r.proxied(ctx, e, get)
	if err != nil {
		return nil, err
	}
	write, err := r.proxied(ctx, e, put)
	if err != nil {
		return nil, err
	}
	return []row{
		atLeast("proxied GET, gate and watch ÷ reverse_proxy", read.ratio(), .97, "%s; requests per CPU second", read),
		atLeast("proxied PUT, gate and body ÷ reverse_proxy", write.ratio(), .97, "%s", write),
	}, nil
}

func (r *run) proxied(ctx context.Context, e *edge, make func(addr, token string) []byte) (comparison, error) {
	var ours, theirs [][]byte
	for _, t := range e.access {
		ours, theirs = append(ours, make(e.public, t)), append(theirs, make(e.stock, t))
	}
	l1, err1 := dial(e.public, cycles(connections, ours)...)
	l2, err2 := dial(e.stock, cycles(connections, theirs)...)
	if err := errors.Join(err1, err2); err != nil {
		return comparison{}, err
	}
	defer l1.close()
	defer l2.close()
	return e.compare(ctx, r, l1, l2)
}

// refresher refreshes one session again and again.
type refresher struct {
	addr, token string
	oauth       bool // at the token endpoint
}

func (f *refresher) next() []byte {
	if f.oauth {
		return request("POST", f.addr, "/oauth2/token", "", "grant_type=refresh_token&client_id="+oauthClient+"&refresh_token="+f.token)
	}
	return request("POST", f.addr, "/_matrix/client/v3/refresh", "", `{"refresh_token":"`+f.token+`"}`)
}

func (f *refresher) take(status int, body []byte) error {
	var answer struct {
		RefreshToken string `json:"refresh_token"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || status != http.StatusOK {
		return fmt.Errorf("refresh: got status %d, %w", status, errors.Join(err, errors.New(http.StatusText(status))))
	}
	f.token = answer.RefreshToken
	return nil
}

// shortGrace makes a session refreshed all the time look like one that is refreshed now and then.
const shortGrace = "tokens {\nrefresh_grace 1ms\n}"

// refreshOverHTTP counts refreshes through Caddy.
func (r *run) refreshOverHTTP(ctx context.Context) ([]row, error) {
	e, err := r.startEdge(ctx, 64, 1+16+64, shortGrace)
	if err != nil {
		return nil, err
	}
	defer e.close()
	var rows []row
	tokens := e.refresh
	for _, n := range []int{1, 16, 64} {
		perSecond, processor, err := r.refreshes(e, e.public, tokens[:n], false)
		if err != nil {
			return rows, err
		}
		tokens = tokens[n:]
		rows = append(rows, shown(fmt.Sprintf("refresh over HTTP, %d at once", n), "%s per second, %s ms of processor each", number(perSecond), number(processor)))
	}
	return rows, ctx.Err()
}

// refreshes counts how often sessions can be refreshed in a second, and what one takes of the edge's processors in milliseconds.
func (r *run) refreshes(e *edge, host string, tokens []string, oauth bool) (perSecond, processor float64, err error) {
	var callers []caller
	for _, t := range tokens {
		callers = append(callers, &refresher{host, t, oauth})
	}
	took, cpu, answers, err := r.warmAndTimed(e, callers, func() {})
	return float64(answers) / took.Seconds(), 1000 * cpu.Seconds() / float64(answers), err
}

// warmAndTimed runs callers for a while, says that it is warm, and times them for longer.
func (r *run) warmAndTimed(e *edge, callers []caller, warm func()) (took, cpu time.Duration, answers int, err error) {
	l, err := dial(e.public, callers...)
	if err != nil {
		return 0, 0, 0, err
	}
	if _, err := l.run(or(r, time.Second, 50*time.Millisecond)); err != nil {
		return 0, 0, 0, errors.Join(err, l.close())
	}
	warm()
	took, cpu, answers, err = e.timed(l, or(r, 5*time.Second, 200*time.Millisecond))
	return took, cpu, answers, errors.Join(err, l.close())
}

// timed runs a load and says what it took.
func (e *edge) timed(l load, d time.Duration) (took, cpu time.Duration, answers int, err error) {
	before, err1 := cpuTime(e.Process().PID())
	start := time.Now()
	answers, err2 := l.run(d)
	took = time.Since(start)
	after, err3 := cpuTime(e.Process().PID())
	return took, after - before, answers, errors.Join(err1, err2, err3)
}
