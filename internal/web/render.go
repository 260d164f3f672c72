package web

import (
	"bytes"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"go.uber.org/zap"
)

// frame is what every page has.
type frame struct {
	Lang      *language
	Brand     Brand
	Style     string // where the operator's style sheet is; empty: there is none
	BrandMark string // the first letter of its name
	Title     string // names the text that is the title and the heading
	Wide      bool
	Languages []choice // the others
}

// choice is a language that the page can be had in.
type choice struct {
	*language
	URL string
}

func (v *visit) frame(title string) frame {
	f := frame{Lang: v.lang, Brand: v.Brand, Style: v.style, BrandMark: mark(v.Brand.Name), Title: title}
	for _, l := range v.languages {
		if l != v.lang {
			f.Languages = append(f.Languages, choice{l, v.here(localesParam, l.Code)})
		}
	}
	return f
}

// mark is what stands for a name in a picture: its first letter.
func mark(name string) string {
	for _, r := range name {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return string(unicode.ToUpper(r))
		}
	}
	r, _ := utf8.DecodeRuneInString(name)
	if r == utf8.RuneError {
		return "?"
	}
	return string(r)
}

// show answers with a page.
func (v *visit) show(status int, name string, data any) error {
	var b bytes.Buffer
	if err := v.lang.set.ExecuteTemplate(&b, name, data); err != nil {
		return err
	}
	h := v.w.Header()
	h.Set("Content-Length", strconv.Itoa(b.Len()))
	v.headers(status)
	if _, err := v.w.Write(b.Bytes()); err != nil {
		v.Log.Debug("writing a page", zap.String("page", name), zap.Error(err))
	}
	return nil
}

// headers begins an answer in HTML.
func (v *visit) headers(status int) {
	h := v.w.Header()
	v.csp.SetHeaders(h)
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Language", v.lang.Code)
	v.w.WriteHeader(status)
}

// oneLine makes what others say fit to be shown: no controls, not too long.
func oneLine(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}
