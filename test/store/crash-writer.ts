/** Writes numbered rows, 16 at a time, and prints each number once its write has resolved; runs until it is killed. */
import { openStore } from '../../src/store/index.ts'
import { ITEM_MIGRATIONS } from './items.ts'

const [, , path = '', start = '0'] = process.argv
const store = await openStore({ path, migrations: [ITEM_MIGRATIONS] })
let next = Number(start)

await Promise.all(
  Array.from({ length: 16 }, async () => {
    for (;;) {
      const id = next++
      await store.write([{ sql: 'INSERT INTO item (id, body) VALUES (?, ?)', params: [id, 'x'.repeat(500)] }])
      process.stdout.write(`${id}\n`)
    }
  })
)
