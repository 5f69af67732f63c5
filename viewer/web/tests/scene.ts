/** Files with known truth for the tests: manifests and SPZ files. */

export const IDENTITY = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];

/** A manifest that the page accepts; a fresh copy each time, to be spoilt. */
export function manifestObject(): any {
  return {
    recon_manifest: 1,
    generator: "recon 0",
    title: "A place",
    target: "web",
    world: { scale: "metric", up: "gravity" },
    bounds: { min: [-1, -1, 0], max: [1, 1, 2] },
    floor: 0,
    start: { cam_from_world: [...IDENTITY], vfov_deg: 50, target: [0, 0, 1] },
    splats: {
      count: 3,
      sh_degree: 0,
      format: "spz",
      antialiased: false,
      budget: 100,
      coarse: { file: "splats/coarse.spz", count: 1, bytes: 50, sha256: "" },
      tiles: [
        { file: "splats/0000.spz", count: 2, bytes: 60, sha256: "", min: [-1, -1, 0], max: [0, 1, 2] },
        { file: "splats/0001.spz", count: 1, bytes: 50, sha256: "", min: [0, -1, 0], max: [1, 1, 2] },
      ],
    },
    mesh: null,
    cameras: [{ name: "a.jpg", cam_from_world: [...IDENTITY], K: [500, 500, 320, 240], size: [640, 480], split: "train", photo: null }],
    moving: null,
    measured: null,
  };
}

export interface Splat {
  mean: [number, number, number];
  /** Standard deviations; stored in steps of a sixteenth of their logarithm. */
  scale: [number, number, number];
  /** x, y, z, w; unit. */
  quat?: [number, number, number, number];
  alpha: number;
}

const FRACTION = 1 << 12;

/** SPZ version 3 without colours that depend on direction, not yet compressed. */
export function spzPlain(splats: Splat[], count = splats.length): Uint8Array<ArrayBuffer> {
  const n = splats.length;
  const bytes = new Uint8Array(16 + 20 * n);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 0x5053474e, true);
  view.setUint32(4, 3, true);
  view.setUint32(8, count, true);
  view.setUint8(13, 12);
  splats.forEach((splat, i) => {
    for (let k = 0; k < 3; k++) {
      const fixed = Math.round(splat.mean[k]! * FRACTION);
      for (let b = 0; b < 3; b++) bytes[16 + 9 * i + 3 * k + b] = (fixed >> (8 * b)) & 255;
      bytes[16 + 13 * n + 3 * i + k] = Math.round(16 * (Math.log(splat.scale[k]!) + 10));
    }
    bytes[16 + 9 * n + i] = Math.round(255 * splat.alpha);
    view.setUint32(16 + 16 * n + 4 * i, smallestThree(splat.quat ?? [0, 0, 0, 1]), true);
  });
  return bytes;
}

function smallestThree(quat: number[]): number {
  const largest = quat.reduce((best, v, k) => (Math.abs(v) > Math.abs(quat[best]!) ? k : best), 0);
  const sign = quat[largest]! < 0 ? -1 : 1;
  let packed = largest;
  quat.forEach((value, k) => {
    if (k === largest) return;
    const v = sign * value;
    packed = packed * 1024 + (v < 0 ? 512 : 0) + Math.round((511 * Math.abs(v)) / Math.SQRT1_2);
  });
  return packed;
}

export async function gzip(bytes: Uint8Array<ArrayBuffer>): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer());
}
