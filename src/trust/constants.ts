/** Changes of level kept for `trust why`. */
export const MAX_CHANGES_PER_PEER = 20
