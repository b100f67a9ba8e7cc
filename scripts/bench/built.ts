/** The product as it ships: what `npm run build` made of src. */
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const DIST = new URL('../../dist/', import.meta.url)

/** @param file path inside dist, e.g. `index.js`; the caller says which src module's type it has */
export async function built<T>(file: string): Promise<T> {
  return (await import(builtUrl(file).href)) as T
}

/** @throws when it hasn't been built */
export function builtPath(file: string): string {
  return fileURLToPath(builtUrl(file))
}

function builtUrl(file: string): URL {
  const url = new URL(file, DIST)
  if (!existsSync(url)) throw new Error(`${fileURLToPath(url)} is missing: run npm run build`)
  return url
}
