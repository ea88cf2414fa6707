package market

import (
	"errors"
	"fmt"
	"time"
)

// Class says for what the exchange is asked; the weight budget serves the classes in this order.
type Class uint8

// The classes, first served first.
const (
	ClassHeal     Class = iota // missing trades
	ClassStart                 // what a symbol needs to become whole
	ClassSettle                // official klines to compare with
	ClassClients               // what a client waits for
	ClassBackfill              // history that nobody waits for: it leaves a share of the weight to the others
)

// String is the class's word in logs and status.
func (c Class) String() string {
	return [...]string{"heal", "start", "settle", "clients", "backfill"}[c]
}

// BudgetError says that the exchange may not be asked now.
type BudgetError struct {
	RetryAfter time.Duration // until when asking again makes sense
	Reason     string
}

func (e *BudgetError) Error() string {
	return fmt.Sprintf("%s; again in %s", e.Reason, e.RetryAfter.Round(time.Second))
}

// TooHeavyError says that a request weighs more than may be asked in a whole minute.
type TooHeavyError struct{ Weight, Limit int }

func (e *TooHeavyError) Error() string {
	return fmt.Sprintf("a request of weight %d is beyond the budget of %d a minute", e.Weight, e.Limit)
}

// ErrNotListed says that the exchange does not know the symbol that was asked for.
var ErrNotListed = errors.New("the exchange does not list it")

// ErrOutcomeUnknown says that the exchange may have carried out a request that it has not answered.
var ErrOutcomeUnknown = errors.New("the exchange may have carried it out")
