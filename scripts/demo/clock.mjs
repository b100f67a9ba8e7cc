export const agent = {
  version: '1.0.0',
  capabilities: [
    {
      name: 'clock.ticks',
      effects: 'none',
      input: { type: 'object', properties: { count: { type: 'integer', maximum: 60 } }, required: ['count'] },
      output: { type: 'string' },
      async *handler({ count }, { signal }) {
        for (let n = 0; n < count && !signal.aborted; n++) {
          yield new Date().toISOString()
          await new Promise((resolve) => setTimeout(resolve, 1000))
        }
      }
    }
  ]
}
