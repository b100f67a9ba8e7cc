/** Remote capabilities pinned; a pin takes about 2 KiB. */
export const MAX_PINS = 10_000
