package caddymodule

import (
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"
)

// person is somebody with a browser that keeps cookies, and follows redirects until they leave the issuer's host.
type person struct {
	t      *testing.T
	client http.Client
	at     *url.URL // of the page shown
	answer
}

func (e *edge) newPerson() *person {
	e.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		e.t.Fatal(err)
	}
	p := &person{t: e.t}
	p.client = http.Client{
		Transport: transport,
		Jar:       jar,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if req.URL.Host != e.public || len(via) > 9 {
				return http.ErrUseLastResponse
			}
			return nil
		},
	}
	return p
}

func (p *person) open(u string) {
	p.t.Helper()
	req, err := http.NewRequest("GET", u, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	p.do(req)
}

var (
	formPattern  = regexp.MustCompile(`(?s)<form method="post"([^>]*)>(.*?)</form>`)
	inputPattern = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)"`)
	actionOf     = regexp.MustCompile(`action="([^"]*)"`)
)

// submit fills in the first form of the page, and sends it as a browser does.
func (p *person) submit(fields url.Values) {
	p.t.Helper()
	form := formPattern.FindStringSubmatch(p.body)
	if form == nil {
		p.t.Fatalf("no form at %s: %d %s", p.at, p.status, p.body)
	}
	for _, input := range inputPattern.FindAllStringSubmatch(form[2], -1) {
		fields.Set(html.UnescapeString(input[1]), html.UnescapeString(input[2]))
	}
	target := p.at
	if action := actionOf.FindStringSubmatch(form[1]); action != nil {
		var err error
		if target, err = p.at.Parse(html.UnescapeString(action[1])); err != nil {
			p.t.Fatal(err)
		}
	}
	req, err := http.NewRequest("POST", target.String(), strings.NewReader(fields.Encode()))
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Origin", p.at.Scheme+"://"+p.at.Host)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Sec-Fetch-Mode", "navigate")
	req.Header.Set("Sec-Fetch-Dest", "document")
	p.do(req)
}

func (p *person) do(req *http.Request) {
	p.t.Helper()
	resp, err := patiently(req, p.client.Do)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	p.at, p.answer = resp.Request.URL, answer{resp.StatusCode, resp.Header, string(body), resp.Close}
}

// patiently tries again if the connection fails, as fetch does.
func patiently(req *http.Request, do func(*http.Request) (*http.Response, error)) (resp *http.Response, err error) {
	for range 3 {
		if req.GetBody != nil {
			if req.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
		if resp, err = do(req); err == nil {
			return resp, nil
		}
	}
	return nil, err
}

// sentTo is where the browser is sent, beyond the issuer's host.
func (p *person) sentTo() *url.URL {
	p.t.Helper()
	u, err := url.Parse(p.header.Get("Location"))
	if err != nil || u.Host == "" && u.Opaque == "" {
		p.t.Fatalf("at %s: sent nowhere: %d %s", p.at, p.status, p.body)
	}
	return u
}
