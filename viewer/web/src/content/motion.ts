/** Segments of a .gs4d file: whole numbers at keyframes, and the curve between them. docs/moving-format.md describes the bytes. */

export const CHANNELS = { mean: 3, quat: 4, log_scale: 3, opacity: 1 } as const;
export type Channel = keyof typeof CHANNELS;

/** Splats of a segment that have equally many keyframes. */
export interface Group {
  /** Among those that move, rising. */
  rows: Uint32Array;
  /** K: there are K + 1 keyframes. */
  keys: number;
  /** Channel -> whole numbers [key, component, splat]. */
  n: Partial<Record<Channel, Int32Array>>;
}

const HIGHEST_ORDER = 3;
const LARGEST = 2 ** 27;
/** Deflate cannot expand a byte to more than 1032. */
const LARGEST_RATIO = 1100;

/** Decode a segment of `moving` splats. Throws an Error that says what is wrong with it. */
export async function unpackSegment(bytes: Uint8Array<ArrayBuffer>, moving: number, frames: number, channels: readonly Channel[]): Promise<Group[]> {
  if (bytes.length < 4) throw new Error("it is cut off");
  const promised = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);
  const width = channels.reduce((sum, name) => sum + CHANNELS[name], 0);
  const most = moving * (1 + 4 * (frames + 1) * width) + 2 * channels.length * 256;
  if (promised > Math.min(most, LARGEST_RATIO * bytes.length)) throw new Error("it promises more than it can hold");
  const plain = await inflate(bytes.subarray(4), promised);
  if (plain.length < moving) throw new Error("it is cut off");
  const byKeys = new Map<number, number[]>();
  for (let i = 0; i < moving; i++) {
    const rows = byKeys.get(plain[i]!);
    if (rows) rows.push(i);
    else byKeys.set(plain[i]!, [i]);
  }
  const groups: Group[] = [];
  let at = moving;
  for (const keys of [...byKeys.keys()].sort((a, b) => a - b)) {
    if (keys > 0 && frames % keys !== 0) throw new Error("its keyframes do not divide its frames");
    const group: Group = { rows: Uint32Array.from(byKeys.get(keys)!), keys, n: {} };
    for (const name of channels) {
      const size = CHANNELS[name] * group.rows.length;
      const [order, bytesEach] = [plain[at] ?? 0, plain[at + 1] ?? 0];
      if (order < 1 || order > HIGHEST_ORDER || bytesEach < 1 || bytesEach > 4) throw new Error("its numbers are written in an unknown way");
      const end = at + 2 + bytesEach * (keys + 1) * size;
      if (end > plain.length) throw new Error("it is cut off");
      group.n[name] = numbers(plain.subarray(at + 2, end), keys + 1, size, order, bytesEach);
      at = end;
    }
    groups.push(group);
  }
  if (at !== plain.length) throw new Error("it is longer than its numbers");
  return groups;
}

/** A zlib stream that holds exactly `size` bytes. */
export async function inflate(packed: Uint8Array<ArrayBuffer>, size: number): Promise<Uint8Array> {
  const plain = new Uint8Array(size);
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  let length = 0;
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      if (length + value.length > size) throw new Error("it holds more than was promised");
      plain.set(value, length);
      length += value.length;
    }
  } catch (error) {
    reader.cancel().catch(() => undefined); // the stream has failed already when it is damaged
    throw error instanceof TypeError ? new Error("its compression is broken or cut off") : error;
  }
  if (length !== size) throw new Error("it is cut off");
  return plain;
}

/** Planes of bytes, lowest first, to numbers [key, component and splat]. */
function numbers(planes: Uint8Array, keys: number, size: number, order: number, bytesEach: number): Int32Array {
  const count = keys * size;
  const n = new Int32Array(count);
  for (let i = 0; i < count; i++) {
    let zigzag = 0;
    for (let b = bytesEach - 1; b >= 0; b--) zigzag = zigzag * 256 + planes[b * count + i]!;
    const residual = zigzag % 2 === 0 ? zigzag / 2 : -(zigzag + 1) / 2;
    const used = Math.min(order, Math.floor(i / size));
    const [one, two, three] = [n[i - size] ?? 0, n[i - 2 * size] ?? 0, n[i - 3 * size] ?? 0];
    const predicted = used === 0 ? 0 : used === 1 ? one : used === 2 ? 2 * one - two : 3 * one - 3 * two + three;
    n[i] = Math.min(LARGEST, Math.max(-LARGEST, residual + predicted));
  }
  return n;
}

type Weight = [number, number];
const NONE: Weight = [0, 0];

/** What each of K + 1 keyframes adds at a share 0..1 of the segment: [keyframe, weight] of those that add anything, four at most. Cubic Hermite; slopes are
 * central differences, at the ends those of the parabola through three keyframes, with two keyframes a line. */
export function weightsAt(keys: number, share: number): Weight[] {
  if (keys === 0) return [[0, 1]];
  const at = Math.min(1, Math.max(0, share)) * keys;
  const j = Math.min(Math.floor(at), keys - 1);
  const u = at - j;
  const weights = new Map<number, number>();
  const add = (key: number, weight: number) => weights.set(key, (weights.get(key) ?? 0) + weight);
  const slope = (key: number, weight: number) => {
    if (keys === 1) {
      add(0, -weight);
      add(1, weight);
    } else if (key === 0) {
      add(0, -1.5 * weight);
      add(1, 2 * weight);
      add(2, -0.5 * weight);
    } else if (key === keys) {
      add(keys - 2, 0.5 * weight);
      add(keys - 1, -2 * weight);
      add(keys, 1.5 * weight);
    } else {
      add(key - 1, -0.5 * weight);
      add(key + 1, 0.5 * weight);
    }
  };
  add(j, (1 + 2 * u) * (1 - u) ** 2);
  slope(j, u * (1 - u) ** 2);
  add(j + 1, u * u * (3 - 2 * u));
  slope(j + 1, u * u * (u - 1));
  return [...weights].filter(([, weight]) => weight !== 0);
}

/** Steps and bases of the splats that move: values are base + step * n. */
export interface Units {
  base: Record<Channel, Float32Array>;
  step: Record<Channel, Float32Array>;
}

const LEVERS = [0.25, 64] as const;

/** From what the base holds of the M splats that move: mean [M, 3], quat x y z w [M, 4], log scale [M, 3], opacity [M]. */
export function unitsOf(base: Record<Channel, Float32Array>, tolerance: number, finest: number): Units {
  const moving = base.opacity.length;
  const step: Units["step"] = { mean: new Float32Array(moving), quat: new Float32Array(moving), log_scale: new Float32Array(moving), opacity: new Float32Array(moving) };
  for (let i = 0; i < moving; i++) {
    const sigma = [0, 1, 2].map((k) => Math.exp(base.log_scale[3 * i + k]!)).sort((a, b) => a - b) as [number, number, number];
    const size = Math.max(sigma[1], finest);
    const lever = Math.min(LEVERS[1], Math.max(LEVERS[0], (sigma[2] - sigma[0]) / size));
    step.mean[i] = 0.5 * tolerance * size;
    step.quat[i] = (0.25 * tolerance) / lever;
    step.log_scale[i] = 0.5 * tolerance;
    step.opacity[i] = 1 / 255;
  }
  return { base, step };
}

/** Write the values of a group's channel at a share of its segment into `out` [M, C]. Files have quaternions w x y z; here it is x y z w. */
export function evaluate(group: Group, name: Channel, units: Units, share: number, out: Float32Array): void {
  const n = group.n[name];
  if (!n) return;
  const [width, m] = [CHANNELS[name], group.rows.length];
  const [base, step] = [units.base[name], units.step[name]];
  const [[a, forA], [b, forB], [c, forC], [d, forD]] = [...weightsAt(group.keys, share), NONE, NONE, NONE] as [Weight, Weight, Weight, Weight];
  for (let k = 0; k < width; k++) {
    const component = name === "quat" ? (k + 3) % 4 : k;
    const [atA, atB, atC, atD] = [(a * width + k) * m, (b * width + k) * m, (c * width + k) * m, (d * width + k) * m];
    for (let i = 0; i < m; i++) {
      const sum = forA * n[atA + i]! + forB * n[atB + i]! + forC * n[atC + i]! + forD * n[atD + i]!;
      const at = width * group.rows[i]! + component;
      out[at] = base[at]! + step[group.rows[i]!]! * sum;
    }
  }
}
