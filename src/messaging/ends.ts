import { MeshError } from '../errors.ts'
import type { MessageStory } from './index.ts'
import { isEnd } from './rows.ts'

/** The story once a request has its outcome. @throws {MeshError} INVALID_ARGUMENT when none is to come */
export function answered(story: MessageStory): MessageStory | undefined {
  if (story.kind !== 'request')
    throw new MeshError('INVALID_ARGUMENT', 'it is no request, so nothing is going to be replied')
  return story.reply === undefined ? undefined : story
}

/** The story once the message is processed. @throws {MeshError} what it failed with */
export function processed(story: MessageStory): MessageStory | undefined {
  const { state, code, reason } = story
  if (state === 'processed') return story
  if (!isEnd(state)) return undefined
  const known = MeshError.fromBody({ code: code ?? (state === 'expired' ? 'TIMEOUT' : 'CANCELLED'), message: '' })
  throw new MeshError(known.code, `the message was ${state === 'failed' ? 'not processed' : state}: ${reason ?? state}`)
}
