package rig

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
)

// Client is a Matrix client that does exactly what it is told: no retries, no refreshing, no interpretation.
type Client struct {
	Base  string       // the homeserver's address, without a slash at its end
	Token string       // access token; empty: none is sent
	HTTP  *http.Client // nil: http.DefaultClient
}

// Reply is a complete answer.
type Reply struct {
	Status int
	Header http.Header
	Body   []byte
}

// Do sends a request. A body of nil is none, a reader is sent as it is, and anything else as its JSON.
func (c Client) Do(ctx context.Context, method, path string, body any) (Reply, error) {
	var from io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		from = b
	default:
		text, err := json.Marshal(b)
		if err != nil {
			return Reply{}, err
		}
		from = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.Base+path, from)
	if err != nil {
		return Reply{}, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	return c.Send(req)
}

// Send sends a request that the caller has made, and reads the whole answer.
func (c Client) Send(req *http.Request) (Reply, error) {
	client := c.HTTP
	if client == nil {
		client = http.DefaultClient
	}
	resp, err := client.Do(req)
	if err != nil {
		return Reply{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return Reply{Status: resp.StatusCode, Header: resp.Header, Body: text}, err
}

// With returns the same client with another token.
func (c Client) With(token string) Client {
	c.Token = token
	return c
}

// At returns the same client for another address.
func (c Client) At(base string) Client {
	c.Base = base
	return c
}

// Get returns the value at a path of object keys in a JSON answer, or nil.
func (r Reply) Get(path ...string) any {
	var v any
	if json.Unmarshal(r.Body, &v) != nil {
		return nil
	}
	for _, key := range path {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[key]
	}
	return v
}

// Text returns the string at a path of object keys in a JSON answer, or "".
func (r Reply) Text(path ...string) string {
	s, _ := r.Get(path...).(string)
	return s
}

// Errcode is the Matrix error code of an answer, or "".
func (r Reply) Errcode() string { return r.Text("errcode") }

// String shows an answer without its secrets, for messages.
func (r Reply) String() string {
	text := strings.TrimSpace(string(r.Body))
	if r.Text("access_token") != "" {
		text = "(tokens)"
	}
	if len(text) > 300 {
		text = text[:300] + "…"
	}
	return fmt.Sprintf("%d %s", r.Status, text)
}
