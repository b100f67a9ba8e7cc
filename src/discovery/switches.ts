import { BUSY_MS, BUSY_PER_SECOND, CATALOGUE_SLACK, CATALOGUE_TABLE_PEERS, QUIET_MS } from './constants.ts'

/** What is switched on and off by how large the mesh is. */
export interface Switches {
  /** Whether everybody's hints are gossiped on one topic, which then tells of all that there is. */
  readonly catalogue: 'on' | 'off'
  /** Counts a message on the catalogue. */
  heard(): void
  /** Looks at what has been heard since it last did. */
  upkeep(): void
}

export interface SwitchesComponents {
  /** How many nodes there are; undefined as long as nobody knows. */
  readonly nodes: () => number | undefined
  /** Peers in the routing table, by which it is judged until then. */
  readonly tableSize: () => number
  readonly now: () => number
  /** Nodes up to which it is switched on; 0 for never. */
  readonly catalogueNodes: number
  /** Called after a change, with what it is now. */
  readonly onCatalogue: (now: 'on' | 'off') => void
}

export function createSwitches(components: SwitchesComponents): Switches {
  const { catalogueNodes, nodes, tableSize, now, onCatalogue } = components
  let catalogue: 'on' | 'off' = 'on'
  let messages = 0
  let lookedAt = now()
  let busySince: number | undefined
  let quietUntil = -Infinity

  function set(to: 'on' | 'off'): void {
    if (catalogue === to) return
    catalogue = to
    busySince = undefined
    onCatalogue(to)
  }

  /** Between the two bounds it stays as it is, so that an estimate that wavers changes nothing. */
  function bySize(): void {
    const size = nodes()
    const isMany = size === undefined ? tableSize() > CATALOGUE_TABLE_PEERS : size > catalogueNodes * CATALOGUE_SLACK
    const isLarge = isMany || catalogueNodes === 0
    const isSmall = size === undefined ? !isLarge : size <= catalogueNodes
    if (isLarge) set('off')
    else if (isSmall && now() >= quietUntil) set('on')
  }

  return {
    get catalogue() {
      bySize()
      return catalogue
    },
    heard: () => void messages++,
    upkeep() {
      const seconds = (now() - lookedAt) / 1000
      if (seconds <= 0) return
      const isBusy = messages / seconds > BUSY_PER_SECOND
      busySince = isBusy ? (busySince ?? lookedAt) : undefined
      messages = 0
      lookedAt = now()
      if (busySince !== undefined && lookedAt - busySince >= BUSY_MS) {
        // Who isn't in the topic doesn't hear that it is quiet again.
        quietUntil = lookedAt + QUIET_MS
        set('off')
      }
      bySize()
    }
  }
}
