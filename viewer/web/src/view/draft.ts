/** A draft while the view moves, where the device is too slow to draw the whole in time: fewer pixels, and the coarse splats in place of all.
 * When the view rests the whole is drawn again. */

import * as THREE from "three";

/** Frames longer than this are late, and those longer than VERY_LATE count twice, seconds. */
const LATE = 0.12;
const VERY_LATE = 0.35;
/** Late frames in a row after which drafts begin. */
const ENOUGH = 2;
/** The view rests after so many seconds without a change; a tick counts as LONGEST at most, as input waits while a late frame is drawn. */
const REST = 0.35;
const LONGEST = 0.1;
/** When the whole would be drawn in this time again, going by the draft's frames, drafts end, seconds. */
const QUICK = 0.04;
/** Of the canvas's sides, in a draft. */
export const DRAFT_PIXELS = 0.6;
/** The layer of the splats that a draft shows. 1 and 2 are those of a headset's eyes. */
export const DRAFT_LAYER = 10;

export class Draft {
  /** Whether a draft is shown. */
  active = false;
  private late = 0;
  private quick = 0;
  private still = Infinity;
  private before = 0;
  private readonly view = new THREE.Matrix4();

  constructor(
    /** Shows the draft or the whole. */
    private readonly show: (draft: boolean) => void,
    /** How many times as many splats the whole has. */
    private readonly larger: () => number,
    /** Whether frames of the whole are known to be late. */
    private slow: boolean,
  ) {}

  /** Tell each tick of the display: the view, the time, whether a hand holds it, and how long the frame before it took to come
   * (null: none was drawn). */
  tick(view: THREE.Matrix4, seconds: number, held: boolean, frame: number | null): void {
    const moved = !view.equals(this.view);
    this.view.copy(view);
    this.still = moved ? 0 : this.still + Math.min(LONGEST, seconds - this.before);
    this.before = seconds;
    const moving = this.still < REST || (held && this.active);
    if (moved && frame !== null) this.judge(frame);
    this.set(moving && this.slow);
  }
  /** The whole again, at once. */
  stop(): void {
    this.still = Infinity;
    this.set(false);
  }
  private set(active: boolean): void {
    if (active === this.active) return;
    this.active = active;
    this.show(active);
  }
  private judge(frame: number): void {
    if (this.active) {
      this.quick = frame * this.larger() < QUICK ? this.quick + 1 : 0;
      if (this.quick >= ENOUGH) this.slow = false;
      return;
    }
    this.late = frame > LATE ? this.late + (frame > VERY_LATE ? 2 : 1) : 0;
    if (this.late >= ENOUGH) this.slow = true;
    this.quick = 0;
  }
}
