/** An agent of the `module` driver. */
export const agent = { capabilities: [{ name: 'now', handler: () => new Date().toISOString() }] }
