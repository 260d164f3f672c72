package caddymodule

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/go-json-experiment/json"
)

// adminClient talks to the admin endpoint of a running Caddy. Caddy's own client makes one text of a status and its body, so
// that a refusal could not be told in its own words.
type adminClient struct {
	address string // as given
	origin  string
	unix    bool
	http    http.Client
}

// client finds the admin endpoint as the flags say, like `caddy trust`.
func (in *invocation) client() (*adminClient, error) {
	address, err := in.adminAddress()
	if err != nil {
		return nil, err
	}
	addr, err := caddy.ParseNetworkAddress(address)
	if err != nil || addr.PortRangeSize() > 1 || addr.IsFdNetwork() {
		return nil, fmt.Errorf("%q is not the address of an admin endpoint that can be dialled", address)
	}
	c := &adminClient{address: address, unix: addr.IsUnixNetwork()}
	if c.unix {
		addr.Host, _, _ = strings.Cut(addr.Host, "|") // the mode of the socket
		c.origin = "http://127.0.0.1"                 // what Caddy expects of a socket, as its own client does
	} else {
		c.origin = "http://" + addr.JoinHostPort(0)
	}
	c.http.Transport = &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, addr.Network, addr.JoinHostPort(0))
		},
	}
	return c, nil
}

func (in *invocation) adminAddress() (string, error) {
	address, file, adapter := in.text("address"), in.text("config"), in.text("adapter")
	if address != "" || file == "" {
		return caddycmd.DetermineAdminAPIAddress(address, nil, "", "")
	}
	config, err := adaptConfig(file, adapter)
	if err != nil {
		return "", err
	}
	var c struct {
		Admin caddy.AdminConfig `json:"admin"`
	}
	if err := json.Unmarshal(config, &c); err != nil {
		return "", fmt.Errorf("%s is not a configuration of Caddy", file)
	}
	if c.Admin.Disabled {
		return "", fmt.Errorf("%s says `admin off`, but this command talks to the running Caddy through its admin endpoint", file)
	}
	return caddycmd.DetermineAdminAPIAddress(caddy.NewReplacer().ReplaceKnown(c.Admin.Listen, ""), nil, "", "")
}

// adaptConfig reads a configuration file as JSON. Caddy's own function logs that it does so, which would stand before every
// result.
func adaptConfig(file, adapter string) ([]byte, error) {
	config, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if adapter == "" && isCaddyfile(file) {
		adapter = "caddyfile"
	}
	if adapter == "" {
		return config, nil
	}
	a := caddyconfig.GetAdapter(adapter)
	if a == nil {
		return nil, fmt.Errorf("there is no config adapter %q", adapter)
	}
	config, _, err = a.Adapt(config, map[string]any{"filename": file})
	return config, err
}

// isCaddyfile goes by the file's name, as Caddy does.
func isCaddyfile(file string) bool {
	name := strings.ToLower(filepath.Base(file))
	return filepath.Ext(name) != ".json" && (strings.HasPrefix(name, "caddyfile") || strings.HasSuffix(name, ".caddyfile"))
}

// do makes a request. An answer that is an error becomes one, with its text for people.
func (c *adminClient) do(ctx context.Context, method, path string, body any) (*http.Response, error) {
	var payload io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return nil, errors.New("a password or name is not valid UTF-8")
		}
		payload = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.origin+adminBase+path, payload)
	if err != nil {
		return nil, err
	}
	if payload != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if !c.unix {
		req.Header.Set("Origin", c.origin)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		defer resp.Body.Close()
		return nil, c.refused(resp)
	}
	return resp, nil
}

func (c *adminClient) unreachable(err error) error {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("you may not use Caddy's admin socket %s: run this as the user or with the group that it belongs to", c.address)
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("no Caddy answers at the admin endpoint %s: is it running, and is that its address"+
			" (--address, or --config with its configuration)?", c.address)
	}
	var ue *url.Error
	if errors.As(err, &ue) {
		err = ue.Err
	}
	return fmt.Errorf("asking Caddy at %s: %w", c.address, err)
}

func (c *adminClient) refused(resp *http.Response) error {
	const most = 64 << 10
	b, _ := io.ReadAll(io.LimitReader(resp.Body, most))
	var e errorJSON
	if json.Unmarshal(b, &e) == nil && e.Error != "" {
		return errors.New(e.Error)
	}
	if resp.StatusCode == http.StatusNotFound {
		return fmt.Errorf("the Caddy at %s was built without matrix_auth", c.address)
	}
	return fmt.Errorf("the Caddy at %s answers %s", c.address, resp.Status)
}

// pathOf makes a path of its parts. A user's name may hold a slash, or be two dots.
func pathOf(parts ...string) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for _, part := range parts {
		b.WriteByte('/')
		for i := range len(part) {
			switch ch := part[i]; {
			case 'a' <= ch && ch <= 'z', 'A' <= ch && ch <= 'Z', '0' <= ch && ch <= '9', ch == '-', ch == '_':
				b.WriteByte(ch)
			default:
				b.WriteString("%" + string(hexDigits[ch>>4]) + string(hexDigits[ch&15]))
			}
		}
	}
	return b.String()
}

// ask makes a request for one object. With --json it prints the object, and v is left alone; else it decodes it into v.
func (in *invocation) ask(ctx context.Context, method, path string, body, v any) error {
	return in.askLines(ctx, method, path, body, func(line []byte) error {
		if in.json {
			return nil
		}
		return decodeLine(line, v)
	})
}

// askLines makes a request and calls fn for each line of the answer. With --json the lines are printed as they come.
func (in *invocation) askLines(ctx context.Context, method, path string, body any, fn func(line []byte) error) error {
	c, err := in.client()
	if err != nil {
		return err
	}
	resp, err := c.do(ctx, method, path, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	for r := bufio.NewReader(resp.Body); ; {
		line, err := r.ReadBytes('\n')
		if err == io.EOF && len(line) == 0 {
			return nil
		}
		if err != nil {
			return errors.New("the answer of Caddy has broken off")
		}
		var e errorJSON
		if json.Unmarshal(line, &e) == nil && e.Error != "" {
			return errors.New(e.Error)
		}
		if in.json {
			if _, err := in.out().Write(line); err != nil {
				return err
			}
		}
		if err := fn(line); err != nil {
			return err
		}
	}
}

// askTable asks for a list and prints it as a table, or with --json as it comes.
func (in *invocation) askTable(ctx context.Context, path string, heading []string, row func(line []byte) ([]string, error)) error {
	t := newTable(in.out(), heading...)
	rows := 0
	err := in.askLines(ctx, http.MethodGet, path, nil, func(line []byte) error {
		if in.json {
			return nil
		}
		cells, err := row(line)
		if err != nil {
			return err
		}
		t.row(cells...)
		rows++
		return nil
	})
	if in.json || err != nil && rows == 0 {
		return err
	}
	return errors.Join(err, t.Flush())
}

func decodeLine(line []byte, v any) error {
	if json.Unmarshal(line, v) != nil {
		return errors.New("the answer of Caddy cannot be read: is it another version of this program?")
	}
	return nil
}
