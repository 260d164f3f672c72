package main

import (
	"io"
	"net"
	"net/http"
	"path"
	"time"
)

// serveUpstream is a homeserver that knows every user and device, does everything asked of it, and does it at once. The
// argument is its address.
func serveUpstream(args []string) error {
	go untilOrphaned()
	return (&http.Server{Addr: args[0], Handler: http.HandlerFunc(upstream), ReadHeaderTimeout: time.Minute}).ListenAndServe()
}

// upstream answers as Synapse rest/synapse/mas/* where a body is looked at, and with an empty object elsewhere.
func upstream(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Server", "Synapse/1.163.2")
	body := "{}"
	switch path.Base(r.URL.Path) {
	case "query_user":
		body = `{"user_id":"@` + r.URL.Query().Get("localpart") + `:` + serverName + `","display_name":null,"avatar_url":null,"is_suspended":false,"is_deactivated":false}`
	case "provision_user":
		w.WriteHeader(http.StatusCreated)
	}
	_, _ = io.WriteString(w, body)
}

// reachable waits until somebody listens.
func reachable(addr string) error {
	var err error
	for range 500 {
		var conn net.Conn
		if conn, err = net.Dial("tcp", addr); err == nil {
			return conn.Close()
		}
		time.Sleep(10 * time.Millisecond)
	}
	return err
}
