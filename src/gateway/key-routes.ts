import type { App, Scope } from './http.ts'

export function routeKeys(_app: App, _scope: Scope): void {}
