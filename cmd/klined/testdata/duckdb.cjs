// node duckdb.cjs FILE: what DuckDB reads in a Parquet file (or in all that a pattern names), as JSON: the columns' types; each
// row with its values as text; sums; and how many rows one hour of 2026-09-01 has, by comparison of times.
const { createRequire } = require('node:module')
const { DuckDBInstance } = createRequire(process.env.KLINED_NODE_MODULES + '/')('@duckdb/node-api')

async function main(file) {
  const db = await (await DuckDBInstance.create(':memory:')).connect()
  const ask = async (query) => (await db.runAndReadAll(query)).getRowsJson()
  const from = `FROM read_parquet('${file}')`
  const types = await ask(`SELECT column_name, column_type FROM (DESCRIBE SELECT * ${from})`)
  const text = types.map(([name, type]) => (type.startsWith('TIMESTAMP') ? `epoch_ms(${name})::VARCHAR` : `${name}::VARCHAR`))
  console.log(JSON.stringify({
    types: Object.fromEntries(types),
    rows: await ask(`SELECT ${text} ${from} ORDER BY symbol, interval, open_time`),
    sums: (await ask(`SELECT sum(open)::VARCHAR, sum(volume)::VARCHAR, sum(quote_volume)::VARCHAR ${from}`))[0],
    hour: (await ask(`SELECT count(*)::VARCHAR ${from} WHERE open_time >= '2026-09-01 12:00:00Z' AND open_time < '2026-09-01 13:00:00Z'`))[0][0],
  }))
}

main(process.argv[2])
