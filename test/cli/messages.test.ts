import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, it, onTestFinished, vi } from 'vitest'
import { openControl } from '../../src/gateway/index.ts'
import { nextEvent, startPair } from '../nodes.ts'
import { run, temporaryFolder } from './program.ts'

// Child processes: seconds on a busy machine
vi.setConfig({ testTimeout: 60_000 })

async function start() {
  const [node, far] = await startPair()
  await far.trust.set(node.id, { level: 'known' })
  const home = temporaryFolder()
  const control = await openControl({ node, path: join(home, 'control.sock'), onStop: async () => {} })
  onTestFinished(() => control.close())
  return { node, far, cli: (args: readonly string[], stdin = '') => run([...args, '--home', home], { stdin }) }
}

const ID = /^[0-9A-HJKMNP-TV-Z]{26}$/

it('send prints the id; messages show tells the story; --request --wait prints the reply', async () => {
  const { far, cli } = await start()
  await far.agents.add({ name: 'echo', onMessage: ({ body }, context) => context.reply(`you said ${String(body)}`) })
  await far.policy.put([{ id: 'echo', effect: 'allow', who: '*', act: 'message.send', res: 'agent:echo' }])
  const sent = await cli(['send', `${far.id}/owner`, 'good morning'])
  expect(sent).toMatchObject({ code: 0, stderr: expect.stringContaining('messages show') })
  const id = sent.stdout.trim()
  expect(id).toMatch(ID)
  await expect.poll(() => far.messages.inbox().map(({ body }) => body)).toEqual(['good morning'])
  await far.messages.read(id)
  await expect
    .poll(async () => (await cli(['messages', 'show', id])).stdout, { timeout: 20_000 })
    .toMatch(/state +processed\n[\s\S]*processed \(signed\)/)
  expect(await cli(['send', `${far.id}/echo`, 'hi', '--request', '--wait'])).toMatchObject({
    code: 0,
    stdout: 'you said hi\n'
  })
  expect(JSON.parse((await cli(['outbox', '--all', '--json'])).stdout)).toHaveLength(2)
})

it('inbox lists what came and marks it as read; texts of others cannot steer the terminal', async () => {
  const { node, far, cli } = await start()
  await node.trust.set(far.id, { level: 'known' })
  const received = nextEvent(node, 'message:received')
  const { id } = await far.send(`${node.id}/owner`, 'red \u001b[31malert')
  await received
  const listed = await cli(['inbox'])
  expect(listed.stdout).toContain(`${id}\t${far.id}/owner\tmessage\tdelivered`)
  expect(listed.stdout).not.toContain('\u001b')
  expect(JSON.parse((await cli(['status', '--json'])).stdout)).toMatchObject({ messages: { unread: 1 } })
  expect(await cli(['inbox', '--read', id])).toMatchObject({ code: 0, stdout: `${id} read\n` })
  expect(JSON.parse((await cli(['inbox', '--json'])).stdout)).toEqual([])
  expect(JSON.parse((await cli(['inbox', '--all', '--json'])).stdout)).toMatchObject([{ id, state: 'processed' }])
})

it('fails with NOT_FOUND for messages that are not there, and names what is wrong', async () => {
  const { far, cli } = await start()
  const none = '01JD8Q3N5X0000000000000000'
  for (const args of [
    ['messages', 'show', none],
    ['inbox', '--read', none],
    ['dead-letters', 'replay', none],
    ['dead-letters', 'drop', none]
  ])
    expect(await cli(args)).toMatchObject({ code: 4, stderr: expect.stringContaining('NOT_FOUND') })
  expect((await cli(['send', `${far.id}/owner`, '--data', '{'])).stderr).toContain('INVALID_ARGUMENT')
  expect(await cli(['dead-letters', 'list'])).toMatchObject({ code: 0, stderr: expect.stringContaining('no dead') })
})

it('send --wait says what it waits for, and gives up without taking the message back', async () => {
  const { far, cli } = await start()
  const sent = await cli(['send', `${far.id}/owner`, 'are you there?', '--wait', '--timeout', '4s'])
  expect(sent.stderr).toMatch(/waiting until the owner there has read it; Ctrl-C ends the waiting, not the message/)
  expect(sent).toMatchObject({ stdout: '', stderr: expect.stringContaining('TIMEOUT') })
  expect(sent.code).not.toBe(0)
  expect(far.messages.inbox()).toMatchObject([{ body: 'are you there?', state: 'delivered' }])
})

it('send --file sends a reference, and messages show tells how to get it', async () => {
  const { node, far, cli } = await start()
  const path = join(temporaryFolder(), 'report.txt')
  await writeFile(path, 'all is well')
  const sent = await cli(['send', `${far.id}/owner`, '--file', path, '--type', 'text/plain', '--json'])
  const { id } = JSON.parse(sent.stdout)
  await expect.poll(() => far.messages.inbox()).toMatchObject([{ id, type: 'text/plain', blob: { size: 11 } }])
  const [blob] = node.blobs.list()
  expect(blob).toMatchObject({ size: 11, readers: [far.id] })
  expect((await cli(['messages', 'show', id])).stdout).toContain(`${blob?.sha256}, 11 bytes`)
  await far.blobs.fetch(node.id, blob?.sha256 ?? '')
  expect(await cli(['send', `${far.id}/owner`, '--file', join(path, 'none')])).toMatchObject({ stdout: '' })
})

it('send bounds what may come of a message', async () => {
  const { far, cli } = await start()
  const budgets: unknown[] = []
  await far.agents.add({ name: 'worker', onMessage: ({ budget }) => void budgets.push(budget) })
  await far.policy.put([{ id: 'worker', effect: 'allow', who: '*', act: 'message.send', res: 'agent:worker' }])
  const send = (...options: string[]) => cli(['send', `${far.id}/worker`, 'hi', '--wait', ...options])
  expect(await send('--max-hops', '2', '--max-calls', '20', '--max-cost', '0')).toMatchObject({ code: 0 })
  expect(await send('--max-calls', '5')).toMatchObject({ code: 0 })
  expect(budgets).toEqual([
    { hops: 2, calls: 20, cost: 0 },
    { hops: 8, calls: 5 }
  ])
  for (const wrong of [
    ['--max-hops', '9'],
    ['--max-calls', 'many'],
    ['--max-cost', '-1'],
    ['--expires', '31d']
  ])
    expect(await send(...wrong)).toMatchObject({
      code: 2,
      stdout: '',
      stderr: expect.stringMatching(/hops|whole|expiresIn/)
    })
  expect(budgets).toHaveLength(2)
})
