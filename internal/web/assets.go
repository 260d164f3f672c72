package web

import (
	"crypto/sha256"
	"embed"
	"encoding/base32"
	"fmt"
	"net/http"
	"path"
	"strconv"
	"strings"
)

//go:embed assets
var assetFiles embed.FS

// asset is a file that pages load. Its path holds its hash, so that caches may keep it.
type asset struct {
	name, hash, kind string
	body             []byte
}

var (
	assetKinds = map[string]string{
		".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml",
	}
	assets = loadAssets() // :: name → asset
)

func loadAssets() map[string]asset {
	entries, err := assetFiles.ReadDir("assets")
	if err != nil {
		panic(err) // Embedded.
	}
	all := make(map[string]asset)
	for _, e := range entries {
		body, err := assetFiles.ReadFile("assets/" + e.Name())
		if err != nil {
			panic(err) // Embedded.
		}
		all[e.Name()] = newAsset(e.Name(), body)
	}
	return all
}

func newAsset(name string, body []byte) asset {
	sum := sha256.Sum256(body)
	return asset{name, strings.ToLower(base32.StdEncoding.EncodeToString(sum[:10])), assetKinds[path.Ext(name)], body}
}

const assetsPath = "/assets/"

// path is where the pages find an asset: style.HASH.css.
func (a asset) path() string {
	stem, ext, _ := strings.Cut(a.name, ".")
	return assetsPath + stem + "." + a.hash + "." + ext
}

// assetAt takes the last segment of a path apart.
func assetAt(segment string) (name, hash string) {
	stem, rest, _ := strings.Cut(segment, ".")
	hash, ext, _ := strings.Cut(rest, ".")
	return stem + "." + ext, hash
}

// assetPath is for the templates.
func assetPath(name string) (string, error) {
	a, ok := assets[name]
	if !ok {
		return "", fmt.Errorf("no asset %q", name)
	}
	return a.path(), nil
}

// serveAsset answers with what an asset is now, also for a page from before an upgrade or a reload, which asks for what it was:
// that answer is not kept.
func (h *Handler) serveAsset(w http.ResponseWriter, r *http.Request) {
	name, hash := assetAt(path.Base(r.URL.Path))
	a, ok := assets[name]
	if !ok {
		a, ok = h.assets[name]
	}
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		header.Set("Allow", "GET, HEAD")
		w.WriteHeader(http.StatusMethodNotAllowed)
	case !ok:
		w.WriteHeader(http.StatusNotFound)
	default:
		if hash == a.hash {
			header.Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		header.Set("Content-Type", a.kind)
		header.Set("Content-Length", strconv.Itoa(len(a.body)))
		w.WriteHeader(http.StatusOK)
		if r.Method == http.MethodGet {
			w.Write(a.body) //nolint:errcheck // The browser is gone: nobody is left to tell.
		}
	}
}
