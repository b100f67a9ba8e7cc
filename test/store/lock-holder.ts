/** Holds the lock of a home until it is killed; prints a line once it has it. */
import { lockHome } from '../../src/store/index.ts'

const [, , home = ''] = process.argv
await lockHome(home)
process.stdout.write('locked\n')
setInterval(() => {}, 60_000)
