import type { App, Scope } from './http.ts'

export function routeTrust(_app: App, _scope: Scope): void {}
