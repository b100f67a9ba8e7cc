import type { App, Scope } from './http.ts'

export function routeLogins(_app: App, _scope: Scope): void {}
