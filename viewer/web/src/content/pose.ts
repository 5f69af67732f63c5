/** What is drawn of the splats that move, at a time: the words of the renderer's textures. Runs in a worker, knows no renderer. */

import { type Channel, evaluate, type Group, type Units } from "./motion";

/** Four words a splat each: three places in float32 and the opacity in float16; colour (left as it is), log scales in float16, turn. */
export interface Words {
  first: Uint32Array<ArrayBuffer>;
  second: Uint32Array<ArrayBuffer>;
}

export class Poser {
  private readonly values: Record<Channel, Float32Array>;
  private readonly fades: boolean;
  private readonly count: number;

  constructor(
    private readonly units: Units,
    private readonly channels: readonly Channel[],
  ) {
    const copy = (name: Channel) => units.base[name].slice();
    this.values = { mean: copy("mean"), quat: copy("quat"), log_scale: copy("log_scale"), opacity: copy("opacity") };
    this.fades = channels.includes("opacity");
    this.count = units.base.opacity.length;
  }
  /** Write the splats at a share 0..1 of a segment into `words`, which hold them at any other time. */
  pose(groups: readonly Group[], share: number, { first, second }: Words): void {
    for (const group of groups) for (const name of this.channels) evaluate(group, name, this.units, share, this.values[name]);
    const { mean, quat, log_scale: scale, opacity } = this.values;
    const places = new Float32Array(first.buffer, first.byteOffset, first.length);
    for (let i = 0, at = 0; i < this.count; i++, at += 4) {
      places[at] = mean[3 * i]!;
      places[at + 1] = mean[3 * i + 1]!;
      places[at + 2] = mean[3 * i + 2]!;
      if (this.fades) first[at + 3] = toHalf(Math.min(1, Math.max(0, opacity[i]!)));
      second[at + 1] = (second[at + 1]! & 0xffff) | (toHalf(scale[3 * i]!) << 16);
      second[at + 2] = toHalf(scale[3 * i + 1]!) | (toHalf(scale[3 * i + 2]!) << 16);
      second[at + 3] = packTurn(quat[at]!, quat[at + 1]!, quat[at + 2]!, quat[at + 3]!);
    }
  }
}

const float = new Float32Array(1);
const bits = new Uint32Array(float.buffer);
const SMALLEST = 2 ** -14;

/** The nearest float16 (ties upwards), as its bits; what is beyond 65504 becomes infinite. */
export function toHalf(value: number): number {
  if (Math.abs(value) < SMALLEST) return (value < 0 ? 0x8000 : 0) + Math.round(Math.abs(value) * 2 ** 24);
  float[0] = value;
  const word = bits[0]!;
  const size = (word & 0x7fffffff) - 0x38000000 + 0x1000; // from 8 bits of exponent to 5, and half of the last of 10 bits
  return ((word >>> 16) & 0x8000) | (size >= 0x0f800000 ? 0x7c00 : size >> 13);
}

/** A turn x y z w of any length in a word: 12 bits of its angle 0..180 degrees, and twice 10 of its axis on an octahedron that is laid
 * flat (Meyer et al. 2010, "On floating-point normal vectors"), y before x. */
export function packTurn(x: number, y: number, z: number, w: number): number {
  const axis = Math.sqrt(x * x + y * y + z * z);
  const angle = 2 * Math.atan2(axis, Math.abs(w));
  const size = Math.abs(x) + Math.abs(y) + Math.abs(z);
  const scale = size < 1e-12 ? 0 : (w < 0 ? -1 : 1) / size;
  let [u, v] = size < 1e-12 ? [1, 0] : [x * scale, y * scale];
  if (z * scale < 0) [u, v] = [(1 - Math.abs(v)) * (u < 0 ? -1 : 1), (1 - Math.abs(u)) * (v < 0 ? -1 : 1)];
  return ((Math.round((angle * 4095) / Math.PI) << 20) | (Math.round((0.5 * v + 0.5) * 1023) << 10) | Math.round((0.5 * u + 0.5) * 1023)) >>> 0;
}
