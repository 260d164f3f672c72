package rig

import (
	"context"
	"fmt"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
)

// Browser is as much of one as the edge's pages need: it keeps cookies, follows redirects and sends forms.
type Browser struct {
	// HTTP has the cookies. Its transport and its timeout may be changed.
	HTTP http.Client
}

// Page is what a browser shows. A redirect that is not followed has no HTML.
type Page struct {
	URL  *url.URL
	HTML string
}

// NewBrowser makes a browser without cookies. It does not follow a redirect to an address that begins with until, unless that is
// empty: the answer to a client that nobody has started.
func NewBrowser(until string) (*Browser, error) {
	jar, err := cookiejar.New(nil)
	return &Browser{http.Client{Jar: jar, CheckRedirect: func(req *http.Request, _ []*http.Request) error {
		if until != "" && strings.HasPrefix(req.URL.String(), until) {
			return http.ErrUseLastResponse
		}
		return nil
	}}}, err
}

// Cookies are those that the browser sends to an address.
func (b *Browser) Cookies(u *url.URL) []*http.Cookie { return b.HTTP.Jar.Cookies(u) }

// Open follows a link to a page. One with another status than 200 is an error, which comes with the page.
func (b *Browser) Open(ctx context.Context, link string) (Page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return Page{}, err
	}
	return b.load(req)
}

// Submit sends the form of a page, with what a person typed, ticked and pressed.
func (b *Browser) Submit(ctx context.Context, p Page, typed url.Values) (Page, error) {
	target, form, err := p.Fill(typed)
	if err != nil {
		return p, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return Page{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.load(req)
}

func (b *Browser) load(req *http.Request) (Page, error) {
	resp, err := b.HTTP.Do(req)
	if err != nil {
		return Page{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return Page{}, err
	}
	if to, problem := resp.Location(); problem == nil {
		return Page{URL: to}, nil
	}
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: got a page with status %d: %.1500s", req.Method, req.URL, resp.StatusCode, text)
	}
	return Page{resp.Request.URL, string(text)}, err
}

var (
	firstForm = regexp.MustCompile(`(?s)<form method="post"(?: action="([^"]*)")?[^>]*>(.*?)</form>`)
	hiddenTag = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// Fill adds to what was typed the hidden fields of the page's first form, which is the one that says yes, and returns where it goes.
func (p Page) Fill(typed url.Values) (target *url.URL, form url.Values, err error) {
	found := firstForm.FindStringSubmatch(p.HTML)
	if found == nil {
		return nil, nil, fmt.Errorf("%s has no form: %.1500s", p.URL, p.HTML)
	}
	if target, err = p.URL.Parse(html.UnescapeString(found[1])); err != nil {
		return nil, nil, err
	}
	for _, field := range hiddenTag.FindAllStringSubmatch(found[2], -1) {
		if name := html.UnescapeString(field[1]); !typed.Has(name) {
			typed.Set(name, html.UnescapeString(field[2]))
		}
	}
	return target, typed, nil
}
