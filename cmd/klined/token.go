package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
)

// Bounds of a token. 16 characters of `openssl rand -hex 8` are 64 bits: out of reach at any rate of guesses that a network brings.
const (
	shortestToken = 16
	longestToken  = 512
)

// readToken reads the file of --token: a single line of what may stand in a header unquoted (RFC 6750, b64token).
func readToken(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil { // what is given may be the token itself
		return "", fmt.Errorf("--token: no file that can be read is called so: %w (it takes the file's name, not the token)", errors.Unwrap(err))
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, longestToken+3))
	if err != nil {
		return "", fmt.Errorf("--token: %w", err)
	}
	token := string(bytes.TrimSpace(text))
	odd := func(c rune) bool {
		return (c < 'a' || 'z' < c) && (c < 'A' || 'Z' < c) && (c < '0' || '9' < c) && !strings.ContainsRune("-._~+/=", c)
	}
	switch { // the errors must not tell what is in it
	case len(token) < shortestToken:
		return "", fmt.Errorf("--token %s: %d characters are too few, want %d: openssl rand -hex 32 > %[1]s", file, len(token), shortestToken)
	case len(token) > longestToken:
		return "", fmt.Errorf("--token %s: more than %d characters", file, longestToken)
	case strings.ContainsFunc(token, odd):
		return "", fmt.Errorf("--token %s: want one line of letters, digits and -._~+/= alone", file)
	}
	return token, nil
}

// warnOfToken says where others of this machine may read the token.
func warnOfToken(log *slog.Logger, file string) {
	info, err := os.Stat(file)
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o004 != 0 {
		log.Warn("every user of this machine can read the token: chmod 600", "file", file, "mode", info.Mode().Perm().String())
	}
}

// isLoopback reports whether only this machine reaches what listens on addr.
func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip, notIP := netip.ParseAddr(host)
	return err == nil && (host == "localhost" || notIP == nil && ip.IsLoopback())
}

// warnOfListening says what it means to listen where others come.
func warnOfListening(log *slog.Logger, listen string, token bool) {
	if isLoopback(listen) {
		return
	}
	host, _, _ := net.SplitHostPort(listen) // it has been listened on
	by := "whoever reaches " + host
	if ip, err := netip.ParseAddr(host); host == "" || err == nil && ip.IsUnspecified() {
		by = "whoever reaches any address of this machine"
	}
	means := "anybody there may read all that is served and use up what the exchange allows this address; give --token, or keep it to 127.0.0.1"
	if token {
		means = "the token crosses the network in the clear"
	}
	log.Warn("listening beyond this machine, without TLS: put a reverse proxy that has it in front (SECURITY.md)",
		"listen", listen, "open_to", by, "means", means)
}
