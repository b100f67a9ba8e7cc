import { once } from 'node:events'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { lockHome } from '../../src/store/index.ts'
import { tempFolder } from '../temp.ts'
import { crash, runScript } from './child.ts'

it('a home is locked once per process too', async () => {
  const home = await tempFolder()
  const lock = await lockHome(home)
  await expect(lockHome(home)).rejects.toMatchObject({
    code: 'HOME_IN_USE',
    message: `another process (pid ${process.pid}) runs on ${home}`,
    hint: expect.stringContaining('stop')
  })
  await expect(lockHome(home)).rejects.toMatchObject({ code: 'HOME_IN_USE' })
  await lock.release()
  await lock.release()
  await (await lockHome(home)).release()
})

it('a second process is refused at once with the pid of the first, and a crash frees the home', async () => {
  const home = await tempFolder()
  const { child } = runScript(new URL('./lock-holder.ts', import.meta.url), home)
  if (child.stdout === null) throw new Error('no pipe')
  await once(child.stdout, 'data')
  const started = performance.now()
  await expect(lockHome(home)).rejects.toMatchObject({
    code: 'HOME_IN_USE',
    message: `another process (pid ${child.pid}) runs on ${home}`
  })
  expect(performance.now() - started).toBeLessThan(1_000)
  await crash(child)
  await (await lockHome(home)).release()
})

it('two homes do not get in each other’s way', async () => {
  const locks = await Promise.all([lockHome(await tempFolder()), lockHome(await tempFolder())])
  await Promise.all(locks.map((lock) => lock.release()))
  expect(locks).toHaveLength(2)
})

it('a folder that does not exist is IO', async () => {
  const home = join(await tempFolder(), 'missing')
  await expect(lockHome(home)).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining(home) })
})
