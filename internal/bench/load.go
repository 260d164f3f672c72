package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// caller makes the requests of one connection, one after the other, and takes their answers. Of a redirection the body is the
// address that it leads to.
type caller interface {
	next() []byte
	take(status int, body []byte) error
}

// connection is a kept-alive connection to the server. It speaks just enough HTTP/1.1 to leave the processors to the server.
type connection struct {
	conn   net.Conn
	in     *bufio.Reader
	body   []byte
	caller caller
}

// load is what asks a server.
type load []*connection

// dial opens one connection for each caller.
func dial(addr string, callers ...caller) (load, error) {
	var l load
	for _, c := range callers {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, errors.Join(err, l.close())
		}
		l = append(l, &connection{conn: conn, in: bufio.NewReaderSize(conn, 8<<10), caller: c})
	}
	return l, nil
}

func (l load) close() error {
	var err error
	for _, c := range l {
		err = errors.Join(err, c.conn.Close())
	}
	return err
}

// run asks on all connections, each as fast as it is answered, until the time is over, and returns how many answers came.
// It begins and ends with no request under way.
func (l load) run(d time.Duration) (int, error) {
	end := time.Now().Add(d)
	return l.runWhile(func() bool { return time.Now().Before(end) })
}

// runTimes is run for a number of requests.
func (l load) runTimes(n int) error {
	var begun atomic.Int64
	_, err := l.runWhile(func() bool { return begun.Add(1) <= int64(n) })
	return err
}

func (l load) runWhile(more func() bool) (int, error) {
	var answers atomic.Int64
	errs := make([]error, len(l))
	var wg sync.WaitGroup
	for i, c := range l {
		wg.Go(func() {
			for more() && errs[i] == nil {
				if errs[i] = c.ask(); errs[i] == nil {
					answers.Add(1)
				}
			}
		})
	}
	wg.Wait()
	return int(answers.Load()), errors.Join(errs...)
}

// ask sends one request and takes its answer.
func (c *connection) ask() error {
	if _, err := c.conn.Write(c.caller.next()); err != nil {
		return err
	}
	status, err := c.read()
	if err != nil {
		return fmt.Errorf("reading an answer: %w", err)
	}
	return c.caller.take(status, c.body)
}

// read reads one answer, whose length has to be known beforehand.
func (c *connection) read() (status int, err error) {
	line, err := c.in.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if _, err := fmt.Sscanf(string(line), "HTTP/1.1 %d", &status); err != nil {
		return 0, fmt.Errorf("%q: %w", line, err)
	}
	length, location := -1, ""
	for {
		if line, err = c.in.ReadSlice('\n'); err != nil {
			return 0, err
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(strings.TrimSpace(string(value))); err != nil {
				return 0, err
			}
		}
		if value, ok := bytes.CutPrefix(line, []byte("Location: ")); ok {
			location = strings.TrimSpace(string(value))
		}
	}
	if length < 0 {
		return 0, errors.New("an answer without Content-Length")
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	_, err = io.ReadFull(c.in, c.body)
	if status/100 == 3 {
		c.body = []byte(location)
	}
	return status, err
}

// request is a request as it is sent. A body that begins with a brace is JSON, any other a form.
func request(method, addr, path, bearer, body string, headers ...string) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: bench/1.0\r\nAccept: application/json\r\n", method, path, addr)
	if bearer != "" {
		fmt.Fprintf(&b, "Authorization: Bearer %s\r\n", bearer)
	}
	for _, h := range headers {
		b.WriteString(h + "\r\n")
	}
	if body != "" {
		kind := "application/x-www-form-urlencoded"
		if body[0] == '{' {
			kind = "application/json"
		}
		fmt.Fprintf(&b, "Content-Type: %s\r\nContent-Length: %d\r\n", kind, len(body))
	}
	return []byte(b.String() + "\r\n" + body)
}

// cycle sends the same requests again and again, and wants 200.
type cycle struct {
	requests [][]byte
	at       int
	status   int // wanted; 0: 200
}

func (c *cycle) next() []byte {
	c.at++
	return c.requests[c.at%len(c.requests)]
}

func (c *cycle) take(status int, body []byte) error {
	want := c.status
	if want == 0 {
		want = http.StatusOK
	}
	if status != want {
		return fmt.Errorf("got status %d, want %d: %s", status, want, body)
	}
	return nil
}

// cycles makes n callers that send the same requests, each beginning somewhere else.
func cycles(n int, requests [][]byte) []caller {
	all := make([]caller, n)
	for i := range all {
		all[i] = &cycle{requests: requests, at: i * len(requests) / n}
	}
	return all
}
