import type { App, Scope } from './http.ts'

export function routePins(_app: App, _scope: Scope): void {}
