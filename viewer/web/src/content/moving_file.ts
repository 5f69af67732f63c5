/** The first part of a moving scene: header and base, a whole picture of its first moment; the segments come one by one. */

import { utils } from "@sparkjsdev/spark";
import { type Moving, PageError, Reader } from "../manifest";
import { fetchBytes } from "./fetch";
import { type Channel, CHANNELS, evaluate, type Group, inflate, type Units, unitsOf, unpackSegment } from "./motion";
import type { Pickable } from "./pick";
import { decodeSplats, type LoadedSplats, splitSplats } from "./splat_file";

const MAGIC = 0x44345347; // "GS4D"
const VERSION = 1;
const HEAD_BYTES = 12;

export interface MovingHead {
  channels: Channel[];
  tolerance: number;
  finest: number;
  moving: number;
  frames: number[];
  spz: Uint8Array<ArrayBuffer>;
  mask: Uint8Array<ArrayBuffer>;
}

/** Read header and base. Throws a PageError when they are damaged, or are not what the manifest says. */
export function readHead(moving: Moving, bytes: Uint8Array<ArrayBuffer>): MovingHead {
  const { file } = moving;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < HEAD_BYTES || view.getUint32(0, true) !== MAGIC) throw new PageError(`${file} is damaged: it is no file of moving splats. Publish the scene again.`);
  const [version, length] = [view.getUint32(4, true), view.getUint32(8, true)];
  if (version !== VERSION) throw new PageError(`${file} has version ${version}, this page reads version ${VERSION}. Publish the scene again.`);
  let raw: unknown;
  try {
    raw = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(HEAD_BYTES, HEAD_BYTES + length)));
  } catch {
    throw new PageError(`${file} is damaged: its header is no JSON. Publish the scene again.`);
  }
  const header = new Reader(raw, file);
  const channels = header.field("channels").list((r) => r.text(), 4);
  const base = header.field("base");
  const [spz, mask] = [base.field("spz").whole(), base.field("mask").whole()];
  const segments = header.field("segments").list((r) => ({ bytes: r.field("bytes").whole(), frames: r.field("frames").whole(255) }), moving.segments.length);
  const known = channels.join() === "mean,quat,log_scale" || channels.join() === "mean,quat,log_scale,opacity";
  const start = HEAD_BYTES + length;
  const same = segments.length === moving.segments.length && segments.every((s, i) => s.frames > 0 && s.bytes === moving.segments[i]!.bytes);
  if (!known || !same || start + spz + mask !== bytes.length || header.field("count").whole() !== moving.count)
    throw new PageError(`${file} is damaged: it does not fit the manifest. Publish the scene again.`);
  return {
    channels: channels as Channel[],
    tolerance: header.field("tolerance").number(1e-6, 10),
    finest: header.field("finest").number(1e-12, 1e12),
    moving: header.field("moving").whole(moving.count),
    frames: segments.map((s) => s.frames),
    spz: bytes.slice(start, start + spz),
    mask: bytes.slice(start + spz),
  };
}

/** What is drawn of a moving scene: what rests, and what moves, which is written anew at each time. */
export class MovingBody {
  readonly values: Record<Channel, Float32Array>;

  constructor(
    readonly head: MovingHead,
    readonly rest: LoadedSplats | null,
    readonly moved: LoadedSplats | null,
    private readonly units: Units,
  ) {
    const copy = (name: Channel) => units.base[name].slice();
    this.values = { mean: copy("mean"), quat: copy("quat"), log_scale: copy("log_scale"), opacity: copy("opacity") };
  }
  get parts(): LoadedSplats[] {
    return [this.rest, this.moved].filter((part) => part !== null);
  }
  /** Put the splats that move where they are at a share 0..1 of a segment. */
  pose(groups: readonly Group[], share: number): void {
    if (!this.moved) return;
    for (const group of groups) for (const name of this.head.channels) evaluate(group, name, this.units, share, this.values[name]);
    normalize(this.values.quat);
    this.draw(this.moved);
    replace(this.moved.pick, this.values);
  }

  private draw({ mesh, count }: LoadedSplats): void {
    const source = mesh.extSplats!;
    const [first, second] = source.extArrays;
    const floats = new Float32Array(first.buffer, first.byteOffset, first.length);
    const { mean, quat, log_scale: scale, opacity } = this.values;
    const fades = this.head.channels.includes("opacity");
    for (let i = 0; i < count; i++) {
      const at = 4 * i;
      for (let k = 0; k < 3; k++) floats[at + k] = mean[3 * i + k]!;
      if (fades) first[at + 3] = utils.toHalf(Math.min(1, Math.max(0, opacity[i]!)));
      second[at + 1] = ((second[at + 1]! & 0xffff) | (utils.toHalf(scale[3 * i]!) << 16)) >>> 0;
      second[at + 2] = (utils.toHalf(scale[3 * i + 1]!) | (utils.toHalf(scale[3 * i + 2]!) << 16)) >>> 0;
      second[at + 3] = utils.encodeQuatOctXy1010R12(quat[4 * i]!, quat[4 * i + 1]!, quat[4 * i + 2]!, quat[4 * i + 3]!);
    }
    for (const texture of source.textures) texture.needsUpdate = true;
    mesh.updateVersion();
  }
}

/** Fetch header and base. Rejects with a PageError that says what is wrong. */
export async function loadBody(moving: Moving, shDegree: number, onBytes: (bytes: number) => void): Promise<MovingBody> {
  const head = readHead(moving, await fetchBytes(moving, onBytes));
  const whole = await decodeSplats(moving.file, head.spz, moving.count, { exact: true, shDegree });
  let bits: Uint8Array;
  try {
    bits = await inflate(head.mask, Math.ceil(moving.count / 8));
  } catch (error) {
    throw damaged(moving.file, error);
  }
  const owner = new Uint16Array(moving.count);
  for (let i = 0; i < moving.count; i++) owner[i] = (bits[i >> 3]! >> (i & 7)) & 1;
  const [rest, moved] = splitSplats(whole, owner, 2) as [LoadedSplats | null, LoadedSplats | null];
  if ((moved?.count ?? 0) !== head.moving) throw damaged(moving.file, new Error("it marks other splats than its header says"));
  const base = moved ? baseOf(moved.pick) : { mean: new Float32Array(), quat: new Float32Array(), log_scale: new Float32Array(), opacity: new Float32Array() };
  return new MovingBody(head, rest, moved, unitsOf(base, head.tolerance, head.finest));
}

/** Fetch and decode a segment. */
export async function loadSegment(moving: Moving, head: MovingHead, index: number, onBytes: (bytes: number) => void, signal?: AbortSignal): Promise<Group[]> {
  const segment = moving.segments[index]!;
  const bytes = await fetchBytes(segment, onBytes, signal);
  try {
    return await unpackSegment(bytes, head.moving, head.frames[index]!, head.channels);
  } catch (error) {
    throw damaged(segment.file, error);
  }
}

function damaged(file: string, error: unknown): PageError {
  return new PageError(`${file} is damaged: ${error instanceof Error ? error.message : String(error)}. Publish the scene again.`);
}

/** Values of the base, from what picking keeps of it. */
export function baseOf({ count, mean, quat, alphaScale }: Pickable): Record<Channel, Float32Array> {
  const base = { mean: mean.slice(), quat: new Float32Array(CHANNELS.quat * count), log_scale: new Float32Array(3 * count), opacity: new Float32Array(count) };
  for (let i = 0; i < count; i++) {
    base.opacity[i] = Math.min(254.5, Math.max(0.5, alphaScale[4 * i]!)) / 255;
    for (let k = 0; k < 3; k++) base.log_scale[3 * i + k] = alphaScale[4 * i + 1 + k]! / 16 - 10;
    for (let k = 0; k < 4; k++) base.quat[4 * i + k] = quat[4 * i + k]! / 32767;
  }
  return base;
}

function normalize(quat: Float32Array): void {
  for (let i = 0; i < quat.length; i += 4) {
    const length = Math.hypot(quat[i]!, quat[i + 1]!, quat[i + 2]!, quat[i + 3]!) || 1;
    for (let k = 0; k < 4; k++) quat[i + k]! /= length;
  }
}

/** What picking needs, at the time that is shown. */
function replace(pick: Pickable, { mean, quat, log_scale: scale, opacity }: Record<Channel, Float32Array>): void {
  pick.mean.set(mean);
  pick.min = [Infinity, Infinity, Infinity];
  pick.max = [-Infinity, -Infinity, -Infinity];
  for (let i = 0; i < pick.count; i++) {
    const alpha = Math.round(255 * Math.min(1, Math.max(0, opacity[i]!)));
    const widest = Math.max(scale[3 * i]!, scale[3 * i + 1]!, scale[3 * i + 2]!);
    const reach = (pick.reach[i] = alpha > 1 ? Math.sqrt(2 * Math.log(alpha)) * Math.exp(widest) : -1);
    pick.alphaScale[4 * i] = alpha;
    for (let k = 0; k < 4; k++) pick.quat[4 * i + k] = Math.round(32767 * quat[4 * i + k]!);
    for (let k = 0; k < 3; k++) {
      pick.alphaScale[4 * i + 1 + k] = Math.min(255, Math.max(0, Math.round(16 * (scale[3 * i + k]! + 10))));
      pick.min[k] = Math.min(pick.min[k]!, mean[3 * i + k]! - reach);
      pick.max[k] = Math.max(pick.max[k]!, mean[3 * i + k]! + reach);
    }
  }
}
