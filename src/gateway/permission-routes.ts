import type { App, Scope } from './http.ts'

export function routePermissions(_app: App, _scope: Scope): void {}
