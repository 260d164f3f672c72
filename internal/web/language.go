package web

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	xlanguage "golang.org/x/text/language"
)

// The templates are the pages, without a word; the catalogues are the words, one file for each language, as templates that the
// pages call by name. The first language is the one for people who ask for none of them.
//
//go:embed templates/*.html catalogue/*.html
var files embed.FS

// language is a language that the pages speak.
type language struct {
	Code string // BCP 47
	Name string // in itself
	Dir  string // ltr, rtl
	tag  xlanguage.Tag
	set  *template.Template
}

var spoken = []language{
	{Code: "en", Name: "English", Dir: "ltr"},
	{Code: "de", Name: "Deutsch", Dir: "ltr"},
}

func loadLanguages() ([]*language, error) {
	base, err := template.New("").Funcs(template.FuncMap{"say": say(nil), "iso": isolate, "asset": assetPath}).ParseFS(files, "templates/*.html")
	if err != nil {
		return nil, err
	}
	var all []*language
	for _, l := range spoken {
		if err := l.load(base, files); err != nil {
			return nil, fmt.Errorf("loading the language %s: %w", l.Code, err)
		}
		all = append(all, &l)
	}
	return all, nil
}

func (l *language) load(base *template.Template, from fs.FS) (err error) {
	if l.set, err = base.Clone(); err != nil {
		return err
	}
	l.set.Funcs(template.FuncMap{"say": say(l.set)})
	if _, err := l.set.ParseFS(from, path.Join("catalogue", l.Code+".html")); err != nil {
		return err
	}
	l.tag, err = xlanguage.Parse(l.Code)
	return err
}

// say makes the function with which a template says something whose name it does not know beforehand.
func say(set *template.Template) func(string, any) (template.HTML, error) {
	return func(name string, data any) (template.HTML, error) {
		var b bytes.Buffer
		err := set.ExecuteTemplate(&b, name, data)
		return template.HTML(b.String()), err //nolint:gosec // Made by a template that escapes.
	}
}

// isolate keeps a name from turning the text around it (Unicode UAX #9 §2.4).
func isolate(s any) string { return "\u2068" + fmt.Sprint(s) + "\u2069" }

// matcher finds the best of our languages.
type matcher struct{ xlanguage.Matcher }

func newMatcher(all []*language) matcher {
	var tags []xlanguage.Tag
	for _, l := range all {
		tags = append(tags, l.tag)
	}
	return matcher{xlanguage.NewMatcher(tags)}
}

// maxLocales bounds, in bytes, what is read of what a browser or a client says about languages.
const maxLocales = 256

// languageFor chooses by ui_locales (OIDC Core §3.1.2.1), then by Accept-Language.
func (h *Handler) languageFor(uiLocales string, r *http.Request) *language {
	var wanted []xlanguage.Tag
	for _, l := range strings.Fields(cut(uiLocales, maxLocales)) {
		if tag, err := xlanguage.Parse(l); err == nil {
			wanted = append(wanted, tag)
		}
	}
	if accepted, _, err := xlanguage.ParseAcceptLanguage(firstLocales(r.Header.Get("Accept-Language"))); err == nil {
		wanted = append(wanted, accepted...)
	}
	for _, tag := range wanted { // One after the other: the person's order goes before the quality of the match.
		if _, i, confidence := h.matcher.Match(tag); confidence >= xlanguage.High {
			return h.languages[i]
		}
	}
	return h.languages[0]
}

// firstLocales is as much of Accept-Language as is read: whole entries.
func firstLocales(s string) string {
	if len(s) <= maxLocales {
		return s
	}
	s = s[:maxLocales]
	return s[:max(strings.LastIndexByte(s, ','), 0)]
}

func cut(s string, n int) string { return strings.ToValidUTF8(s[:min(len(s), n)], "") }

// moment is a time that a page tells.
type moment struct {
	lang *language
	at   time.Time
	now  time.Time
}

// Ago is how long ago it was, in the largest whole unit.
func (m moment) Ago() (template.HTML, error) {
	type count struct{ N int }
	d := m.now.Sub(m.at)
	day := 24 * time.Hour
	for _, u := range []struct {
		name string
		unit time.Duration
	}{{"ago.months", 30 * day}, {"ago.weeks", 7 * day}, {"ago.days", day}, {"ago.hours", time.Hour}, {"ago.minutes", time.Minute}} {
		if n := int(d / u.unit); n > 0 {
			return say(m.lang.set)(u.name, count{n})
		}
	}
	return say(m.lang.set)("ago.now", count{})
}

// Date is the day, with the year unless it is this one.
func (m moment) Date() (template.HTML, error) { return m.say("date.day") }

// Time is day and time of day, in UTC.
func (m moment) Time() (template.HTML, error) { return m.say("date.time") }

// ISO is the time for machines.
func (m moment) ISO() string { return m.at.UTC().Format(time.RFC3339) }

func (m moment) say(name string) (template.HTML, error) {
	at := m.at.UTC()
	month, err := say(m.lang.set)("date.months", nil)
	if err != nil {
		return "", err
	}
	d := struct {
		Day   int
		Month string
		Year  int
		Clock string
	}{Day: at.Day(), Month: strings.Fields(string(month))[at.Month()-1], Clock: at.Format("15:04")}
	if at.Year() != m.now.UTC().Year() {
		d.Year = at.Year()
	}
	return say(m.lang.set)(name, d)
}

func (v *visit) moment(at time.Time) moment { return moment{v.lang, at, v.Now()} }
