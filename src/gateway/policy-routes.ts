import type { App, Scope } from './http.ts'

export function routePolicy(_app: App, _scope: Scope): void {}
