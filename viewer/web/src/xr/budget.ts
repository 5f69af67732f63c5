/** How many splats a headset can draw in time. The frames of a headset come in whole ticks of its display, so that there is no
 * headroom to measure: there are frames in time and late ones. Late ones lower the count at once, by as much as the time says; quiet
 * seconds raise it slowly. A count that failed is remembered as a ceiling, and each attempt on it is a longer wait away than the
 * one before, so that the count comes to rest below what the device can do. */

export interface BudgetOptions {
  /** Frames a second that the session wants. */
  rate: number;
  min: number;
  max: number;
  start: number;
}

const WINDOW = 24; // frames that are judged together
const LATE = 1.35; // ticks: longer frames are late
const LATE_SHARE = 0.12;
const SETTLE = 0.4; // seconds after a change, until frames tell of it
const QUIET = 3; // seconds without a late window before a rise
const RISE = 1.1;
const CREEP = 1.03; // near the ceiling
const PATIENCE = 15; // seconds before the ceiling is tried, doubled by each failure
const MAX_PATIENCE = 240;
const PAUSE = 0.5; // seconds: one longer frame is a pause (dialog, headset taken off), several are slow pictures

export class Budget {
  private now: number;
  private clock = 0;
  private settled = SETTLE;
  private quietSince = 0;
  private frames: number[] = [];
  private ceiling = Infinity;
  private failed = Infinity;
  private patience = PATIENCE;
  private ceilingSince = 0;
  private longBefore = false;
  private readonly tick: number;

  constructor(private readonly options: BudgetOptions) {
    this.tick = 1 / options.rate;
    this.now = clamp(options.start, options.min, options.max);
  }
  get count(): number {
    return Math.round(this.now);
  }
  /** At the bottom and still late: nothing is left but to draw fewer pixels. */
  starved = false;

  /** Tell the seconds since the last frame; true when the count has changed. */
  frame(seconds: number): boolean {
    this.clock += seconds;
    const long = seconds > PAUSE;
    const pause = long && !this.longBefore;
    this.longBefore = long;
    if (pause) {
      this.settle();
      return false;
    }
    if (this.clock < this.settled) return false;
    this.frames.push(seconds);
    if (this.frames.length < WINDOW && !this.hopeless()) return false;
    const late = this.frames.filter((s) => s > LATE * this.tick).length;
    const mean = this.frames.reduce((a, b) => a + b, 0) / this.frames.length;
    this.frames = [];
    if (late > LATE_SHARE * WINDOW) return this.lower(mean);
    this.starved = false;
    return this.raise();
  }

  /** Three frames of three ticks each need no more proof. */
  private hopeless(): boolean {
    return this.frames.length >= 3 && this.frames.slice(-3).every((s) => s > 2.6 * this.tick);
  }
  private lower(mean: number): boolean {
    const again = this.now > 0.85 * this.failed;
    this.patience = again ? Math.min(MAX_PATIENCE, 2 * this.patience) : PATIENCE;
    this.ceiling = this.failed = this.now;
    this.ceilingSince = this.quietSince = this.clock;
    this.starved = this.now <= this.options.min;
    return this.set(this.now * clamp(this.tick / mean, 0.5, 0.9));
  }
  private raise(): boolean {
    if (this.clock - this.quietSince < QUIET) return false;
    this.quietSince = this.clock;
    if (this.clock - this.ceilingSince > this.patience) {
      // what failed long ago may work now: the scene, the view or the temperature has changed
      this.ceiling *= RISE;
      this.ceilingSince = this.clock;
    }
    if (this.now > 1.02 * this.failed) this.patience = PATIENCE;
    const next = this.now * RISE < 0.9 * this.ceiling ? this.now * RISE : Math.min(this.now * CREEP, 0.93 * this.ceiling);
    return next > this.now && this.set(next);
  }
  private set(count: number): boolean {
    const before = this.count;
    this.now = clamp(count, this.options.min, this.options.max);
    this.settle();
    return this.count !== before;
  }
  private settle(): void {
    this.frames = [];
    this.settled = this.clock + SETTLE;
  }
}

/** Splats to begin with, per target and what the page runs on. */
export function startBudget(target: string, userAgent: string, published: number, count: number): number {
  const table: Record<string, number> = { quest3: 700_000, phone: 600_000, web: 1_000_000, desktop: 2_000_000 };
  const wanted = table[target] ?? 500_000;
  const headset = /Quest|OculusBrowser|Pico|Android/.test(userAgent);
  return Math.min(count, published, headset ? Math.min(wanted, 700_000) : wanted);
}
/** The rate of a session that does not say one, from the seconds between its first frames: a quick frame tells the display's tick. */
export function guessRate(seconds: readonly number[]): number {
  const sorted = seconds.filter((s) => s > 0.005).sort((a, b) => a - b);
  const quick = sorted[Math.floor(sorted.length / 10)];
  if (quick === undefined) return 72;
  return [30, 60, 72, 90, 120].reduce((best, rate) => (Math.abs(rate * quick - 1) < Math.abs(best * quick - 1) ? rate : best));
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(Math.max(value, min), max);
}
