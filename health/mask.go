package health

import (
	"log/slog"
	"regexp"
	"strings"
)

// What is secret, and where it ends.
var (
	secretUser   = regexp.MustCompile(`(://[^/\s:@"']*):[^/\s"']*@`)
	secretField  = regexp.MustCompile(`(?i)\b(signature|listen_?key|api_?key|token|secret|password)((?:=|%3D|"\s*:\s*)"?)[^&\s"',;)]+`)
	secretHeader = regexp.MustCompile(`(?i)\b(x-mbx-apikey|proxy-authorization|authorization|cookie)\b("?[:=]\s*[\["]*)(bearer\s+|basic\s+)?[^\s"',\]]+`)
	longWord     = regexp.MustCompile(`\b[0-9A-Za-z]{64}\b`)
)

// Mask is text with *** in place of what must not be seen: passwords in addresses, signatures, keys and tokens, and
// words of 64 letters and digits, as the exchange's keys are. Checksums stay.
func Mask(text string) string {
	text = secretUser.ReplaceAllString(text, "$1:***@")
	text = secretField.ReplaceAllString(text, "$1$2***")
	text = secretHeader.ReplaceAllString(text, "$1$2$3***")
	return longWord.ReplaceAllStringFunc(text, func(word string) string {
		if strings.Trim(word, "0123456789abcdef") == "" {
			return word
		}
		return "***"
	})
}

// maskAttr is an attribute of a log line with its text masked.
func maskAttr(a slog.Attr) slog.Attr {
	switch v := a.Value; v.Kind() {
	case slog.KindString:
		a.Value = slog.StringValue(Mask(v.String()))
	case slog.KindAny:
		if err, is := v.Any().(error); is {
			a.Value = slog.StringValue(Mask(err.Error()))
		} else if a.Key != slog.LevelKey && a.Key != slog.SourceKey {
			a.Value = slog.StringValue(Mask(v.String()))
		}
	}
	return a
}
