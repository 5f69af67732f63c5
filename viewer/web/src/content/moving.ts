/** A scene with time: one file of splats a frame, fetched ahead of the time shown. Each frame is the whole scene at its time. */

import * as THREE from "three";
import type { Moving, SplatFile } from "../manifest";
import type { LoadedSplats } from "./splat_file";

const AHEAD = 6;
const PARALLEL = 3;

/** The frame that is shown at a time: the last one that has begun. Times rise. */
export function frameAt(times: readonly number[], time: number): number {
  let [low, high] = [0, times.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (times[middle]! <= time) low = middle;
    else high = middle - 1;
  }
  return low;
}

export class MovingSplats {
  readonly group = new THREE.Group();
  private readonly times: number[];
  private readonly frames = new Map<number, LoadedSplats>();
  private readonly loading = new Map<number, AbortController>();
  private readonly waiting = new Map<number, { resolve: () => void; reject: (error: unknown) => void }[]>();
  private wanted = 0;
  private current: LoadedSplats | null = null;

  constructor(
    readonly moving: Moving,
    /** Splats to hold at once, all frames together. */
    private readonly budget: number,
    private readonly load: (file: SplatFile, signal: AbortSignal) => Promise<LoadedSplats>,
    private readonly onShown: () => void,
    private readonly onFault: (error: unknown) => void,
  ) {
    this.times = moving.frames.map((frame) => frame.time);
  }

  get shown(): LoadedSplats[] {
    return this.current ? [this.current] : [];
  }
  /** Whether the frame of the time that was asked for is the one shown. */
  get settled(): boolean {
    return this.current !== null && this.frames.get(this.wanted) === this.current;
  }
  /** Show the scene at a time. Resolves when its frame is shown, or when another time was asked for meanwhile. */
  setTime(time: number): Promise<void> {
    const index = frameAt(this.times, time);
    for (const [other, waiters] of this.waiting) if (other !== index) for (const { resolve } of waiters.splice(0)) resolve();
    this.wanted = index;
    const ahead = this.ahead();
    for (const [other, stop] of this.loading) if (!ahead.includes(other)) stop.abort();
    const waits = !this.frames.has(index) && !this.loading.has(index);
    const last = ahead.filter((other) => this.loading.has(other)).at(-1);
    if (waits && this.loading.size >= PARALLEL && last !== undefined) this.loading.get(last)!.abort(); // the frame that is awaited comes first
    this.forget(ahead);
    this.pump();
    if (this.frames.has(index)) {
      this.show(index);
      return Promise.resolve();
    }
    return new Promise((resolve, reject) => this.waiting.set(index, [...(this.waiting.get(index) ?? []), { resolve, reject }]));
  }

  /** The frame that is wanted and the next ones, round the end: as many as the budget holds. */
  private ahead(): number[] {
    const { frames } = this.moving;
    const indices: number[] = [];
    for (let step = 0, splats = 0; step <= AHEAD && step < frames.length; step++) {
      const index = (this.wanted + step) % frames.length;
      splats += frames[index]!.count;
      if (step > 0 && splats > this.budget) break;
      indices.push(index);
    }
    return indices;
  }
  /** Let go of frames until those that are coming have room: first those that come again last. */
  private forget(ahead: readonly number[]): void {
    const { frames } = this.moving;
    let room = this.budget - ahead.reduce((sum, index) => sum + frames[index]!.count, 0);
    const turns = (index: number) => (index - this.wanted + frames.length) % frames.length;
    const others = [...this.frames.keys()].filter((index) => !ahead.includes(index)).sort((a, b) => turns(a) - turns(b));
    for (const index of others) {
      const loaded = this.frames.get(index)!;
      room -= loaded.count;
      if (room >= 0 || loaded === this.current) continue;
      this.frames.delete(index);
      loaded.mesh.dispose();
    }
  }
  private pump(): void {
    for (const index of this.ahead()) {
      if (this.loading.size >= PARALLEL) return;
      if (!this.frames.has(index) && !this.loading.has(index)) void this.fetch(index);
    }
  }
  private async fetch(index: number): Promise<void> {
    const stop = new AbortController();
    this.loading.set(index, stop);
    try {
      this.frames.set(index, await this.load(this.moving.frames[index]!, stop.signal));
      if (index === this.wanted) this.show(index);
    } catch (error) {
      if (!stop.signal.aborted) {
        const waiters = this.waiting.get(index)?.splice(0) ?? [];
        for (const { reject } of waiters) reject(error);
        if (waiters.length === 0) this.onFault(error);
        this.loading.delete(index);
        return; // no further try until another time is asked for
      }
    }
    this.loading.delete(index);
    this.pump();
  }
  private show(index: number): void {
    const loaded = this.frames.get(index)!;
    if (loaded !== this.current) {
      this.group.clear();
      this.group.add(loaded.mesh);
      const before = this.current;
      this.current = loaded;
      if (before && ![...this.frames.values()].includes(before)) before.mesh.dispose();
      this.onShown();
    }
    for (const { resolve } of this.waiting.get(index)?.splice(0) ?? []) resolve();
  }
}
