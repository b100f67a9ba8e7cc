import { type FSWatcher, type Stats, watch } from 'node:fs'
import { stat } from 'node:fs/promises'
import { basename, dirname } from 'node:path'
import { WATCH_POLL_MS, WATCH_SETTLE_MS } from './constants.ts'

export interface Watching {
  stop(): void
}

/**
 * Tells when one of the files may have changed, come or gone. The folder is watched, as editors replace files; and the
 * files are looked at now and then, because not every file system tells. Keeps no process alive.
 */
export function watchFiles(paths: readonly string[], onChange: (path: string) => void): Watching {
  const timers = new Map<string, NodeJS.Timeout>()
  const soon = (path: string): void => {
    clearTimeout(timers.get(path))
    timers.set(path, setTimeout(() => onChange(path), WATCH_SETTLE_MS).unref())
  }
  const watchers = [...new Set(paths.map((path) => dirname(path)))].flatMap((folder) =>
    watchFolder(folder, (name) => {
      for (const path of paths) {
        if (dirname(path) === folder && (name === null || name === basename(path))) soon(path)
      }
    })
  )
  const seen = new Map<string, string>()
  const poll = async (): Promise<void> => {
    for (const path of paths) {
      const now = await stat(path).then(signature, () => 'none')
      const before = seen.get(path)
      seen.set(path, now)
      if (before !== undefined && before !== now) soon(path)
    }
  }
  void poll()
  const polling = setInterval(() => void poll(), WATCH_POLL_MS).unref()
  return {
    stop() {
      clearInterval(polling)
      for (const watcher of watchers) watcher.close()
      for (const timer of timers.values()) clearTimeout(timer)
    }
  }
}

const signature = ({ ino, size, mtimeMs }: Stats): string => `${ino} ${size} ${mtimeMs}`

/** None where the system has no more watches to give: looking now and then has to do. */
function watchFolder(folder: string, onName: (name: string | null) => void): FSWatcher[] {
  try {
    const watcher = watch(folder, { persistent: false }, (_, name) => onName(name))
    return [watcher.on('error', () => watcher.close())]
  } catch {
    return []
  }
}
