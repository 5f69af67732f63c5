/** SPZ (Niantic, versions 2 and 3): a gzip of a 16-byte header and one block a property. A file is inflated under a limit before anything else
 * sees it, so that a damaged or malicious one costs no more memory than the manifest announced; what picking needs is kept. */

import { PageError } from "../manifest";

export interface SpzHeader {
  version: 2 | 3;
  count: number;
  shDegree: number;
  fractionalBits: number;
  antialiased: boolean;
}

export const SPZ_HEADER_BYTES = 16;
const MAGIC = 0x5053474e;
const SH_BYTES = [0, 9, 24, 45];

export function readSpzHeader(bytes: Uint8Array): SpzHeader {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < SPZ_HEADER_BYTES || view.getUint32(0, true) !== MAGIC) throw new Error("it is no SPZ file");
  const version = view.getUint32(4, true);
  if (version !== 2 && version !== 3) throw new Error(`it has SPZ version ${version}, this page reads versions 2 and 3`);
  const [shDegree, fractionalBits, flags] = [view.getUint8(12), view.getUint8(13), view.getUint8(14)];
  if (shDegree >= SH_BYTES.length) throw new Error(`its colours have degree ${shDegree}`);
  if (fractionalBits > 23) throw new Error(`its places have ${fractionalBits} fractional bits`);
  return { version, count: view.getUint32(8, true), shDegree, fractionalBits, antialiased: (flags & 1) === 1 };
}

/** Bytes of place, alpha, colour, scale and rotation. */
function plainBytes(version: 2 | 3): number {
  return 9 + 1 + 3 + 3 + (version === 3 ? 4 : 3);
}

/** The inflated size of a whole file. */
export function spzBytes(header: SpzHeader): number {
  return SPZ_HEADER_BYTES + header.count * (plainBytes(header.version) + SH_BYTES[header.shDegree]!);
}

export interface SpzPlain {
  header: SpzHeader;
  /** The inflated file up to the end of the rotations. */
  bytes: Uint8Array;
}

/** Inflate a file that is said to hold `count` splats. Rejects with a PageError when it is damaged, cut off, or holds another number. */
export async function inflateSpz(file: string, packed: Uint8Array<ArrayBuffer>, count: number): Promise<SpzPlain> {
  try {
    return await inflate(packed, count);
  } catch (error) {
    throw new PageError(`${file} is damaged: ${error instanceof Error ? error.message : String(error)}. Publish the scene again.`);
  }
}

async function inflate(packed: Uint8Array<ArrayBuffer>, count: number): Promise<SpzPlain> {
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  const start = new Uint8Array(SPZ_HEADER_BYTES);
  let header: SpzHeader | null = null;
  let kept: Uint8Array = start;
  let [length, expected] = [0, SPZ_HEADER_BYTES];
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      let chunk: Uint8Array = value;
      if (!header) {
        const head = chunk.subarray(0, SPZ_HEADER_BYTES - length);
        start.set(head, length);
        length += head.length;
        if (length < SPZ_HEADER_BYTES) continue;
        chunk = chunk.subarray(head.length);
        header = readSpzHeader(start);
        if (header.count !== count) throw new Error(`it holds ${header.count} splats instead of ${count}`);
        expected = spzBytes(header);
        kept = new Uint8Array(SPZ_HEADER_BYTES + count * plainBytes(header.version));
        kept.set(start);
      }
      if (length < kept.length) kept.set(chunk.subarray(0, kept.length - length), length);
      length += chunk.length;
      if (length > expected) throw new Error("it is longer than its splats");
    }
  } catch (error) {
    reader.cancel().catch(() => undefined); // the stream has failed already when the gzip is damaged
    throw error instanceof TypeError ? new Error("its compression is broken or cut off") : error;
  }
  if (!header || length !== expected) throw new Error("it is cut off");
  return { header, bytes: kept };
}
