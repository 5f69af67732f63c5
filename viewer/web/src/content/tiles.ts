/** The splats of a scene that stands still: a coarse picture of the whole first, then tiles in full, each in place of the coarse splats of its region.
 * A scene within the budget ends with all tiles; of a larger one those near and in view are held, and the coarse picture stands for the rest. */

import * as THREE from "three";
import type { SplatFile, SplatSet } from "../manifest";
import { chooseTiles, type Eye, tileOfPoints } from "./choice";
import { draftOf, type LoadedSplats, splitSplats } from "./splat_file";

/** Files fetched at once. */
const PARALLEL = 4;
/** Tiles that arrive within so many milliseconds are shown together: each change makes the renderer sort again. */
const BATCH_MS = 150;

export interface TileHooks {
  load: (file: SplatFile, onBytes: (bytes: number) => void, signal: AbortSignal, coarse: boolean) => Promise<LoadedSplats>;
  /** Where the eye is, in the frame of the tiles. */
  eye: () => Eye;
  /** Bytes that have come, and all that the first choice takes. */
  onBytes: (done: number, all: number) => void;
  /** What is drawn has changed. */
  onShown: () => void;
  /** A file could not be loaded after the scene was complete. */
  onFault: (error: unknown) => void;
}

interface Held {
  loaded: LoadedSplats;
  shown: boolean;
  lastWanted: number;
}

export class Tiles {
  readonly group = new THREE.Group();
  /** The coarse picture of the whole, on DRAFT_LAYER. */
  readonly drafts = new THREE.Group();
  private coarse: (LoadedSplats | null)[] = [];
  private readonly held = new Map<number, Held>();
  private readonly loading = new Map<number, AbortController>();
  private readonly bytes = new Map<number, number>();
  private readonly failed = new Set<number>();
  private wanted: number[] = [];
  private round = 0;
  private batch: ReturnType<typeof setTimeout> | null = null;
  private complete: { resolve: () => void; reject: (error: unknown) => void } | null = null;

  constructor(
    readonly set: SplatSet,
    private budget: number,
    private readonly hooks: TileHooks,
  ) {}

  /** More splats than the device may hold. */
  get streams(): boolean {
    return this.set.count > this.budget;
  }
  /** What stands in the scene now. */
  get shown(): LoadedSplats[] {
    const tiles = [...this.held.values()].filter((tile) => tile.shown).map((tile) => tile.loaded);
    return [...this.coarse.filter((part) => part?.mesh.visible), ...tiles] as LoadedSplats[];
  }
  /** How many times as many splats stand in the scene as in the coarse picture. */
  get timesCoarse(): number {
    return this.shown.reduce((sum, { count }) => sum + count, 0) / this.set.coarse.count;
  }
  async loadCoarse(): Promise<void> {
    this.wanted = this.choose();
    const whole = await this.hooks.load(this.set.coarse, (bytes) => this.count(-1, bytes), new AbortController().signal, true);
    const { tiles } = this.set;
    this.coarse = tiles.length > 1 ? splitSplats(whole, tileOfPoints(tiles, whole.pick.mean), tiles.length) : [whole];
    this.group.add(...this.coarse.flatMap((part) => part?.mesh ?? []));
    this.drafts.add(...this.coarse.flatMap((part) => (part ? draftOf(part) : [])));
    this.hooks.onShown();
  }
  /** Resolves when all that the first view needs is there. */
  loadFirst(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.complete = { resolve, reject };
      this.update();
    });
  }
  setBudget(budget: number): void {
    this.budget = budget;
  }
  /** Choose anew for where the eye is now: fetch what is missing, stop what is no longer wanted, let go of what there is no room for. */
  update(): void {
    this.round += 1;
    this.wanted = this.choose();
    const wanted = new Set(this.wanted);
    for (const index of this.wanted) {
      const tile = this.held.get(index);
      if (tile) tile.lastWanted = this.round;
    }
    for (const [index, stop] of this.loading) if (!wanted.has(index)) stop.abort();
    this.makeRoom(wanted);
    this.pump();
    this.checkComplete();
  }
  dispose(): void {
    if (this.batch !== null) clearTimeout(this.batch);
    for (const stop of this.loading.values()) stop.abort();
    for (const { loaded } of this.held.values()) loaded.mesh.dispose();
    for (const part of this.coarse) part?.mesh.dispose();
    this.held.clear();
    this.coarse = [];
    this.group.removeFromParent();
  }

  private choose(): number[] {
    const usable = this.set.tiles.map((tile, index) => (this.failed.has(index) ? { ...tile, count: Infinity } : tile));
    const room = this.streams ? Math.max(0, this.budget - this.set.coarse.count) : Infinity;
    return chooseTiles(usable, this.hooks.eye(), room, new Set(this.held.keys())).filter((index) => !this.failed.has(index));
  }
  private makeRoom(wanted: Set<number>): void {
    if (!this.streams) return;
    let total = this.set.coarse.count + this.wanted.reduce((sum, index) => sum + this.set.tiles[index]!.count, 0);
    const spare = [...this.held].filter(([index]) => !wanted.has(index)).sort((a, b) => b[1].lastWanted - a[1].lastWanted);
    for (const [index, tile] of spare) {
      total += tile.loaded.count;
      if (total <= this.budget) continue;
      total -= tile.loaded.count;
      this.held.delete(index);
      this.reveal(index, tile, false);
      tile.loaded.mesh.dispose();
    }
  }
  private pump(): void {
    for (const index of this.wanted) {
      if (this.loading.size >= PARALLEL) return;
      if (!this.held.has(index) && !this.loading.has(index) && !this.failed.has(index)) void this.fetch(index);
    }
  }
  private async fetch(index: number): Promise<void> {
    const stop = new AbortController();
    this.loading.set(index, stop);
    try {
      const loaded = await this.hooks.load(this.set.tiles[index]!, (bytes) => this.count(index, bytes), stop.signal, false);
      this.held.set(index, { loaded, shown: false, lastWanted: this.round });
      this.batch ??= setTimeout(() => this.showArrived(), BATCH_MS);
    } catch (error) {
      if (!stop.signal.aborted) this.fail(index, error);
    }
    this.loading.delete(index);
    this.pump();
    if (this.loading.size === 0) this.showArrived();
  }
  private fail(index: number, error: unknown): void {
    this.failed.add(index);
    if (this.complete) {
      for (const stop of this.loading.values()) stop.abort();
      this.complete.reject(error);
      this.complete = null;
      this.wanted = [];
    } else this.hooks.onFault(error);
  }
  private showArrived(): void {
    if (this.batch !== null) clearTimeout(this.batch);
    this.batch = null;
    for (const [index, tile] of this.held) if (!tile.shown) this.reveal(index, tile, true);
    this.checkComplete();
  }
  /** Show a tile in place of the coarse splats of its region, or the other way round. */
  private reveal(index: number, tile: Held, shown: boolean): void {
    tile.shown = shown;
    if (shown) this.group.add(tile.loaded.mesh);
    else this.group.remove(tile.loaded.mesh);
    const part = this.coarse[index];
    if (part) part.mesh.visible = !shown;
    this.hooks.onShown();
  }
  private checkComplete(): void {
    if (!this.complete || !this.wanted.every((index) => this.held.get(index)?.shown)) return;
    this.complete.resolve();
    this.complete = null;
  }
  private count(index: number, bytes: number): void {
    this.bytes.set(index, bytes);
    const all = this.set.coarse.bytes + this.wanted.reduce((sum, tile) => sum + this.set.tiles[tile]!.bytes, 0);
    let done = this.bytes.get(-1) ?? 0;
    for (const tile of this.wanted) done += this.bytes.get(tile) ?? 0;
    this.hooks.onBytes(done, all);
  }
}
