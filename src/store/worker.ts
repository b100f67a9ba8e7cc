/** The one thread that writes to a database; started by {@link openStore}. */
import { parentPort, workerData } from 'node:worker_threads'
import { MeshError } from '../errors.ts'
import { commit, openDatabase } from './database.ts'
import { unpack } from './group.ts'
import type { FromWorker, ToWorker, WorkerInit } from './threaded.ts'

if (parentPort !== null) serve(parentPort, workerData as WorkerInit) // what openStore passes

function serve(port: NonNullable<typeof parentPort>, { path, migrations }: WorkerInit): void {
  const tell = (message: FromWorker): void => port.postMessage(message)
  try {
    const connection = openDatabase(path, migrations)
    port.on('message', (message: ToWorker) => {
      if (message !== 'close') return tell({ outcomes: commit(connection, unpack(message)) })
      connection.db.close()
      port.close()
    })
    tell('ready')
  } catch (err) {
    const detail = err instanceof Error ? err.message : String(err)
    tell({ failed: MeshError.from(err).toJSON(), detail })
  }
}
