/** How often a grant may be passed on. */
export const MAX_DEPTH = 4
/** Links of a chain: the owner's grant and each that was passed on. */
export const MAX_CHAIN = MAX_DEPTH + 1
