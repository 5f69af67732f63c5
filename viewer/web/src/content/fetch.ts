/** Published files, fetched with progress and checked against what the manifest says of them. */

import { PageError } from "../manifest";

export interface NamedBytes {
  file: string;
  bytes: number;
}

/** The bytes of a published file. Rejects with a PageError when it is missing or has another size than was published. */
export async function fetchBytes(file: NamedBytes, onProgress: (done: number) => void, signal?: AbortSignal): Promise<Uint8Array<ArrayBuffer>> {
  let response: Response;
  try {
    response = await fetch(`./${file.file}`, signal ? { signal } : {});
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new PageError(`${file.file} cannot be fetched: the connection broke. Reload the page.`);
  }
  if (!response.ok || !response.body) throw new PageError(`${file.file} is missing on the server (${response.status}). Copy the whole published folder.`);
  const bytes = new Uint8Array(file.bytes);
  let length = 0;
  for (const reader = response.body.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) break;
    if (length + value.length > bytes.length) throw sizeError(file, `more than ${bytes.length}`);
    bytes.set(value, length);
    length += value.length;
    onProgress(length / bytes.length);
  }
  if (length !== bytes.length) throw sizeError(file, String(length));
  return bytes;
}

function sizeError(file: NamedBytes, found: string): PageError {
  return new PageError(`${file.file} has ${found} bytes instead of ${file.bytes}: it was cut off or replaced. Publish the scene again.`);
}
