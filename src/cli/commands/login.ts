import { Option } from 'commander'
import { MeshError } from '../../errors.ts'
import type { Login, LoginFlow, LoginStep } from '../../oauth/index.ts'
import { note, paint, plain, print, printFields, progress, json as toJson } from '../output.ts'
import { readSecret } from '../secret.ts'
import { repeated, type Verb } from '../verb.ts'

export const login: Verb = {
  usage: 'login <issuer>',
  summary: 'log in at an OAuth issuer, and present its tokens to peers',
  examples: [
    'login https://login.example.org --client-id desktop --scope tools.call --for carol',
    'login https://login.example.org --client-id agent --client-secret-file agent.secret --for carol --for dave',
    'pass agent | pryx-mesh login https://login.example.org --client-id agent --client-secret-file - --for carol'
  ],
  options: (command) =>
    command
      .requiredOption('--client-id <id>', "this node's name at the issuer")
      .option('--client-secret-file <file>', 'of a confidential client; - is stdin')
      .addOption(
        new Option('--flow <flow>', 'default: client-credentials with a secret, else device').choices([
          'client-credentials',
          'code',
          'device'
        ] satisfies readonly LoginFlow[])
      )
      .option('--scope <scope>', 'what to ask for; repeat for more', repeated)
      .requiredOption('--for <peer>', 'PeerId or alias that is presented the tokens; repeat for more', repeated)
      .option('--resource <uri>', "what tokens are for, if not the peer's did:key; repeat for more", repeated),
  async run({ client, json }, options, [issuer]) {
    const { clientId, clientSecretFile: file, scope: scopes, for: peers, resource: resources } = options
    const flow = options['flow'] ?? (file === undefined ? 'device' : 'client-credentials')
    const needsSecret = file !== undefined || flow === 'client-credentials'
    // Commander gives what the options above say: a text
    const clientSecret = needsSecret ? await readSecret(file as string | undefined, 'client secret') : undefined
    const body = { issuer, clientId, clientSecret, flow, scopes, peers, resources }
    const ended = await follow(client.items<LoginStep, unknown>('POST', '/v1/logins', body), json)
    if (!json) printLogin(ended)
  }
}

async function follow(steps: AsyncIterable<LoginStep>, json: boolean): Promise<Login> {
  let done = () => {}
  try {
    for await (const step of steps) {
      if (json) print(toJson(step))
      if (step.step === 'done') return step.login
      if (json) continue
      showVisit(step)
      done = progress(() => 'waiting for your answer at the issuer')
    }
  } finally {
    done()
  }
  throw new MeshError('CONNECTION_LOST', 'the login did not end')
}

/** Beside the result, so that a script still gets that alone. */
function showVisit({ url, userCode, fingerprint, expiresAt }: Extract<LoginStep, { step: 'visit' }>): void {
  note(`Open this page and say yes there, before ${plain(expiresAt)}:\n`)
  note(`  ${paint('bold', plain(url), process.stderr)}\n`)
  if (userCode !== undefined) note(`  code                      ${paint('bold', plain(userCode), process.stderr)}`)
  note(`  fingerprint of this node  ${paint('bold', plain(fingerprint), process.stderr)}\n`)
  note('Only say yes to a code and a fingerprint that are shown here; somebody else’s would let their node in.')
}

function printLogin({ id, issuer, clientId, flow, scopes, peers, state, expiresAt, reason }: Login): void {
  printFields([
    ['login', id],
    ['issuer', issuer],
    ['client', clientId],
    ['flow', flow],
    ['scopes', scopes.join(' ') || '-'],
    ['for', peers],
    ['state', reason === undefined ? state : `${state}: ${reason}`],
    ['token until', expiresAt ?? '-']
  ])
}
