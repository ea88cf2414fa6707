package main

import (
	"fmt"

	"klined/binance"
)

// defaultCapacity leaves room beside the 790 perpetuals that the exchange lists.
const defaultCapacity = 1500

// checkCapacity refuses more symbols than may be carried at once.
func checkCapacity(symbols, lanes, capacity int) error {
	if perConn := (symbols + lanes - 1) / lanes; perConn > binance.MaxStreams {
		return fmt.Errorf("%d symbols on %d lanes are %d streams a connection; the exchange allows %d: use more --lanes",
			symbols, lanes, perConn, binance.MaxStreams)
	}
	if symbols > capacity {
		return fmt.Errorf("%d symbols are more than --capacity %d", symbols, capacity)
	}
	return nil
}
