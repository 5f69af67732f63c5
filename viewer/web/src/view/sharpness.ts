/** Fewer pixels while a scene moves on a device that draws slowly: as few as keep up, no fewer than can be looked at. When it rests, all. */

/** What a frame may take, seconds. */
const WANTED = 0.07;
/** Shares of the canvas's sides. */
export const STEPS = [1, 0.8, 0.65, 0.5, 0.4, 0.33] as const;
/** It rests after so many seconds. */
const REST = 0.4;
/** Frames that are judged together. */
const WINDOW = 3;
/** A sharper step is taken when its frames, by their pixels, would come so early. */
const EARLY = 0.6;
/** Fewer pixels stay only where frames come in this share of the time before. */
const WORTH = 0.85;

export class Sharpness {
  private level = 0;
  /** A coarser step than this one was tried, and brought nothing: it is not pixels that take the time. */
  private coarsest: number = STEPS.length - 1;
  private tried: { level: number; usual: number } | null = null;
  private frames: number[] = [];
  private still = Infinity;
  private before = 0;

  constructor(
    /** Sets the share of the canvas's sides that is drawn. */
    private readonly set: (share: number) => void,
  ) {}

  /** Tell each tick of the display: whether something moves, the time, and how long the frame before it took to come (null: none was drawn). */
  tick(moves: boolean, seconds: number, frame: number | null): void {
    this.still = moves ? 0 : this.still + Math.min(0.1, seconds - this.before);
    this.before = seconds;
    if (this.still >= REST) {
      this.frames = [];
      this.coarsest = STEPS.length - 1;
      return this.set(1);
    }
    if (moves && frame !== null) this.judge(frame);
    this.set(STEPS[this.level]!);
  }
  /** The whole again, at once. */
  stop(): void {
    this.still = Infinity;
    this.frames = [];
    this.set(1);
  }
  private judge(frame: number): void {
    this.frames.push(frame);
    if (this.frames.length < WINDOW) return;
    const usual = this.frames.sort((a, b) => a - b)[WINDOW >> 1]!;
    this.frames = [];
    const { tried } = this;
    this.tried = null;
    if (tried && usual > WORTH * tried.usual) {
      this.level = this.coarsest = tried.level;
      return;
    }
    const share = STEPS[this.level]!;
    const takes = (level: number) => usual * (STEPS[level]! / share) ** 2;
    if (usual > WANTED && this.level < this.coarsest) {
      this.tried = { level: this.level, usual };
      while (this.level < this.coarsest && takes(this.level) > WANTED) this.level++;
    } else if (this.level > 0 && takes(this.level - 1) < EARLY * WANTED) this.level--;
  }
}
