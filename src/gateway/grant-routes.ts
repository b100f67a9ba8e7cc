import type { App, Scope } from './http.ts'

export function routeGrants(_app: App, _scope: Scope): void {}
