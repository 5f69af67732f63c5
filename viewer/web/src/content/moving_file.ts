/** The first part of a moving scene: header and base, a whole picture of its first moment; the segments come one by one. */

import { utils } from "@sparkjsdev/spark";
import * as THREE from "three";
import { type Moving, PageError, Reader } from "../manifest";
import { fetchBytes } from "./fetch";
import { type Channel, CHANNELS, inflate, type Units, unitsOf } from "./motion";
import type { Answer, Question } from "./motion_worker";
import type { Pickable } from "./pick";
import type { Words } from "./pose";
import { decodeSplats, type LoadedSplats, splitSplats } from "./splat_file";

/** Questions to the worker, and its answers. */
class MotionWorker {
  private readonly worker = new Worker(new URL("./motion_worker.ts", import.meta.url), { type: "module", name: "motion" });
  private readonly asked = new Map<number, { resolve: (answer: Answer) => void; reject: (error: Error) => void }>();
  private next = 0;
  private broken = false;

  constructor() {
    this.worker.addEventListener("message", ({ data }: MessageEvent<Answer>) => {
      const asked = this.asked.get(data.id);
      this.asked.delete(data.id);
      if (data.fault === undefined) asked?.resolve(data);
      else asked?.reject(new Error(data.fault));
    });
    this.worker.addEventListener("error", () => {
      this.broken = true;
      for (const { reject } of this.asked.values()) reject(noWorker());
      this.asked.clear();
    });
  }
  ask(question: Question, transfer: Transferable[] = []): Promise<Answer> {
    if (this.broken) return Promise.reject(noWorker());
    const id = this.next++;
    return new Promise((resolve, reject) => {
      this.asked.set(id, { resolve, reject });
      this.worker.postMessage({ id, question }, transfer);
    });
  }
}

function noWorker(): PageError {
  return new PageError("What plays this scene cannot be loaded (assets/motion_worker). Copy the whole published folder, and reload the page.");
}

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

/** What is drawn of a moving scene: what rests, and what moves, which a worker writes anew for each time. */
export class MovingBody {
  private readonly worker = new MotionWorker();
  private spare: Words | null = null;
  /** Picking still knows an earlier time. */
  private stale = false;

  constructor(
    readonly head: MovingHead,
    readonly rest: LoadedSplats | null,
    readonly moved: LoadedSplats | null,
    units: Units,
  ) {
    void this.worker.ask({ ask: "begin", units, channels: head.channels, moving: head.moving }).catch(() => undefined); // whoever asks next is told the same
  }
  get parts(): LoadedSplats[] {
    return [this.rest, this.moved].filter((part) => part !== null);
  }
  /** Decode a segment, whose bytes go. Rejects with what is wrong with it. */
  async take(index: number, bytes: Uint8Array<ArrayBuffer>): Promise<void> {
    await this.worker.ask({ ask: "segment", index, bytes, frames: this.head.frames[index]! }, [bytes.buffer]);
  }
  forget(index: number): void {
    void this.worker.ask({ ask: "forget", index }).catch(() => undefined);
  }
  /** Put the splats that move where they are at a share 0..1 of a segment that was taken. One at a time. */
  async pose(index: number, share: number): Promise<void> {
    if (!this.moved) return;
    const { mesh } = this.moved;
    const source = mesh.extSplats!;
    const [first, second] = source.extArrays;
    const room = this.spare ?? { first: first.slice(), second: second.slice() };
    this.spare = null;
    const words = (await this.worker.ask({ ask: "pose", index, share, ...room }, [room.first.buffer, room.second.buffer])) as Words;
    first.set(words.first);
    second.set(words.second);
    this.spare = words;
    this.stale = true;
    for (const texture of source.textures) texture.needsUpdate = true;
    mesh.updateVersion();
  }
  /** Let picking know the time that is shown. */
  refreshPick(): void {
    if (!this.moved || !this.stale) return;
    this.stale = false;
    repick(this.moved.pick, this.moved.mesh.extSplats!.extArrays);
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

/** Fetch and decode a segment; the body may still be on its way. */
export async function loadSegment(moving: Moving, body: Promise<MovingBody>, index: number, onBytes: (bytes: number) => void, signal?: AbortSignal): Promise<number> {
  const segment = moving.segments[index]!;
  const bytes = await fetchBytes(segment, onBytes, signal);
  try {
    await (await body).take(index, bytes);
  } catch (error) {
    throw error instanceof PageError ? error : damaged(segment.file, error);
  }
  return index;
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

/** What picking needs, from what is drawn. */
function repick(pick: Pickable, [first, second]: readonly [Uint32Array, Uint32Array]): void {
  const places = new Float32Array(first.buffer, first.byteOffset, first.length);
  const turn = new THREE.Quaternion();
  pick.min = [Infinity, Infinity, Infinity];
  pick.max = [-Infinity, -Infinity, -Infinity];
  for (let i = 0, at = 0; i < pick.count; i++, at += 4) {
    const alpha = Math.round(255 * utils.fromHalf(first[at + 3]! & 0xffff));
    const scales = [utils.fromHalf(second[at + 1]! >>> 16), utils.fromHalf(second[at + 2]! & 0xffff), utils.fromHalf(second[at + 2]! >>> 16)];
    const reach = (pick.reach[i] = alpha > 1 ? Math.sqrt(2 * Math.log(alpha)) * Math.exp(Math.max(...scales)) : -1);
    const { x, y, z, w } = utils.decodeQuatOctXy1010R12(second[at + 3]!, turn);
    pick.quat.set([x, y, z, w].map((value) => Math.round(32767 * value)), at);
    pick.alphaScale[at] = alpha;
    for (let k = 0; k < 3; k++) {
      const place = (pick.mean[3 * i + k] = places[at + k]!);
      pick.alphaScale[at + 1 + k] = Math.min(255, Math.max(0, Math.round(16 * (scales[k]! + 10))));
      pick.min[k] = Math.min(pick.min[k]!, place - reach);
      pick.max[k] = Math.max(pick.max[k]!, place + reach);
    }
  }
}
