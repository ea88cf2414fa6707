package health

import "time"

// Moment is a time that may not have come: the zero time, null in JSON.
type Moment struct{ time.Time }

// MarshalJSON gives RFC 3339, or null.
func (m Moment) MarshalJSON() ([]byte, error) {
	if m.IsZero() {
		return []byte("null"), nil
	}
	return m.Time.MarshalJSON()
}
