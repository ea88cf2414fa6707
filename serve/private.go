package serve

import (
	"net/http"
	"strings"
)

const noUserData = "User data streams are the exchange's alone: connect to it for them."

// userDataElsewhere refuses an address that names a listen key: orders and balances are between the client and the exchange, and
// silence would look like nothing happened.
func userDataElsewhere() *apiError {
	return &apiError{status: http.StatusNotFound, code: -5000, msg: noUserData}
}

// ofUserData reports whether a name is a listen key, or one with an event: <listenKey>@ORDER_TRADE_UPDATE. Streams of the market
// have an @ or begin with !, and what is behind the @ begins in lower case. On the path of user data every other name is taken for
// a key; elsewhere one that looks like the exchange's is.
func ofUserData(name string, private bool) bool {
	key, event, found := strings.Cut(name, "@")
	if found && (event == "" || event[0] < 'A' || 'Z' < event[0]) {
		return false
	}
	return isListenKey(key) || private && (found || !strings.HasPrefix(name, "!"))
}

// isListenKey reports whether a name is 64 ASCII letters and digits, as the exchange's listen keys are.
func isListenKey(name string) bool {
	return len(name) == 64 && !strings.ContainsFunc(name, func(c rune) bool {
		return (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z')
	})
}
