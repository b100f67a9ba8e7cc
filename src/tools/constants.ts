/** Remote capabilities pinned; a pin takes about 2 KiB on disk, a suspended one its diff in memory too. */
export const MAX_PINS = 10_000

/** Lines of a diff: as many as a person reads through; the last one says how many more there are. */
export const MAX_DIFF_LINES = 200

/** Characters of a value in a line of a diff; of a longer one, the part from where it differs. */
export const MAX_DIFF_VALUE_LENGTH = 400

/** Short names whose meaning is remembered; the longest known give way. */
export const MAX_SHORT_NAMES = 4096
