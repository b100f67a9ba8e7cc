import type { Migrations } from '../store/index.ts'

export const policyMigrations: Migrations = { room: 'policy', steps: [] }
