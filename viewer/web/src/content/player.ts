/** The clock of a scene that moves: playing, pausing, stepping, how fast, and what happens at the end. Knows no page. */

import type { Moving } from "../manifest";

export const SPEEDS = [0.25, 0.5, 1, 2] as const;
export type Speed = (typeof SPEEDS)[number];

/** A display that stalls makes no leap, seconds. */
const LONGEST = 0.5;

export interface Film {
  /** The time that was asked for last. */
  readonly time: number | null;
  /** Whether that is the one shown. */
  readonly settled: boolean;
  /** Whether it is still on its way from the server. */
  readonly waits: boolean;
  setTime: (seconds: number) => Promise<void>;
}

export class Player {
  loop = true;
  speed: Speed = 1;
  private on = false;
  private last: number | null = null;
  /** Seconds of the scene that have passed and are not yet asked for. */
  private owed = 0;
  private readonly listeners = new Set<() => void>();
  private readonly step: number;
  readonly frames: number;

  constructor(
    readonly span: Pick<Moving, "start" | "end" | "fps">,
    private readonly film: Film,
  ) {
    this.frames = Math.max(1, Math.round((span.end - span.start) * span.fps));
    this.step = (span.end - span.start) / this.frames;
  }

  get playing(): boolean {
    return this.on;
  }
  get time(): number {
    return this.film.time ?? this.span.start;
  }
  /** The frame that is nearest to the time, from 0. */
  get frame(): number {
    return Math.round((this.time - this.span.start) / this.step);
  }
  /** Called when it begins or stops to play, or is changed. */
  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }
  play(): void {
    if (this.on) return;
    this.on = true;
    this.last = null;
    if (this.time >= this.span.end) void this.film.setTime(this.span.start);
    this.tell();
  }
  pause(): void {
    if (!this.on) return;
    this.on = false;
    this.tell();
  }
  toggle(): void {
    if (this.on) this.pause();
    else this.play();
  }
  setLoop(loop: boolean): void {
    this.loop = loop;
    this.tell();
  }
  setSpeed(speed: Speed): void {
    this.speed = speed;
    this.tell();
  }
  /** One speed faster or slower. */
  shift(by: 1 | -1): void {
    const next = SPEEDS[SPEEDS.indexOf(this.speed) + by];
    if (next !== undefined) this.setSpeed(next);
  }
  /** Pause, and show a time. */
  show(time: number): Promise<void> {
    this.pause();
    return this.film.setTime(Math.min(this.span.end, Math.max(this.span.start, time)));
  }
  /** Pause, and show a frame that was captured. */
  showFrame(frame: number): Promise<void> {
    return this.show(frame >= this.frames ? this.span.end : this.span.start + frame * this.step);
  }
  /** Frames on or back, round the ends where it loops. */
  stepBy(frames: number): Promise<void> {
    const { start, end } = this.span;
    const to = this.time + frames * this.step;
    const slack = 1e-6 * this.step;
    if (this.loop && to > end + slack) return this.show(start);
    if (this.loop && to < start - slack) return this.show(end);
    return this.show(to);
  }
  /** Time goes on: seconds of the display's clock. While a frame is being made time passes, while it is on its way from the server it waits. */
  tick(seconds: number): void {
    const passed = this.last === null ? 0 : Math.min(LONGEST, seconds - this.last);
    this.last = seconds;
    if (!this.on || this.film.waits) {
      this.owed = 0;
      return;
    }
    this.owed += this.speed * passed;
    if (!this.film.settled || this.owed === 0) return;
    const { start, end } = this.span;
    const time = this.time + this.owed;
    this.owed = 0;
    if (time < end) return void this.film.setTime(time);
    if (this.time < end) return void this.film.setTime(end); // the last frame is shown as long as any other
    if (time - end < this.step) {
      this.owed = time - end;
      return;
    }
    if (this.loop) void this.film.setTime(start);
    else this.pause();
  }
  /** The display's clock stood still, as in a tab that was hidden: no time has passed. */
  resume(): void {
    this.last = null;
  }

  private tell(): void {
    for (const listener of this.listeners) listener();
  }
}
