import { mkdir, stat, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { expect, it, onTestFinished } from 'vitest'
import { openHome, readSettings } from '../src/config.ts'
import { homeAt, MAX_SOCKET_PATH_BYTES, resolveHome } from '../src/home.ts'
import { failureOf, startNode } from './nodes.ts'
import { tempFolder } from './temp.ts'

it.each([
  { id: 'the option', option: '/a/b', env: { PRYX_MESH_HOME: '/env', HOME: '/home/u' }, home: '/a/b' },
  { id: 'a relative option', option: 'b', env: {}, home: join(process.cwd(), 'b') },
  { id: 'the environment', option: undefined, env: { PRYX_MESH_HOME: '/env', HOME: '/home/u' }, home: '/env' },
  {
    id: 'an empty variable as none',
    option: undefined,
    env: { PRYX_MESH_HOME: '', HOME: '/home/u' },
    home: '/home/u/.pryx-mesh'
  },
  { id: 'the owner’s folder', option: undefined, env: { HOME: '/home/u' }, home: '/home/u/.pryx-mesh' }
])('the home is taken from $id', ({ option, env, home }) => {
  expect(resolveHome(option, env)).toBe(home)
})

it('a home is made for its owner only, once', async () => {
  const path = join(await tempFolder(), 'deep', 'home')
  const home = await openHome(path)
  expect((await stat(path)).mode & 0o777).toBe(0o700)
  expect(home).toEqual({
    path,
    identityKey: join(path, 'identity.key'),
    config: join(path, 'config.json'),
    policy: join(path, 'policy.json'),
    database: join(path, 'mesh.db'),
    ballast: join(path, 'ballast'),
    blobs: join(path, 'blobs'),
    httpToken: join(path, 'http.token'),
    cache: join(path, 'cache.db'),
    socket: join(path, 'control.sock'),
    audit: join(path, 'audit.log'),
    secretsKey: join(path, 'secrets.key')
  })
  expect(await openHome(path)).toEqual(home)
})

it('a file in the place of the home is IO', async () => {
  const path = join(await tempFolder(), 'home')
  await writeFile(path, '')
  await expect(openHome(path)).rejects.toMatchObject({
    code: 'IO',
    message: `the home ${path} cannot be used: it is not a folder`,
    hint: expect.stringContaining('--home')
  })
})

it('a home below a file is IO', async () => {
  const file = join(await tempFolder(), 'file')
  await writeFile(file, '')
  await expect(openHome(join(file, 'home'))).rejects.toMatchObject({ code: 'IO' })
})

it.skipIf(process.platform !== 'linux')('a home where the kernel makes the folders is IO, at once', async () => {
  await expect(openHome('/proc/pryx-mesh/home')).rejects.toMatchObject({ code: 'IO' })
})

it('a home that may not be written in is IO', async () => {
  // Root may write in spite of the mode, but not in the kernel's own folder
  const path = process.getuid?.() === 0 ? '/sys/pryx-mesh' : join(await tempFolder(), 'home')
  if (!path.startsWith('/sys')) await mkdir(path, { mode: 0o500 })
  await expect(openHome(path)).rejects.toMatchObject({ code: 'IO' })
})

it('the deepest home allowed has room for its socket, and a deeper one is told so', async () => {
  const folder = await tempFolder()
  const length = MAX_SOCKET_PATH_BYTES - '/control.sock'.length - folder.length - 1
  const deepest = await openHome(join(folder, 'x'.repeat(length)))
  const server = createServer()
  onTestFinished(() => void server.close())
  await new Promise<void>((listening, failed) => server.on('error', failed).listen(deepest.socket, listening))
  expect(server.address()).toBe(deepest.socket)

  expect(() => homeAt(join(folder, 'x'.repeat(length + 1)))).toThrowError(
    expect.objectContaining({ code: 'INVALID_ARGUMENT', hint: expect.stringContaining('--home') })
  )
})

it('a home without config.json has no settings', async () => {
  expect(await readSettings(await openHome(await tempFolder()))).toEqual({})
})

it('config.json holds name, listen, bootstrap and lan', async () => {
  const home = await openHome(await tempFolder())
  const settings = {
    name: 'attic',
    listen: ['/ip4/0.0.0.0/tcp/4001'],
    bootstrap: ['/dns4/a.example/tcp/4001'],
    lan: false
  }
  await writeFile(home.config, JSON.stringify(settings))
  expect(await readSettings(home)).toEqual(settings)
})

it.each([
  { id: 'broken JSON', content: '{\n  "name": "a",\n  lan: true }', says: 'line 3 column 3' },
  { id: 'a cut-off file', content: '{ "name": "a', says: 'JSON' },
  { id: 'an empty file', content: '', says: 'JSON' },
  { id: 'a list', content: '[]', says: 'expected object' },
  { id: 'a number for a name', content: '{"name":7}', says: 'name: Invalid input: expected string' },
  { id: 'an empty name', content: '{"name":""}', says: 'name:' },
  { id: 'a misspelt key', content: '{"bootstraps":[]}', says: '"bootstraps"' },
  { id: 'a quota below nothing', content: '{"blobs":{"quotaBytes":-1}}', says: 'blobs.quotaBytes:' },
  { id: 'a wait of more than an hour', content: '{"streams":{"detachedMs":3600001}}', says: 'streams.detachedMs:' },
  {
    id: 'a bad address',
    content: '{"listen":["/ip4/0.0.0.0/tcp/0","localhost:80"]}',
    says: 'listen[1]: is not a multiaddr'
  }
])('config.json with $id is refused by name and place', async ({ content, says }) => {
  const home = await openHome(await tempFolder())
  await writeFile(home.config, content)
  const refusal = await readSettings(home).catch((err: unknown) => err)
  expect(refusal).toMatchObject({ code: 'INVALID_CONFIG', hint: expect.stringContaining('correct the file') })
  expect(String(refusal)).toContain(`${home.config}: `)
  expect(String(refusal)).toContain(says)
})

it('config.json names files from its own folder', async () => {
  const home = await openHome(join(await tempFolder(), 'home'))
  const introspection = { clientId: 'me', clientSecretFile: 'secret' }
  const auth = {
    issuers: [{ issuer: 'https://login.example.org', introspection }, { issuer: 'https://id.example.org' }],
    mtls: { ca: 'ca/ca.pem' }
  }
  await writeFile(home.config, JSON.stringify({ swarmKey: '/etc/swarm.key', auth }))
  expect(await readSettings(home)).toEqual({
    swarmKey: '/etc/swarm.key',
    auth: {
      issuers: [
        {
          issuer: 'https://login.example.org',
          introspection: { clientId: 'me', clientSecretFile: join(home.path, 'secret') }
        },
        { issuer: 'https://id.example.org' }
      ],
      mtls: { ca: join(home.path, 'ca/ca.pem') }
    }
  })
})

it('config.json that cannot be read is IO', async () => {
  const home = await openHome(await tempFolder())
  await mkdir(home.config)
  await expect(readSettings(home)).rejects.toMatchObject({ code: 'IO', message: expect.stringContaining(home.config) })
})

it('what blobs may take, and how long streams wait, is read from it', async () => {
  const home = await tempFolder()
  const settings = { blobs: { quotaBytes: 100 }, streams: { detachedMs: 5_000 } }
  await writeFile(join(home, 'config.json'), JSON.stringify(settings))
  expect(await readSettings(homeAt(home))).toEqual(settings)
  const node = await startNode({ home })
  expect(await failureOf(node.blobs.put(Buffer.alloc(101)))).toMatchObject({ code: 'LIMIT_EXCEEDED' })
  expect(await node.blobs.put(Buffer.alloc(100))).toMatchObject({ size: 100 })
})
