package feed

import (
	"klined/health"
	"klined/market"
)

// fromZero has every series that the feed moves stand at zero until it does.
func fromZero(m *health.Metrics) {
	health.FromZero(m.Disbelieved, lieTime, lieJump, lieBackwards)
	health.FromZero(m.Connections, linkConnecting, linkUp, linkWaiting)
	health.FromZero(m.Reconnects, endedDial, rotated, silent, overtaken)
	health.FromZero(m.Reconnects, health.ReconnectReasons()...)
	health.FromZero(m.Symbols, string(Waiting), string(Whole), string(Behind), string(Ended))
	health.FromZero(m.KlinesRevised, causeLate, causeHeal, causeSettle)
	health.FromZero(m.KlinesSettled, settledEqual, settledReplaced)
	health.FromZero(m.SettleDifference, market.ValueNames[:]...)
	health.FromZero(m.SettleDoubted, doubtEarly, doubtRules, doubtTrades, doubtRead)
}
