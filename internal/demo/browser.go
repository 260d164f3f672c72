package main

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

// browser is as much of one as our pages need: it keeps cookies, follows redirects and sends forms.
type browser struct{ client http.Client }

// page is what a browser shows.
type page struct {
	url  *url.URL
	html string
}

func newBrowser() (*browser, error) {
	jar, err := cookiejar.New(nil)
	return &browser{http.Client{Jar: jar}}, err
}

// open follows a link to a page.
func (b *browser) open(ctx context.Context, link string) (page, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, link, nil)
	if err != nil {
		return page{}, err
	}
	return b.load(req)
}

var (
	firstForm = regexp.MustCompile(`(?s)<form method="post"(?: action="([^"]*)")?[^>]*>(.*?)</form>`)
	hiddenTag = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
)

// submit sends the first form of a page, which is the one that says yes, with what a person typed, ticked and pressed.
func (b *browser) submit(ctx context.Context, p page, typed url.Values) (page, error) {
	form := firstForm.FindStringSubmatch(p.html)
	if form == nil {
		return page{}, fmt.Errorf("%s has no form: %.1500s", p.url, p.html)
	}
	target, err := p.url.Parse(html.UnescapeString(form[1]))
	if err != nil {
		return page{}, err
	}
	for _, field := range hiddenTag.FindAllStringSubmatch(form[2], -1) {
		typed.Add(html.UnescapeString(field[1]), html.UnescapeString(field[2]))
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, target.String(), strings.NewReader(typed.Encode()))
	if err != nil {
		return page{}, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return b.load(req)
}

func (b *browser) load(req *http.Request) (page, error) {
	resp, err := b.client.Do(req)
	if err != nil {
		return page{}, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: got a page with status %d: %.1500s", req.Method, req.URL, resp.StatusCode, text)
	}
	return page{resp.Request.URL, string(text)}, err
}
