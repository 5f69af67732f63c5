/** Keeps the frame rate of a session: fewer splats when frames are late, fewer pixels when that is not enough. */

import type { Page } from "../page";
import { Budget, guessRate, startBudget } from "./budget";

/** What splats are drawn at in a headset: 72 Hz is the lowest rate that every Quest has, and leaves them the longest time. */
const WANTED_RATE = 72;
const LEAST = 50_000;
/** Outer parts of the view in full resolution (0) or coarse (1). */
const FOVEATION = { calm: 0.5, late: 1 };
const SMALLER = [1, 0.85, 0.7];
const FIRST_FRAMES = 40;

export class Pace {
  private budget: Budget | null = null;
  private last: number | null = null;
  private readonly first: number[] = [];
  private smaller = 0;
  private smoothed = 0;
  /** What the visitor had chosen on the flat page; null: all. */
  private readonly chosen: number | null;

  constructor(
    private readonly page: Page,
    private readonly session: XRSession,
  ) {
    const { content } = page;
    this.chosen = content.drawn < content.held ? content.drawn : null;
    page.renderer.xr.setFoveation(FOVEATION.calm);
    content.setBudget(this.start);
    void this.slowDisplay();
  }
  /** Splats that may be drawn now. */
  get count(): number {
    return this.budget?.count ?? this.start;
  }
  get framesPerSecond(): number {
    return this.smoothed > 0 ? 1 / this.smoothed : 0;
  }
  /** Tell each frame, with the session's own clock. */
  frame(time: number, frame: XRFrame): void {
    const seconds = this.last === null ? 0 : (time - this.last) / 1000;
    this.last = time;
    if (seconds <= 0 || this.session.visibilityState !== "visible") return;
    this.smoothed = this.smoothed === 0 ? seconds : 0.95 * this.smoothed + 0.05 * seconds;
    this.ask(frame);
    this.budget ??= this.begin(seconds);
    if (!this.budget || this.page.content.progress.state !== "ready") return; // what is being loaded makes frames late by itself
    const changed = this.budget.frame(seconds);
    if (changed) this.page.content.setBudget(this.budget.count);
    if (changed || this.budget.starved) this.pixels();
  }
  end(): void {
    this.page.content.setBudget(this.chosen);
  }

  /** All splats that can be in the scene at once. */
  private get most(): number {
    const { content, manifest } = this.page;
    return Math.max(1, Math.min((manifest.splats ?? manifest.moving)?.count ?? content.held, content.deviceBudget));
  }
  private get start(): number {
    const { target, splats } = this.page.manifest;
    return startBudget(target, navigator.userAgent, splats?.budget ?? Infinity, this.most);
  }
  private begin(seconds: number): Budget | null {
    let rate = this.session.frameRate;
    if (!rate) {
      this.first.push(seconds);
      if (this.first.length < FIRST_FRAMES) return null;
      rate = guessRate(this.first);
    }
    const max = this.most;
    return new Budget({ rate, min: Math.min(LEAST, max), max, start: this.start });
  }
  private async slowDisplay(): Promise<void> {
    const { supportedFrameRates: rates, frameRate } = this.session;
    if (!rates?.includes(WANTED_RATE) || frameRate === WANTED_RATE) return;
    try {
      await this.session.updateTargetFrameRate?.(WANTED_RATE);
    } catch (error) {
      console.info("the headset keeps its own frame rate:", error);
    }
  }
  /** Pixels follow the splats: coarse edges as soon as splats had to go, a smaller picture when there are none left to go. */
  private pixels(): void {
    if (!this.budget) return;
    const tight = this.budget.count < 0.7 * this.start || this.budget.starved;
    const foveation = tight ? FOVEATION.late : FOVEATION.calm;
    if (this.page.renderer.xr.getFoveation() !== foveation) this.page.renderer.xr.setFoveation(foveation);
    if (this.budget.starved) this.smaller = Math.min(SMALLER.length - 1, this.smaller + 1);
    else if (!tight) this.smaller = 0;
    this.budget.starved = false;
  }
  /** Some browsers let a view ask for fewer pixels within the session. */
  private ask(frame: XRFrame): void {
    const space = this.page.renderer.xr.getReferenceSpace();
    if (!space) return;
    for (const view of frame.getViewerPose(space)?.views ?? []) view.requestViewportScale?.(SMALLER[this.smaller]!);
  }
}
