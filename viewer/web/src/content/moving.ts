/** A scene with time: segments of about a second, fetched ahead of the time shown. Any segment can be shown without the others. */

const AHEAD = 2;
const PARALLEL = 2;
/** Decoded segments that are kept. */
const HELD = 6;

export interface Span {
  start: number;
  end: number;
}
export interface MovingHooks<T> {
  load: (index: number, signal: AbortSignal) => Promise<T>;
  /** Show a moment: a share 0..1 of a segment. One at a time; rejects when it cannot. */
  show: (segment: T, share: number) => Promise<void>;
  /** A segment is let go of. */
  drop?: (segment: T) => void;
  /** A segment could not be loaded, and nobody awaits it. */
  onFault: (error: unknown) => void;
}
interface Waiter {
  resolve: () => void;
  reject: (error: unknown) => void;
}

/** The segment that holds a time: the last one that has begun. Starts rise. */
export function segmentAt(spans: readonly Span[], time: number): number {
  let [low, high] = [0, spans.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (spans[middle]!.start <= time) low = middle;
    else high = middle - 1;
  }
  return low;
}

export class MovingSplats<T> {
  private readonly held = new Map<number, T>();
  private readonly loading = new Map<number, AbortController>();
  /** Could not be loaded: fetched again when one of their times is asked for, not ahead of it. */
  private readonly failed = new Set<number>();
  private waiting: Waiter[] = [];
  private index = 0;
  private time = 0;
  private shownTime: number | null = null;
  private showing = false;

  constructor(
    readonly spans: readonly Span[],
    private readonly hooks: MovingHooks<T>,
  ) {}

  /** Whether the time that was asked for is the one shown. */
  get settled(): boolean {
    return this.shownTime === this.time;
  }
  /** Whether the segment of the time that was asked for is still on its way. */
  get waits(): boolean {
    return !this.held.has(this.index);
  }
  /** How many segments are decoded now. */
  get heldCount(): number {
    return this.held.size;
  }
  /** Show the scene at a time. Resolves when it is shown, or when another segment was asked for meanwhile. */
  setTime(time: number): Promise<void> {
    const index = segmentAt(this.spans, time);
    if (index !== this.index) for (const { resolve } of this.waiting.splice(0)) resolve();
    [this.index, this.time] = [index, time];
    this.failed.delete(index);
    const ahead = this.ahead();
    for (const [other, stop] of this.loading) if (!ahead.includes(other)) stop.abort();
    const last = ahead.filter((other) => this.loading.has(other)).at(-1);
    const awaited = !this.held.has(index) && !this.loading.has(index);
    if (awaited && this.loading.size >= PARALLEL && last !== undefined) this.loading.get(last)!.abort(); // what is awaited comes first
    this.forget(ahead);
    this.pump();
    const there = new Promise<void>((resolve, reject) => this.waiting.push({ resolve, reject }));
    if (this.held.has(index)) void this.show();
    return there;
  }

  /** The segment that is shown and the next ones, round the end. */
  private ahead(): number[] {
    const count = this.spans.length;
    return Array.from({ length: Math.min(1 + AHEAD, count) }, (_, step) => (this.index + step) % count);
  }
  /** Let go of segments: first those that come again last. */
  private forget(ahead: readonly number[]): void {
    const count = this.spans.length;
    const turns = (index: number) => (index - this.index + count) % count;
    const spare = [...this.held.keys()].filter((index) => !ahead.includes(index)).sort((a, b) => turns(a) - turns(b));
    for (const index of spare.slice(HELD - ahead.length)) {
      this.hooks.drop?.(this.held.get(index)!);
      this.held.delete(index);
    }
  }
  private pump(): void {
    for (const index of this.ahead()) {
      if (this.loading.size >= PARALLEL) return;
      if (!this.held.has(index) && !this.loading.has(index) && !this.failed.has(index)) void this.fetch(index);
    }
  }
  private async fetch(index: number): Promise<void> {
    const stop = new AbortController();
    this.loading.set(index, stop);
    try {
      const segment = await this.hooks.load(index, stop.signal);
      if (stop.signal.aborted) this.hooks.drop?.(segment);
      else this.held.set(index, segment);
    } catch (error) {
      this.loading.delete(index);
      if (stop.signal.aborted) return this.pump();
      this.failed.add(index);
      if (index === this.index) this.fail(error);
      else this.hooks.onFault(error);
      return this.pump();
    }
    this.loading.delete(index);
    if (index === this.index && this.held.has(index)) void this.show();
    this.pump();
  }
  /** Show the time asked for last, and whatever is asked for while that is done. */
  private async show(): Promise<void> {
    if (this.showing) return;
    this.showing = true;
    try {
      while (this.shownTime !== this.time && this.held.has(this.index)) {
        const { time } = this;
        const span = this.spans[this.index]!;
        await this.hooks.show(this.held.get(this.index)!, (time - span.start) / (span.end - span.start));
        this.shownTime = time;
      }
      if (this.settled) for (const { resolve } of this.waiting.splice(0)) resolve();
    } catch (error) {
      this.fail(error);
    } finally {
      this.showing = false;
    }
  }
  private fail(error: unknown): void {
    const waiters = this.waiting.splice(0);
    for (const { reject } of waiters) reject(error);
    if (waiters.length === 0) this.hooks.onFault(error);
  }
}
