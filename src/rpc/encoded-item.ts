import { MeshError } from '../errors.ts'

/** An item of a streamed answer as the JSON that it is sent as: whoever keeps items keeps this, which nobody changes later. */
export class EncodedItem {
  readonly json: string

  constructor(json: string) {
    this.json = json
  }
}

/** @throws {MeshError} INVALID_OUTPUT for what JSON can't say */
export function encodeItem(value: unknown): EncodedItem {
  return new EncodedItem(toJson(value) ?? 'null')
}

/** JSON text, or undefined for undefined. @throws {MeshError} INVALID_OUTPUT for what JSON can't say */
export function toJson(value: unknown): string | undefined {
  try {
    return JSON.stringify(value)
  } catch (err) {
    throw new MeshError('INVALID_OUTPUT', 'the result has no JSON form: it has a cycle or a BigInt in it', {
      cause: err
    })
  }
}
