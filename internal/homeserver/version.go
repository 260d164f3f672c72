package homeserver

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// ErrNoVersion is the error of an answer that does not say which Synapse it is from: another program, or a proxy that
// replaced the Server header.
var ErrNoVersion = errors.New("no Synapse version in the Server header")

// Version is a version of Synapse. Versions are compared by their numbers; a release candidate counts as the release.
type Version struct {
	Major, Minor, Patch int
	Text                string // as announced: 1.163.2, 1.142.0rc3
}

// ParseVersion reads the version out of a Server header: "Synapse/1.163.2 (b=develop,1a2b3c4)".
func ParseVersion(server string) (Version, error) {
	product, _, _ := strings.Cut(server, " ")
	text, ok := strings.CutPrefix(product, "Synapse/")
	if !ok {
		return Version{}, ErrNoVersion
	}
	v := Version{Text: text}
	parts := strings.Split(text, ".")
	if len(parts) < 2 {
		return Version{}, ErrNoVersion
	}
	for i, n := range []*int{&v.Major, &v.Minor, &v.Patch} {
		if i == len(parts) {
			break
		}
		if *n, ok = leadingNumber(parts[i]); !ok {
			return Version{}, ErrNoVersion
		}
	}
	return v, nil
}

// leadingNumber reads the digits that s begins with: 0 of "0rc3".
func leadingNumber(s string) (int, bool) {
	digits := s[:len(s)-len(strings.TrimLeft(s, "0123456789"))]
	n, err := strconv.Atoi(digits)
	return n, err == nil
}

// String returns the version as announced.
func (v Version) String() string { return v.Text }

// AtLeast reports whether v is the given minor version or a later one.
func (v Version) AtLeast(major, minor int) bool {
	return v.Major > major || v.Major == major && v.Minor >= minor
}

// Supported reports whether this Synapse can delegate to us: the section matrix_authentication_service came with 1.136.
func (v Version) Supported() bool { return v.AtLeast(1, 136) }

// DropsEndpointPath reports whether this Synapse ignores the path of matrix_authentication_service.endpoint
// (element-hq/synapse#19186), so that we have to be at the root of the address it is given.
func (v Version) DropsEndpointPath() bool { return v.Major == 1 && v.Minor == 142 && v.Patch <= 1 }

// noteVersion warns of a Synapse that is too old, once until another one answers. An answer that does not tell says nothing.
func (c *Client) noteVersion(h http.Header) {
	v, err := ParseVersion(h.Get("Server"))
	if err != nil {
		return
	}
	if old := !v.Supported(); c.old.Swap(old) != old && old {
		c.log.Warn("synapse is too old for delegation, which came with 1.136: update it", zap.Stringer("version", v))
	}
}

// Version asks for Synapse's version. The question needs no secret. An Error is from the connection; ErrNoVersion means that
// something answered which does not say what it is.
func (c *Client) Version(ctx context.Context) (Version, error) {
	const op = "versions"
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	u := c.base.JoinPath("_matrix/client/versions")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Version{}, fmt.Errorf("asking for the version: %w", err)
	}
	resp, _, err := c.roundTrip(req)
	if err != nil {
		return Version{}, c.silence(op, err)
	}
	c.observe(op, strconv.Itoa(resp.StatusCode))
	c.noteVersion(resp.Header)
	return ParseVersion(resp.Header.Get("Server"))
}
