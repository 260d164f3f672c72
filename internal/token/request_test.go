package token

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestFromRequest(t *testing.T) {
	const ours = "mct_16tugBE5Ta9LIWoSJaAEHHq2g3fx8S_alcBB4"
	tests := []struct {
		headers []string
		query   string
		text    string
		from    Source
		err     error
	}{
		{headers: []string{"Bearer abc"}, text: "abc", from: Header},
		{headers: []string{"Bearer " + ours}, query: "a=b&access_tokens=x", text: ours, from: Header},
		{headers: []string{" \tBearer abc\t "}, text: "abc", from: Header}, // as it comes over HTTP/2; Twisted strips it
		{headers: []string{"Bearer a\tb"}, text: "a\tb", from: Header},
		{headers: []string{"bearer abc"}},
		{headers: []string{"BEARER abc"}},
		{headers: []string{"Bearer  abc"}},
		{headers: []string{"Bearer abc def"}},
		{headers: []string{"Bearer"}},
		{headers: []string{"Bearer "}},
		{headers: []string{"Bearer\tabc"}},
		{headers: []string{"Bearerabc"}},
		{headers: []string{"Basic YTpi"}},
		{headers: []string{"X-Matrix origin=a,key=b"}},
		{headers: []string{""}},
		{headers: []string{"Bearer a", "Bearer a"}, err: ErrTwice},
		{headers: []string{"", ""}, err: ErrTwice},
		{headers: []string{"Bearer a"}, query: "access_token=a", err: ErrTwice},
		{headers: []string{"Bearer a"}, query: "access_token=", err: ErrTwice},
		{headers: []string{"Bearer a"}, query: "access_token", text: "a", from: Header}, // no argument to Twisted
		{headers: []string{"Basic a"}, query: "access_token=b", err: ErrTwice},
		{headers: []string{""}, query: "access_token=b", err: ErrTwice},

		{query: ""},
		{query: "a=b&c"},
		{query: "access_token"},
		{query: "access_token&x=access_token=1"},
		{query: "Access_Token=a"},
		{query: "access_token+=a"},
		{query: "+access_token=a"},
		{query: "access%5Ftoken%00=a"},
		{query: "access_token[]=a"},
		{query: "%2561ccess_token=a"},
		{query: "access_token=abc", text: "abc", from: Query},
		{query: "access_token=", text: "", from: Query},
		{query: "access_token==", text: "=", from: Query},
		{query: "x=1&access_token=abc&y=2", text: "abc", from: Query},
		{query: "x=1;access_token=abc;y=2", text: "abc", from: Query},
		{query: "&&;;access_token=abc", text: "abc", from: Query},
		{query: "%61ccess_token=abc", text: "abc", from: Query},
		{query: "%61%63%63%65%73%73%5f%74%6F%6b%65%6E=abc", text: "abc", from: Query},
		{query: "access_token=a%62c", text: "abc", from: Query},
		{query: "access_token=a+c%2", text: "a c%2", from: Query},
		{query: "access_token=%zz%4", text: "%zz%4", from: Query},
		{query: "access_token=a%26access_token%3Db", text: "a&access_token=b", from: Query},
		{query: "?access_token=a"},
		{query: "access_token=a#b", text: "a#b", from: Query},
		{query: "access_token=syt_a&access_token=syt_b", text: "syt_a", from: Query},
		{query: "access_token=&access_token=b", text: "", from: Query},
		{query: "access_token=a&access_token=" + ours, err: ErrTwice},
		{query: "access_token=" + ours + ";access_token=a", err: ErrTwice},
		{query: "access_token=mat_&access_token=a", err: ErrTwice},
		{query: "access_token=a&access_token=b&access_token=mpt%5Fx", err: ErrTwice},
		{query: "access_token=a&%61ccess_token=m%61r_x", err: ErrTwice},
		{query: "access_token=" + ours + "&access_token=" + ours, err: ErrTwice},
	}
	for _, test := range tests {
		h := http.Header{}
		for _, v := range test.headers {
			h.Add("Authorization", v)
		}
		text, from, err := FromRequest(h, test.query)
		if text != test.text || from != test.from || !errors.Is(err, test.err) {
			t.Errorf("FromRequest(%q, %q): got %q, %v, %v, want %q, %v, %v", test.headers, test.query, text, from, err, test.text, test.from, test.err)
		}
		if stripped := StripQuery(test.query); !noToken(stripped) {
			t.Errorf("StripQuery(%q): got %q, which still has a token", test.query, stripped)
		}
	}
}

func noToken(query string) bool {
	text, from, err := FromRequest(nil, query)
	return text == "" && from == None && err == nil
}

func TestStripQuery(t *testing.T) {
	for query, want := range map[string]string{
		"":                                   "",
		"a=b":                                "a=b",
		"a=b&&c;d=%zz&":                      "a=b&&c;d=%zz&",
		"access_token=x":                     "",
		"access_token":                       "",
		"access_token=x&a=b":                 "a=b",
		"a=b&access_token=x":                 "a=b",
		"a=1;access_token=x&b=2":             "a=1;b=2",
		"a=1&access_token=x;b=2":             "a=1&b=2",
		"access_token=x&access_token=y":      "",
		"access_token=x&a=+%20&access_token": "a=+%20",
		"%61ccess_token=x&a":                 "a",
		"a&;&access_token=x":                 "a&;",
		"access_token=x&":                    "",
		"&access_token=x&":                   "&",
		"ACCESS_TOKEN=x":                     "ACCESS_TOKEN=x",
	} {
		if got := StripQuery(query); got != want {
			t.Errorf("StripQuery(%q): got %q, want %q", query, got, want)
		}
	}
}

func TestFromRequestNoAllocations(t *testing.T) {
	header := http.Header{"Authorization": {"Bearer mct_16tugBE5Ta9LIWoSJaAEHHq2g3fx8S_alcBB4"}}
	for _, test := range []struct {
		h     http.Header
		query string
	}{
		{header, ""}, {header, "since=s1&timeout=30000"}, {header, "filter=%7B%22a%22%3A1%7D"}, {nil, "access_token=abc&x=%20"}, {nil, ""},
	} {
		if got := testing.AllocsPerRun(200, func() {
			_, _, _ = FromRequest(test.h, test.query)
			if test.h != nil {
				_ = StripQuery(test.query)
			}
		}); got != 0 {
			t.Errorf("FromRequest(%v, %q): got %v allocations, want 0", test.h, test.query, got)
		}
	}
}

// twistedArgs is Twisted's parse_qs with keep_blank_values, written anew on net/url.
func twistedArgs(query string) (values []string) {
	for _, ampersand := range strings.Split(query, "&") {
		for _, item := range strings.Split(ampersand, ";") {
			parts := strings.SplitN(item, "=", 2)
			if len(parts) == 2 && pythonUnquote(parts[0]) == "access_token" {
				values = append(values, pythonUnquote(parts[1]))
			}
		}
	}
	return values
}

func pythonUnquote(s string) string {
	pieces := strings.Split(strings.ReplaceAll(s, "+", " "), "%")
	out := pieces[0]
	for _, piece := range pieces[1:] {
		if len(piece) >= 2 {
			if c, err := url.PathUnescape("%" + piece[:2]); err == nil {
				out += c + piece[2:]
				continue
			}
		}
		out += "%" + piece
	}
	return out
}

// synapseToken is get_access_token_from_request of Synapse's api/auth/base.py; ok is false where it raises.
func synapseToken(headers []string, query string) (text string, ok bool) {
	args := twistedArgs(query)
	if len(headers) > 0 {
		if args != nil || len(headers) > 1 {
			return "", false
		}
		parts := strings.Split(strings.Trim(headers[0], " \t"), " ")
		if parts[0] != "Bearer" || len(parts) != 2 {
			return "", false
		}
		return parts[1], true
	}
	if len(args) == 0 {
		return "", false
	}
	return args[0], true
}

func FuzzFromRequest(f *testing.F) {
	f.Add("Bearer abc", "", uint8(1))
	f.Add("Bearer abc", "access_token=x", uint8(1))
	f.Add("", "a=1;%61ccess_token=mat_x&access_token=b", uint8(0))
	f.Add("Bearer  abc", "access_token=a+%4", uint8(2))
	f.Add("bearer x", "access_token=&access_token=b", uint8(0))
	f.Fuzz(func(t *testing.T, header, query string, n uint8) {
		h := http.Header{}
		for range n % 3 {
			h.Add("Authorization", header)
		}
		text, from, err := FromRequest(h, query)
		want, ok := synapseToken(h["Authorization"], query)
		args := twistedArgs(query)
		ours := slices.ContainsFunc(args, func(s string) bool {
			return slices.ContainsFunc(prefixes[1:], func(p string) bool { return strings.HasPrefix(s, p) })
		})
		switch {
		case errors.Is(err, ErrTwice):
			if len(h["Authorization"]) < 2 && (len(h["Authorization"]) == 0 || args == nil) && (len(args) < 2 || !ours) {
				t.Errorf("FromRequest(%q, %q): got %v", h, query, err)
			}
			if text != "" || from != None {
				t.Errorf("FromRequest(%q, %q): got %q, %v beside an error", h, query, text, from)
			}
		case err != nil:
			t.Errorf("FromRequest(%q, %q): got %v", h, query, err)
		case (from != None) != ok || text != want:
			t.Errorf("FromRequest(%q, %q): got %q, %v, want %q, %v", h, query, text, from, want, ok)
		case from == Query && len(args) > 1 && ours:
			t.Errorf("FromRequest(%q, %q): got no error, with one of ours among %q", h, query, args)
		}
	})
}

func FuzzStripQuery(f *testing.F) {
	for _, query := range []string{"", "a=b;access_token=c&d", "%61ccess_token=x", "access_token", "&;&", "access_token=x&"} {
		f.Add(query)
	}
	items := func(query string) []string {
		return strings.FieldsFunc(query, func(r rune) bool { return r == '&' || r == ';' })
	}
	f.Fuzz(func(t *testing.T, query string) {
		got := StripQuery(query)
		if !noToken(got) || len(twistedArgs(got)) != 0 {
			t.Errorf("StripQuery(%q): got %q, which still has a token", query, got)
		}
		want := slices.DeleteFunc(items(query), func(item string) bool {
			key, _, _ := strings.Cut(item, "=")
			return pythonUnquote(key) == "access_token"
		})
		if !slices.Equal(items(got), want) {
			t.Errorf("StripQuery(%q): got %q, want the arguments %q", query, got, want)
		}
		if len(want) == len(items(query)) && got != query {
			t.Errorf("StripQuery(%q): got %q, want it as it was", query, got)
		}
	})
}

func BenchmarkFromRequest(b *testing.B) {
	h := http.Header{"Authorization": {"Bearer mct_16tugBE5Ta9LIWoSJaAEHHq2g3fx8S_alcBB4"}}
	b.ReportAllocs()
	for b.Loop() {
		if _, from, err := FromRequest(h, "since=s1_2_3&timeout=30000&filter=0"); from != Header || err != nil {
			b.Fatal(from, err)
		}
	}
}
