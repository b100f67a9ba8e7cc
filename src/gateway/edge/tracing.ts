import type { IncomingMessage } from 'node:http'
import { type Attributes, type Context, ROOT_CONTEXT, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http'
import { BatchSpanProcessor, TracerProvider, type TracerProviderOptions } from '@opentelemetry/sdk-trace'
import { VERSION } from '../../version.ts'
import { readTraceparent } from '../../wire/index.ts'
import type { Operation } from '../rest/operation.ts'

export interface TracingInit {
  /** Where spans go, OTLP over HTTP: `http://127.0.0.1:4318/v1/traces`. */
  readonly url: string
  /** Of the node. */
  readonly peerId: string
  readonly name: string
}

/** OpenTelemetry spans of requests; what is in them is no more than method, route and status. */
export interface Tracing {
  /** @returns what is called with the status of the answer */
  begin(operation: Pick<Operation, 'id' | 'method' | 'path'>, request: IncomingMessage): (status: number) => void
  /** Sends what is left, for as long as the collector takes it. */
  stop(): Promise<void>
}

/** A collector that is down must not hold up a node that stops. */
const EXPORT_TIMEOUT_MS = 2_000

/** Spans that wait to be sent, about 1 KiB each; later ones are dropped. */
const MAX_QUEUED_SPANS = 2_048

export function createTracing({ url, peerId, name }: TracingInit): Tracing {
  const exporter = new OTLPTraceExporter({ url, timeoutMillis: EXPORT_TIMEOUT_MS })
  const provider = new TracerProvider({
    resource: resourceOf({
      'service.name': 'pryx-mesh',
      'service.version': VERSION,
      'service.instance.id': peerId,
      'host.name': name
    }),
    spanProcessors: [
      new BatchSpanProcessor({ exporter, maxQueueSize: MAX_QUEUED_SPANS, exportTimeoutMillis: EXPORT_TIMEOUT_MS })
    ]
  })
  const tracer = provider.getTracer('pryx-mesh', VERSION)
  return {
    begin({ id, method, path }, { headers }) {
      const attributes = { 'http.request.method': method.toUpperCase(), 'http.route': path, 'pryx_mesh.operation': id }
      const options = { kind: SpanKind.SERVER, attributes }
      const span = tracer.startSpan(`${method.toUpperCase()} ${path}`, options, parentOf(headers['traceparent']))
      return (status) => {
        span.setAttribute('http.response.status_code', status)
        if (status >= 500) span.setStatus({ code: SpanStatusCode.ERROR })
        span.end()
      }
    },
    stop: () => provider.shutdown()
  }
}

type Resource = NonNullable<TracerProviderOptions['resource']>

/** What is the same for all spans. */
function resourceOf(attributes: Attributes): Resource {
  const resource: Resource = {
    attributes,
    getRawAttributes: () => Object.entries(attributes),
    merge: (other) => (other === null ? resource : resourceOf({ ...attributes, ...other.attributes }))
  }
  return resource
}

function parentOf(header: string | string[] | undefined): Context {
  const parent = readTraceparent(header)
  if (parent === undefined) return ROOT_CONTEXT
  const [, traceId = '', spanId = '', flags = ''] = parent.split('-')
  return trace.setSpanContext(ROOT_CONTEXT, {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16) & 1,
    isRemote: true
  })
}
