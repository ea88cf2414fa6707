package serve

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"net/http"
	"strings"
)

// gate knows the token, and who shows it:
//
//	Authorization: Bearer TOKEN            programs
//	Authorization: Basic base64(any:TOKEN) http://klined:TOKEN@host, and a browser's own dialogue
//	Cookie: klined_…=…                     a page of ours: browsers send Basic with a WebSocket here and there only
//
// The last two a browser sends by itself, whoever's page asks: they count for pages of ours alone.
type gate struct {
	token  [sha256.Size]byte // its sum: sums are compared in constant time, whatever length was sent
	cookie http.Cookie       // that who showed the token to the page is given; not the token, which it does not tell
}

// newGate makes the gate of a token; nil where there is none, and all may pass.
func newGate(token string) *gate {
	if token == "" {
		return nil
	}
	derived := func(label string) string {
		mac := hmac.New(sha256.New, []byte(token))
		mac.Write([]byte(label))
		return hex.EncodeToString(mac.Sum(nil))
	}
	return &gate{token: sha256.Sum256([]byte(token)), cookie: http.Cookie{
		Name: "klined_" + derived("name")[:8], Value: derived("cookie"), // a name for each token: ports of one host share their cookies
		Path: "/", HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}}
}

// shown is what a request shows at the gate.
type shown uint8

const (
	nothing shown = iota
	wrong
	foreign // right, but sent by a browser for the page of another site
	right
)

// look says what r shows.
func (g *gate) look(r *http.Request) shown {
	if scheme, value, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		return g.judge(strings.TrimSpace(value))
	}
	seen := nothing
	if _, password, ok := r.BasicAuth(); ok {
		seen = g.judge(password)
	} else if r.Header.Get("Authorization") != "" {
		seen = wrong
	}
	if seen != right {
		if cookie, err := r.Cookie(g.cookie.Name); err == nil && subtle.ConstantTimeCompare([]byte(cookie.Value), []byte(g.cookie.Value)) == 1 {
			seen = right
		}
	}
	if seen == right && !ownOrigin(r) && !isNavigation(r) {
		return foreign
	}
	return seen
}

func (g *gate) judge(token string) shown {
	sum := sha256.Sum256([]byte(token))
	if subtle.ConstantTimeCompare(sum[:], g.token[:]) == 1 {
		return right
	}
	return wrong
}

// isNavigation reports whether a browser asks for a page to show it on its own, as it does where a link is followed: who has set
// the link sees nothing of the answer.
func isNavigation(r *http.Request) bool {
	return r.Method == http.MethodGet && !acts(r) && r.Header.Get("Sec-Fetch-Mode") == "navigate" && r.Header.Get("Sec-Fetch-Dest") == "document"
}

// welcome gives a browser that showed the token to the page what the page's WebSocket shows.
func (g *gate) welcome(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/" || r.Header.Get("Authorization") == "" {
		return
	}
	cookie := g.cookie
	cookie.Secure = r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https"
	http.SetCookie(w, &cookie)
}

func tokenWanted() *apiError {
	return &apiError{status: http.StatusUnauthorized, code: -2015,
		msg: "Invalid API-key, IP, or permissions for action. This klined asks for its token: Authorization: Bearer, or as the password of any user."}
}

func tokenOfForeignPage() *apiError {
	return &apiError{status: http.StatusForbidden, code: -2015,
		msg: "Invalid API-key, IP, or permissions for action. What a browser sends of the token by itself counts for klined's own page alone."}
}
