import { crc32 } from 'node:zlib'
import { MeshError } from '../errors.ts'
import { canonicalJson, parseJson } from '../wire/index.ts'
import { MAX_TOKEN_LENGTH } from './constants.ts'
import { type InviteBody, inviteBody } from './messages.ts'

const PREFIX = 'mesh_i_'
const SHAPE = /^(mesh_i_([\w-]+))_([0-9A-Za-z]{6})$/
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'

export function writeToken(body: InviteBody): string {
  const text = PREFIX + Buffer.from(canonicalJson(body)).toString('base64url')
  return `${text}_${checksum(text)}`
}

/**
 * Reads a token as it was copied: white space in it doesn't matter.
 *
 * @throws {MeshError} INVALID_ARGUMENT; never quotes it
 */
export function readToken(copied: string): InviteBody {
  const token = copied.length > 2 * MAX_TOKEN_LENGTH ? '' : copied.replace(/\s+/g, '')
  const [, text = '', payload = '', sum] = (token.length <= MAX_TOKEN_LENGTH ? SHAPE.exec(token) : null) ?? []
  if (text === '' || checksum(text) !== sum) {
    throw new MeshError('INVALID_ARGUMENT', 'that is no invite, or it was not copied right', {
      hint: `an invite starts with ${PREFIX}, and its last 6 characters are a checksum; copy it whole`
    })
  }
  const { success, data } = inviteBody.safeParse(parsed(payload))
  if (success) return data
  throw new MeshError('INVALID_ARGUMENT', 'the invite is of a kind that this version does not know')
}

function parsed(payload: string): unknown {
  try {
    return parseJson(Buffer.from(payload, 'base64url'))
  } catch {
    return undefined
  }
}

/** CRC-32 in base62, as in API keys. */
function checksum(text: string): string {
  let rest = crc32(text)
  let digits = ''
  while (digits.length < 6) {
    digits = ALPHABET.charAt(rest % 62) + digits
    rest = Math.floor(rest / 62)
  }
  return digits
}
