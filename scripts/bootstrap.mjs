// Makes a clone ready to run: installs and builds what is missing or out of date, and is silent otherwise.
// Plain JavaScript for Node 18 and later: the Node that the project needs comes with the installation.
import { spawnSync } from 'node:child_process'
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync
} from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = dirname(dirname(fileURLToPath(import.meta.url)))
const modules = join(root, 'node_modules')
const lockFile = join(root, 'package-lock.json')
const installed = join(modules, '.package-lock.json')
const node = join(modules, '.bin', process.platform === 'win32' ? 'node.cmd' : 'node')
const program = join(root, 'dist', 'cli', 'bin.js')
// Touched by a good build only; dist also has what a failed one left
const built = join(modules, '.pryx-mesh-built')
const busy = join(modules, '.pryx-mesh-bootstrap')
const NEEDED = [24, 15]
const QUIET = ['--no-audit', '--no-fund', '--loglevel=error']

try {
  if (!isInstalled() || !isBuilt()) exclusively(makeReady)
} catch (err) {
  console.error(`error: ${err instanceof Error ? err.message : String(err)}`)
  process.exitCode = 1
}

function makeReady() {
  if (!isInstalled()) install()
  if (!isBuilt()) build()
}

function isInstalled() {
  return changedAt(installed) >= changedAt(lockFile) && existsSync(node)
}

function isBuilt() {
  if (!existsSync(program)) return false
  const at = changedAt(built)
  return ['src', 'tsconfig.json', 'package.json'].every((name) => newest(join(root, name)) <= at)
}

function install() {
  console.error('pryx-mesh: installing dependencies, once')
  // devDependencies hold the compiler and the right Node; engine warnings would speak of the Node that is only here to
  // install it; npm 9 and 10 write a lock file of another form, so nothing is saved
  run(
    'npm',
    ['install', '--no-save', '--include=dev', ...QUIET],
    'npm install failed: see above; is the registry reachable?'
  )
  // For an npm that was told to run no scripts: the one of `node` fetches the binary
  if (!works(node))
    run('npm', ['rebuild', 'node', '--ignore-scripts=false', ...QUIET], 'installing Node failed: see above')
  if (!works(node)) {
    const wanted = `Node ${NEEDED.join('.')} for ${process.platform} ${process.arch}`
    throw new Error(`${wanted} could not be installed: see https://nodejs.org`)
  }
  // npm leaves its own mark alone when there was nothing to do
  utimesSync(installed, new Date(), new Date())
}

function works(path) {
  const { stdout, status } = spawnSync(path, ['--version'], { encoding: 'utf8', shell: process.platform === 'win32' })
  const [major, minor] = (stdout ?? '').replace('v', '').split('.').map(Number)
  return status === 0 && (major > NEEDED[0] || (major === NEEDED[0] && minor >= NEEDED[1]))
}

function build() {
  console.error('pryx-mesh: building')
  // Not incremental: its notes outlive a deleted dist, and then nothing would be written
  run(join(modules, '.bin', 'tsc'), ['--incremental', 'false'], 'the build failed: see above')
  writeFileSync(built, '')
}

/** Everything it says goes to stderr: stdout belongs to the program that is started next. */
function run(command, args, failure) {
  const { status, error } = spawnSync(command, args, {
    cwd: root,
    stdio: ['ignore', 2, 2],
    shell: process.platform === 'win32'
  })
  if (error !== undefined) throw new Error(`${command} cannot be run: ${error.message}`)
  if (status !== 0) throw new Error(failure)
}

/** Two starts of a fresh clone at once: the second waits for the first. */
function exclusively(work) {
  mkdirSync(modules, { recursive: true })
  while (!take()) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 200)
  try {
    work()
  } finally {
    rmSync(busy, { force: true })
  }
}

function take() {
  try {
    const file = openSync(busy, 'wx')
    writeFileSync(file, String(process.pid))
    closeSync(file)
    return true
  } catch (err) {
    if (err.code !== 'EEXIST') throw err
    if (!isAlive(Number(read(busy)))) rmSync(busy, { force: true })
    return false
  }
}

function isAlive(pid) {
  // Not written yet
  if (pid === 0) return changedAt(busy) > Date.now() - 5_000
  try {
    process.kill(pid, 0)
    return true
  } catch (err) {
    return err.code === 'EPERM'
  }
}

function read(path) {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return ''
  }
}

/** 0 when there is nothing. */
function changedAt(path) {
  return statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0
}

/** Folders count too: a file that is gone changes them. */
function newest(path) {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats === undefined || !stats.isDirectory()) return stats?.mtimeMs ?? 0
  return readdirSync(path).reduce((latest, name) => Math.max(latest, newest(join(path, name))), stats.mtimeMs)
}
