import { z } from 'zod'
import { DEFAULT_CALL_TIMEOUT_MS, MAX_TIMEOUT_MS } from './constants.ts'
import { type App, body, type Scope } from './http.ts'
import { parse } from './messages.ts'

const checkBody = z.strictObject({
  target: z.string(),
  capability: z.string(),
  kind: z.enum(['tool', 'skill', 'model']).optional(),
  version: z.string().optional(),
  timeoutMs: z.int().min(1).max(MAX_TIMEOUT_MS).optional()
})

/**
 * | route | body | answer |
 * |---|---|---|
 * | `POST /v1/check` | `{target, capability, kind?, version?, timeoutMs?}` | `Compatibility`: whether it can be called, and all that is missing |
 */
export function routeCheck(app: App, { node, signalOf }: Scope): void {
  app.post('/v1/check', async (context) => {
    const { target, capability, timeoutMs = DEFAULT_CALL_TIMEOUT_MS, ...rest } = parse(checkBody, await body(context))
    const signal = AbortSignal.any([signalOf(context), AbortSignal.timeout(timeoutMs)])
    return context.json(await node.check(target, capability, { ...rest, timeoutMs, signal }))
  })
}
