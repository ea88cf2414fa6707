//go:build race

package binance

const raced = true
