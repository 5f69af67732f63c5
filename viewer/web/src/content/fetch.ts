/** Published files, fetched with progress and checked against what the manifest says of them. */

import { PageError } from "../manifest";

export interface NamedBytes {
  file: string;
  bytes: number;
}

/** A server that sends nothing for so long has stopped answering, milliseconds. */
const PATIENCE = 45_000;
const TRIES = 2;

/** The bytes of a published file; `onBytes` hears how many have come. Rejects with a PageError when it is missing or has another size than was
 * published, and with the signal's reason when that was raised. Memory is taken as bytes come, whatever the manifest claims; Content-Length,
 * which counts packed bytes when the server compresses, is not asked. */
export async function fetchBytes(file: NamedBytes, onBytes: (bytes: number) => void, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await fetchOnce(file, onBytes, signal);
    } catch (error) {
      signal?.throwIfAborted();
      if (error instanceof PageError) throw error;
      if (attempt === TRIES) throw new PageError(`${file.file} cannot be fetched: the connection broke. Reload the page.`);
    }
  }
}

async function fetchOnce(file: NamedBytes, onBytes: (bytes: number) => void, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  const stop = new AbortController();
  const onAbort = () => stop.abort();
  signal?.throwIfAborted();
  signal?.addEventListener("abort", onAbort);
  let watch = setTimeout(onAbort, PATIENCE);
  try {
    const response = await fetch(`./${file.file}`, { signal: stop.signal });
    if (!response.ok || !response.body) throw new PageError(`${file.file} is missing on the server (${response.status}). Copy the whole published folder.`);
    const bytes = await readBody(response.body, file.bytes, (length) => {
      clearTimeout(watch);
      watch = setTimeout(onAbort, PATIENCE);
      onBytes(length);
    });
    if (bytes === null) throw sizeError(file, `more than ${file.bytes}`);
    if (bytes.length !== file.bytes) throw sizeError(file, String(bytes.length));
    return bytes;
  } finally {
    clearTimeout(watch);
    signal?.removeEventListener("abort", onAbort);
    stop.abort(); // frees the connection of a file that was refused half-way
  }
}

/** All of a body; null when it has more bytes than `most`. */
export async function readBody(body: ReadableStream<Uint8Array>, most: number, onBytes: (length: number) => void = () => {}): Promise<Uint8Array<ArrayBuffer> | null> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  const reader = body.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    length += value.length;
    if (length > most) {
      await reader.cancel();
      return null;
    }
    chunks.push(value);
    onBytes(length);
  }
  const bytes = new Uint8Array(length);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}

function sizeError(file: NamedBytes, found: string): PageError {
  return new PageError(`${file.file} has ${found} bytes instead of ${file.bytes}: it was cut off or replaced. Publish the scene again.`);
}
