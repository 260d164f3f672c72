package gate

import (
	"bytes"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strings"
)

// synapseToken reads a request's token as Synapse does on top of Twisted: written anew from Synapse api/auth/base.py
// (get_access_token_from_request), Synapse http/site.py (requestReceived) and Twisted http.py (requestReceived, parse_qs), so that it
// shares no line with what it judges.
func synapseToken(method string, h http.Header, rawQuery string, body []byte) (text string, found bool) {
	args := twistedArgs(rawQuery)
	if types := h["Content-Type"]; method == "POST" && len(types) > 0 && types[0] != "" && len(body) > 0 {
		if strings.Contains(types[0], "multipart/form-data") {
			return "", false // 415
		}
		for k, v := range twistedForm(types[0], body) {
			args[k] = v
		}
	}
	query := args["access_token"]
	if headers := h["Authorization"]; len(headers) > 0 {
		parts := strings.Split(strings.Trim(headers[0], " \t"), " ")
		if query != nil || len(headers) > 1 || len(parts) != 2 || parts[0] != "Bearer" {
			return "", false
		}
		return parts[1], true
	}
	if len(query) == 0 {
		return "", false
	}
	return query[0], true
}

func twistedForm(contentType string, body []byte) map[string][]string {
	if decoded, err := new(mime.WordDecoder).DecodeHeader(contentType); err == nil {
		contentType = decoded
	}
	key, params, _ := strings.Cut(contentType, ";")
	key = strings.ToLower(trimLatin1(key))
	switch key {
	case "application/x-www-form-urlencoded":
		return twistedArgs(string(body))
	case "multipart/form-data":
		_, p, _ := mime.ParseMediaType("multipart/form-data;" + params)
		return multipartArgs(body, p["boundary"])
	}
	return nil
}

// trimLatin1 strips white space as Python does, from a header that came as Latin-1 or was decoded to UTF-8.
func trimLatin1(s string) string {
	s = strings.Trim(s, " \t\u00a0\u0085")
	isSpace := func(c byte) bool { return c == ' ' || c == '\t' || c == 0xa0 || c == 0x85 }
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func multipartArgs(body []byte, boundary string) map[string][]string {
	args := map[string][]string{}
	r := multipart.NewReader(bytes.NewReader(body), boundary)
	for {
		part, err := r.NextPart()
		if err != nil {
			return args
		}
		value, _ := io.ReadAll(part)
		args[part.FormName()] = append(args[part.FormName()], string(value))
	}
}

func twistedArgs(query string) map[string][]string {
	args := map[string][]string{}
	for _, item := range strings.FieldsFunc(query, func(c rune) bool { return c == '&' || c == ';' }) {
		if key, value, ok := strings.Cut(item, "="); ok {
			key = pythonUnquote(key)
			args[key] = append(args[key], pythonUnquote(value))
		}
	}
	return args
}

func pythonUnquote(s string) string {
	s = strings.ReplaceAll(s, "+", " ")
	parts := strings.Split(s, "%")
	var b strings.Builder
	b.WriteString(parts[0])
	for _, p := range parts[1:] {
		const digits = "0123456789abcdef"
		if len(p) >= 2 {
			hi, lo := strings.IndexByte(digits, p[0]|0x20), strings.IndexByte(digits, p[1]|0x20)
			if hi >= 0 && lo >= 0 && p[0] > ' ' && p[1] > ' ' {
				b.WriteByte(byte(hi<<4 | lo))
				b.WriteString(p[2:])
				continue
			}
		}
		b.WriteString("%" + p)
	}
	return b.String()
}

// forwarded is the header as a proxy sends it on: without the hop-by-hop ones and those that Connection names (RFC 9110 §7.6.1).
func forwarded(h http.Header) http.Header {
	out := h.Clone()
	for _, field := range []string{"Connection", "Proxy-Connection"} {
		for _, v := range h[field] {
			for name := range strings.SplitSeq(v, ",") {
				out.Del(strings.TrimSpace(name))
			}
		}
		out.Del(field)
	}
	return out
}
