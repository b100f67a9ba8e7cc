#!/usr/bin/env node
// Must parse on Node 18, so that an old Node gets to say what is needed: no static imports, no new syntax.
const NEEDED = [24, 15] as const

const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1])) {
  const { main } = await import('./main.ts')
  process.exitCode = await main(process.argv.slice(2))
} else {
  console.error(
    `error: pryx-mesh needs Node ${NEEDED.join('.')} or later, this is ${process.versions.node}: see https://nodejs.org`
  )
  process.exitCode = 1
}
