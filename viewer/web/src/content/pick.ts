/** What lies under a ray: the place where half of the light has met splats, computed from the Gaussians themselves, not from a picture.
 *
 * Along a ray o + t d a Gaussian of mean m and covariance C peaks at t* = (d' C^-1 (m - o)) / (d' C^-1 d), and its Mahalanobis
 * distance there is the one that its projection has in the picture. Splats are met in the order of t*; the median is the t* at
 * which the transmittance falls below one half. Lengths are in the frame of the means. */

import { SPZ_HEADER_BYTES, type SpzPlain } from "./spz";

/** Splats with an alpha below 1/255 are not drawn. */
const MIN_ALPHA = 1 / 255;
const MAX_ALPHA = 0.999;
/** Variance of the renderer's filter in square pixels. */
const FILTER = 0.3;

export interface Pickable {
  count: number;
  /** x, y, z of each splat. */
  mean: Float32Array;
  /** Radius beyond which a splat has no alpha that is drawn; negative: it has none anywhere. */
  reach: Float32Array;
  /** Alpha / 255, then three log scales in steps of 1/16 from -10. */
  alphaScale: Uint8Array;
  /** Quaternions x, y, z, w in 1/32767. */
  quat: Int16Array;
  min: [number, number, number];
  max: [number, number, number];
}

export interface PickRay {
  origin: readonly [number, number, number];
  /** Of length one. */
  direction: readonly [number, number, number];
  /** The angle of a pixel, radians: what the renderer's filter adds. */
  pixel: number;
  antialiased: boolean;
}

/** Decode what picking needs from an inflated SPZ file. */
export function pickable({ header, bytes }: SpzPlain): Pickable {
  const n = header.count;
  const set = roomFor(n);
  const unit = 1 / (1 << header.fractionalBits);
  const alphaAt = SPZ_HEADER_BYTES + 9 * n;
  const scaleAt = alphaAt + 4 * n;
  const quatAt = scaleAt + 3 * n;
  const q = [0, 0, 0, 1] as [number, number, number, number];
  for (let i = 0; i < n; i++) {
    const alpha = bytes[alphaAt + i]!;
    let widest = 0;
    set.alphaScale[4 * i] = alpha;
    for (let k = 0; k < 3; k++) {
      const scale = bytes[scaleAt + 3 * i + k]!;
      widest = Math.max(widest, scale);
      set.alphaScale[4 * i + 1 + k] = scale;
    }
    const reach = alpha > 1 ? Math.sqrt(2 * Math.log(alpha)) * Math.exp(widest / 16 - 10) : -1;
    set.reach[i] = reach;
    for (let k = 0; k < 3; k++) {
      const at = SPZ_HEADER_BYTES + 9 * i + 3 * k;
      const x = unit * (((bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16)) << 8) >> 8);
      set.mean[3 * i + k] = x;
      if (x - reach < set.min[k]!) set.min[k] = x - reach;
      if (x + reach > set.max[k]!) set.max[k] = x + reach;
    }
    if (header.version === 3) smallestThree(bytes, quatAt + 4 * i, q);
    else firstThree(bytes, quatAt + 3 * i, q);
    for (let k = 0; k < 4; k++) set.quat[4 * i + k] = Math.round(32767 * q[k]!);
  }
  return set;
}

/** Of so many splats, to be filled; the box holds nothing yet. */
function roomFor(n: number): Pickable {
  return {
    count: n,
    mean: new Float32Array(3 * n),
    reach: new Float32Array(n),
    alphaScale: new Uint8Array(4 * n),
    quat: new Int16Array(4 * n),
    min: [Infinity, Infinity, Infinity],
    max: [-Infinity, -Infinity, -Infinity],
  };
}

/** Some of the splats. */
export function takeRows(set: Pickable, rows: readonly number[]): Pickable {
  const taken = roomFor(rows.length);
  rows.forEach((row, i) => {
    taken.mean.set(set.mean.subarray(3 * row, 3 * row + 3), 3 * i);
    taken.alphaScale.set(set.alphaScale.subarray(4 * row, 4 * row + 4), 4 * i);
    taken.quat.set(set.quat.subarray(4 * row, 4 * row + 4), 4 * i);
    const reach = (taken.reach[i] = set.reach[row]!);
    for (let k = 0; k < 3; k++) {
      taken.min[k] = Math.min(taken.min[k]!, set.mean[3 * row + k]! - reach);
      taken.max[k] = Math.max(taken.max[k]!, set.mean[3 * row + k]! + reach);
    }
  });
  return taken;
}

/** SPZ 3: the place of the largest component in the top two bits, the others as sign and nine bits of |x| * sqrt(2). */
function smallestThree(bytes: Uint8Array, at: number, q: number[]): void {
  let packed = (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
  const largest = packed >>> 30;
  let rest = 1;
  for (let k = 3; k >= 0; k--) {
    if (k === largest) continue;
    const size = (Math.SQRT1_2 * (packed & 511)) / 511;
    q[k] = packed & 512 ? -size : size;
    rest -= size * size;
    packed >>>= 10;
  }
  q[largest] = Math.sqrt(Math.max(0, rest));
}

/** SPZ 2: x, y, z as bytes, w from the length. */
function firstThree(bytes: Uint8Array, at: number, q: number[]): void {
  let rest = 1;
  for (let k = 0; k < 3; k++) {
    q[k] = bytes[at + k]! / 127.5 - 1;
    rest -= q[k]! * q[k]!;
  }
  q[3] = Math.sqrt(Math.max(0, rest));
}

/** The distance along the ray at which half of the light is gone; null when more than half goes on for ever. */
export function medianDistance(sets: Iterable<Pickable>, ray: PickRay): number | null {
  const hits: { t: number; alpha: number }[] = [];
  for (const set of sets) if (crosses(set, ray)) collect(set, ray, hits);
  hits.sort((a, b) => a.t - b.t);
  let light = 1;
  for (const { t, alpha } of hits) {
    light *= 1 - alpha;
    if (light < 0.5) return t;
  }
  return null;
}

/** Whether the ray meets the box of a set, made wider by the renderer's filter at the box's far side. */
function crosses(set: Pickable, { origin, direction, pixel }: PickRay): boolean {
  let far = 0;
  for (let k = 0; k < 3; k++) far += Math.max(Math.abs(set.min[k]! - origin[k]!), Math.abs(set.max[k]! - origin[k]!));
  const wider = filterReach(pixel) * far;
  let [enter, leave] = [0, Infinity];
  for (let k = 0; k < 3; k++) {
    const [low, high] = [set.min[k]! - wider - origin[k]!, set.max[k]! + wider - origin[k]!];
    if (direction[k] === 0) {
      if (low > 0 || high < 0) return false;
      continue;
    }
    const [a, b] = [low / direction[k]!, high / direction[k]!];
    enter = Math.max(enter, Math.min(a, b));
    leave = Math.min(leave, Math.max(a, b));
  }
  return enter <= leave;
}

/** How far the filter carries a splat of alpha 1, per unit of distance. */
function filterReach(pixel: number): number {
  return Math.sqrt(2 * Math.log(255) * FILTER) * pixel;
}

function collect(set: Pickable, ray: PickRay, hits: { t: number; alpha: number }[]): void {
  const [ox, oy, oz] = ray.origin;
  const [dx, dy, dz] = ray.direction;
  const widening = filterReach(ray.pixel);
  const { mean, reach } = set;
  for (let i = 0, j = 0; i < set.count; i++, j += 3) {
    const x = mean[j]! - ox;
    const y = mean[j + 1]! - oy;
    const z = mean[j + 2]! - oz;
    const t = x * dx + y * dy + z * dz;
    const r = reach[i]!;
    if (r < 0 || t < -r) continue;
    const wide = r + widening * Math.abs(t);
    if (x * x + y * y + z * z - t * t > wide * wide) continue;
    const hit = meet(set, i, x, y, z, t, ray);
    if (hit) hits.push(hit);
  }
}

/** Where the response of splat i peaks along the ray, and its alpha there; its mean stands at (x, y, z) from the ray's origin. */
function meet(set: Pickable, i: number, x: number, y: number, z: number, along: number, ray: PickRay): { t: number; alpha: number } | null {
  const [qx, qy, qz, qw] = [0, 1, 2, 3].map((k) => set.quat[4 * i + k]! / 32767) as [number, number, number, number];
  const rotation = [
    [1 - 2 * (qy * qy + qz * qz), 2 * (qx * qy + qw * qz), 2 * (qx * qz - qw * qy)],
    [2 * (qx * qy - qw * qz), 1 - 2 * (qx * qx + qz * qz), 2 * (qy * qz + qw * qx)],
    [2 * (qx * qz + qw * qy), 2 * (qy * qz - qw * qx), 1 - 2 * (qx * qx + qy * qy)],
  ] as const; // rows are the splat's own axes
  const [dx, dy, dz] = ray.direction;
  const filter = FILTER * (ray.pixel * along) ** 2;
  let [dd, dm, mm, sharp, volume, sharpVolume] = [0, 0, 0, 0, 1, 1];
  for (let k = 0; k < 3; k++) {
    const axis = rotation[k]!;
    const d = axis[0] * dx + axis[1] * dy + axis[2] * dz;
    const m = axis[0] * x + axis[1] * y + axis[2] * z;
    const plain = Math.exp(set.alphaScale[4 * i + 1 + k]! / 8 - 20);
    const variance = plain + filter;
    dd += (d * d) / variance;
    dm += (d * m) / variance;
    mm += (m * m) / variance;
    sharp += (d * d) / plain;
    volume *= variance;
    sharpVolume *= plain;
  }
  // the area of a splat in the picture is sqrt(|C| d' C^-1 d): with the antialiasing filter, alpha falls as the filter widens it
  const thinner = ray.antialiased ? Math.sqrt((sharpVolume * sharp) / (volume * dd)) : 1;
  const t = dm / dd;
  const alpha = Math.min(MAX_ALPHA, (set.alphaScale[4 * i]! / 255) * thinner * Math.exp(-0.5 * Math.max(0, mm - dm * t)));
  return alpha < MIN_ALPHA || t <= 0 ? null : { t, alpha };
}
