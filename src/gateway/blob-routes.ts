import { z } from 'zod'
import type { BlobInfo } from '../blobs/index.ts'
import { MeshError } from '../errors.ts'
import type { Node } from '../index.ts'
import { type App, body, type Scope } from './http.ts'
import { parse } from './messages.ts'

const putBody = z.strictObject({ path: z.string() })
const getBody = z.strictObject({ from: z.string().optional(), path: z.string().optional() })
const readerBody = z.strictObject({ peer: z.string() })

/**
 * | route | body | answer |
 * |---|---|---|
 * | `GET /v1/blobs` | | `BlobInfo[]`, newest first |
 * | `POST /v1/blobs` | `{path}` of a file on the node's machine | `{sha256, size}` |
 * | `POST /v1/blobs/:sha256/get` | `{from?, path?}`: fetched from that peer unless it is here, then copied to a new file | `{sha256, size}` |
 * | `POST /v1/blobs/:sha256/readers` | `{peer}` | `BlobInfo` |
 * | `DELETE /v1/blobs/:sha256/readers/:peer` | | `BlobInfo` |
 * | `DELETE /v1/blobs/:sha256` | | `{removed}` |
 *
 * A peer is a PeerId or an alias.
 */
export function routeBlobs(app: App, { node, signalOf }: Scope): void {
  const peerOf = (peer: string): string => node.trust.named(peer) ?? peer
  app.get('/v1/blobs', (context) => context.json(node.blobs.list()))
  app.post('/v1/blobs', async (context) => {
    const { path } = parse(putBody, await body(context))
    return context.json(await node.blobs.put(path, { signal: signalOf(context) }), 201)
  })
  app.post('/v1/blobs/:sha256/get', async (context) => {
    const { from, path } = parse(getBody, await body(context))
    const sha256 = context.req.param('sha256')
    if (from !== undefined) await node.blobs.fetch(peerOf(from), sha256, { signal: signalOf(context) })
    if (path !== undefined) await node.blobs.save(sha256, path)
    return context.json(known(node, sha256))
  })
  app.post('/v1/blobs/:sha256/readers', async (context) => {
    const { peer } = parse(readerBody, await body(context))
    const sha256 = context.req.param('sha256')
    await node.blobs.allow(sha256, peerOf(peer))
    return context.json(node.blobs.get(sha256) ?? null)
  })
  app.delete('/v1/blobs/:sha256/readers/:peer', async (context) => {
    const sha256 = context.req.param('sha256')
    await node.blobs.disallow(sha256, peerOf(context.req.param('peer')))
    return context.json(node.blobs.get(sha256) ?? null)
  })
  app.delete('/v1/blobs/:sha256', async (context) => {
    const sha256 = context.req.param('sha256')
    await node.blobs.drop(sha256)
    return context.json({ removed: sha256 })
  })
}

function known(node: Node, sha256: string): BlobInfo {
  const blob = node.blobs.get(sha256)
  if (blob === undefined)
    throw new MeshError('NOT_FOUND', 'this node has no such blob', { hint: 'say who has it: --from PEER' })
  return blob
}
