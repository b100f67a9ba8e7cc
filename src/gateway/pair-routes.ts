import type { App, Scope } from './http.ts'

export function routePairing(_app: App, _scope: Scope): void {}
