import { describe, expect, it } from 'vitest'
import { BUSY_MS, CATALOGUE_NODES, CATALOGUE_TABLE_PEERS, QUIET_MS } from '../../src/discovery/constants.ts'
import { createSwitches } from '../../src/discovery/switches.ts'

function switches(catalogueNodes = CATALOGUE_NODES) {
  const world = { nodes: undefined as number | undefined, table: 10, ms: 0 }
  const changes: string[] = []
  const created = createSwitches({
    catalogueNodes,
    nodes: () => world.nodes,
    tableSize: () => world.table,
    now: () => world.ms,
    onCatalogue: (to) => changes.push(to)
  })
  const hear = (perSecond: number, ms: number) => {
    for (let at = 0; at < ms; at += 30_000) {
      for (let i = 0; i < perSecond * 30; i++) created.heard()
      world.ms += 30_000
      created.upkeep()
    }
  }
  return { world, changes, created, hear }
}

describe('the catalogue', () => {
  it('is on below 1,500 nodes, off above 2,000, and stays as it is in between', () => {
    const { world, created, changes } = switches()
    const at = (nodes: number) => {
      world.nodes = nodes
      return created.catalogue
    }
    expect([1400, 1999, 2001, 1999, 1501, 1500, 1999].map(at)).toEqual(['on', 'on', 'off', 'off', 'off', 'on', 'on'])
    expect(changes).toEqual(['off', 'on'])
  })

  it('follows the routing table until a walk has told how many nodes there are', () => {
    const { world, created } = switches()
    world.table = CATALOGUE_TABLE_PEERS + 1
    expect(created.catalogue).toBe('off')
    world.nodes = 300
    expect(created.catalogue).toBe('on')
  })

  it('is left when it has been too busy for five minutes, and looked at again after an hour', () => {
    const { world, created, hear } = switches()
    world.nodes = 100
    hear(4, BUSY_MS - 30_000)
    expect(created.catalogue).toBe('on')
    hear(4, 30_000)
    expect(created.catalogue).toBe('off')
    world.ms += QUIET_MS - 1
    expect(created.catalogue).toBe('off')
    world.ms += 1
    expect(created.catalogue).toBe('on')
  })

  it('bears a busy moment', () => {
    const { world, created, hear } = switches()
    world.nodes = 100
    hear(10, BUSY_MS - 30_000)
    hear(1, 30_000)
    hear(10, BUSY_MS - 30_000)
    expect(created.catalogue).toBe('on')
  })

  it('is never on for an owner who wants none', () => {
    const { world, created } = switches(0)
    expect(created.catalogue).toBe('off')
    world.nodes = 1
    expect(created.catalogue).toBe('off')
  })
})
