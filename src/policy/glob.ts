/**
 * Compiles a glob: `*` stands for any run of characters, the empty one too; nothing else is special.
 *
 * Each part between stars is looked for once, leftmost first, so there is no backtracking: hostile patterns cost no more
 * than others.
 *
 * @returns tells whether the whole text matches; case matters
 */
export function compileGlob(pattern: string): (text: string) => boolean {
  const [head = '', ...rest] = pattern.split('*')
  const tail = rest.pop()
  if (tail === undefined) return (text) => text === pattern
  const middle = rest.filter((part) => part !== '')
  if (head === '' && tail === '' && middle.length === 0) return () => true
  const minLength = head.length + tail.length

  return (text) => {
    if (text.length < minLength || !text.startsWith(head) || !text.endsWith(tail)) return false
    let from = head.length
    for (const part of middle) {
      const at = text.indexOf(part, from)
      if (at === -1) return false
      from = at + part.length
    }
    return from <= text.length - tail.length
  }
}
