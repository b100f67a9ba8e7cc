import { MeshError } from '../errors.ts'
import { KAD_PROTOCOL, MAIN_MESH, MDNS_SERVICE, MESH_PREFIX, TOPIC_PREFIX } from './constants.ts'

const MESH_NAME = /^[a-z0-9-]{1,32}$/

/** What the ids of one mesh look like on the wire. The rooms know those of `main`, and only the network knows of others. */
export interface MeshIds {
  readonly name: string
  /** Of the ids of its protocols and topics, and of no other mesh's. */
  readonly prefix: string
  /** The DHT's protocol. */
  readonly kad: string
  /** The service that is asked for on the LAN. */
  readonly mdnsService: string
  /** A protocol or topic as it goes over the wire; what isn't the mesh's stays as it is. */
  readonly wire: (id: string) => string
}

/**
 * The ids of a mesh.
 *
 * @param name 1 to 32 of a-z, 0-9 and `-`
 * @throws {MeshError} INVALID_ARGUMENT for another name
 */
export function meshIds(name: string): MeshIds {
  if (!MESH_NAME.test(name)) {
    throw new MeshError('INVALID_ARGUMENT', `${JSON.stringify(name.slice(0, 80))} can't be the name of a mesh`, {
      hint: 'use 1 to 32 of a-z, 0-9 and -'
    })
  }
  const isMain = name === MAIN_MESH
  const prefix = isMain ? TOPIC_PREFIX : `${MESH_PREFIX}@${name}/`
  const wire = (id: string): string => (id.startsWith(TOPIC_PREFIX) ? prefix + id.slice(TOPIC_PREFIX.length) : id)
  // A subtype (RFC 6763 §7.1), for the name of a service itself has 15 characters at most
  const mdnsService = isMain ? MDNS_SERVICE : `_${name}._sub.${MDNS_SERVICE}`
  return { name, prefix, kad: wire(KAD_PROTOCOL), mdnsService, wire }
}

/**
 * The mesh that a peer is of, by the protocols that it says it serves.
 *
 * @returns undefined when it serves nothing of any mesh, as one does that only calls
 */
export function meshOf(protocols: readonly string[], own: MeshIds): string | undefined {
  if (protocols.some((id) => id.startsWith(own.prefix))) return own.name
  return protocols.map(nameIn).find((name) => name !== undefined)
}

function nameIn(id: string): string | undefined {
  if (id.startsWith(TOPIC_PREFIX)) return MAIN_MESH
  if (!id.startsWith(`${MESH_PREFIX}@`)) return undefined
  const name = id.slice(MESH_PREFIX.length + 1).split('/', 1)[0] ?? ''
  return MESH_NAME.test(name) ? name : undefined
}
