/** A PKCS#8 Ed25519 key in PEM has 119 bytes; what is larger than this is something else. */
export const MAX_KEY_FILE_BYTES = 4096
