export interface LinesInit {
  /** Longest line that is kept, bytes. */
  readonly maxBytes: number
  readonly onLine: (line: string) => void
  /** A longer line has gone by: its first and its last EDGE_BYTES. */
  readonly onOverlong: (head: string, tail: string) => void
}

/** Cuts a byte stream into lines and holds at most one of them. */
export class Lines {
  readonly #init: LinesInit
  #parts: Buffer[] = []
  #bytes = 0
  #head = ''
  #tail = Buffer.alloc(0)

  constructor(init: LinesInit) {
    this.#init = init
  }

  push(chunk: Buffer): void {
    let start = 0
    for (let end = chunk.indexOf(NEWLINE); end !== -1; end = chunk.indexOf(NEWLINE, start)) {
      this.#append(chunk.subarray(start, end))
      this.#finish()
      start = end + 1
    }
    if (start < chunk.length) this.#append(chunk.subarray(start))
  }

  #append(part: Buffer): void {
    this.#bytes += part.length
    if (this.#bytes <= this.#init.maxBytes) {
      this.#parts.push(part)
      return
    }
    if (this.#parts.length > 0) {
      const kept = Buffer.concat(this.#parts)
      this.#parts = []
      this.#head = kept.subarray(0, EDGE_BYTES).toString()
      this.#tail = Buffer.from(kept.subarray(-EDGE_BYTES))
    }
    if (this.#head === '') this.#head = part.subarray(0, EDGE_BYTES).toString()
    this.#tail = Buffer.concat([this.#tail, part.subarray(-EDGE_BYTES)]).subarray(-EDGE_BYTES)
  }

  #finish(): void {
    const { onLine, onOverlong, maxBytes } = this.#init
    const [parts, bytes, head, tail] = [this.#parts, this.#bytes, this.#head, this.#tail]
    this.#parts = []
    this.#bytes = 0
    this.#head = ''
    this.#tail = Buffer.alloc(0)
    if (bytes > maxBytes) onOverlong(head, tail.toString())
    else if (bytes > 0) onLine(Buffer.concat(parts).toString())
  }
}

const NEWLINE = 0x0a

// Enough for the id of a JSON-RPC response, which stands at one end or the other.
const EDGE_BYTES = 256
