package main

import (
	"fmt"
	"time"

	"klined/health"
	"klined/tape"
)

// leastRecord holds eight files of some minutes each.
const leastRecord = 64 << 20

// openTape begins to record, where that is asked for; record is what takes the frames then.
func (s *server) openTape() (err error) {
	if s.o.Record == "" {
		return nil
	}
	state := s.dog.Component("tape", health.Outside)
	s.tape, err = tape.NewRecorder(tape.RecorderOptions{Dir: s.o.Record, Size: s.o.RecordSize, Log: s.log,
		Wrote:   func(bytes int) { s.metrics.TapeBytes.Add(float64(bytes)) },
		LeftOut: func(frames int) { s.metrics.TapeLeftOut.Add(float64(frames)) },
		State: func(err error) {
			if err != nil {
				state.Fail(err.Error())
			} else {
				state.Beat()
			}
		}})
	return err
}

// closeTape ends the tape, once nothing brings frames any more.
func (s *server) closeTape() error {
	if s.tape == nil {
		return nil
	}
	if err := s.tape.Close(); err != nil {
		return fmt.Errorf("tape: the last frames are not on it: %w", err)
	}
	return nil
}

// record is what takes frames as they are received; nil where nobody records.
func (s *server) record() func(conn string, at time.Time, frame []byte) {
	if s.tape == nil {
		return nil
	}
	return s.tape.Add
}
