/** The motion between the keyframes of a camera path, the same as recon's viewer/paths.py and viewer/curves.py: PCHIP (Fritsch and
 * Butland 1984, with the slopes of scipy's PchipInterpolator) of the camera's centre, of the quaternion wxyz of world_from_cam
 * (each with the sign nearest to the one before, then normalised), and of log(tan(vfov / 2)); scene_time is linear. A loop comes
 * back to the first keyframe at the mean interval, with periodic slopes. World frame of the files; seconds; no page, no three.js. */

export interface Keyframe {
  /** Seconds on the path's clock, rising. */
  time: number;
  /** Row-major 4x4. */
  cam_from_world: number[];
  vfov_deg: number;
  /** The moment of the scene that is shown, or null. */
  scene_time: number | null;
}

export interface CameraPath {
  fps: number;
  loop: boolean;
  keyframes: Keyframe[];
}

export interface View {
  cam_from_world: number[];
  vfov_deg: number;
  scene_time: number | null;
}

type Rows = readonly (readonly number[])[];

/** Seconds from the first keyframe to the end; in a loop, to the first one again. */
export function duration({ loop, keyframes }: CameraPath): number {
  const n = keyframes.length;
  const span = n ? keyframes[n - 1]!.time - keyframes[0]!.time : 0;
  return loop && n > 1 ? (span * n) / (n - 1) : span;
}

/** Prepared for many moments. */
export class Sampler {
  private readonly times: number[];
  private readonly centres: Rows;
  private readonly quats: Rows;
  private readonly lenses: Rows;
  /** Moments of the scene and when they are shown. */
  private readonly moments: { times: number[]; values: number[] };
  readonly duration: number;

  /** The path has at least one keyframe. */
  constructor(readonly path: CameraPath) {
    const { keyframes } = path;
    this.times = keyframes.map((k) => k.time);
    this.centres = keyframes.map((k) => centreOf(k.cam_from_world));
    this.quats = sameSide(keyframes.map((k) => quatOf(k.cam_from_world)));
    this.lenses = keyframes.map((k) => [Math.log(Math.tan((k.vfov_deg * Math.PI) / 360))]);
    this.duration = duration(path);
    this.moments = this.sceneTimes();
  }

  /** The view at a moment of the path's clock. Before its start and after its end a path rests; a loop goes on. */
  at(time: number): View {
    const start = this.times[0]!;
    let t = time;
    if (this.path.loop && this.duration > 0) t = start + ((((t - start) % this.duration) + this.duration) % this.duration);
    t = Math.min(Math.max(t, start), start + this.duration);
    const quat = this.between(this.quats, t, true);
    const [lens] = this.between(this.lenses, t);
    return {
      cam_from_world: poseFrom(this.between(this.centres, t), quat),
      vfov_deg: (360 / Math.PI) * Math.atan(Math.exp(lens!)),
      scene_time: this.sceneTime(t),
    };
  }
  /** Where the camera is, world frame. */
  centre(time: number): [number, number, number] {
    const t = Math.min(Math.max(time, this.times[0]!), this.times[0]! + this.duration);
    return this.between(this.centres, t) as [number, number, number];
  }

  private between(values: Rows, t: number, signed = false): number[] {
    const n = values.length;
    if (n === 1) return [...values[0]!];
    const { times } = this;
    const i = pieceOf(times, t);
    if (!this.path.loop) {
      const [from, to] = [Math.max(0, i - 1), i + 3]; // slopes reach no farther
      return pchip(times.slice(from, to), values.slice(from, to), t);
    }
    const sign = signed && dot(values[n - 1]!, values[0]!) < 0 ? -1 : 1;
    const here = t < times[n - 1]! ? i : n - 1; // the last piece leads back to the first keyframe
    const around = [here - 1, here, here + 1, here + 2].map((k) => {
      const round = Math.floor(k / n);
      return { knot: times[k - round * n]! + round * this.duration, value: scaled(values[k - round * n]!, round === 0 ? 1 : sign) };
    });
    const knots = around.map(({ knot }) => knot);
    const near = around.map(({ value }) => value);
    return hermite(knots.slice(1, -1), near.slice(1, -1), innerSlopes(knots, near), t);
  }
  private sceneTimes(): { times: number[]; values: number[] } {
    const known = this.path.keyframes.filter((k) => k.scene_time !== null);
    const times = known.map((k) => k.time);
    const values = known.map((k) => k.scene_time!);
    if (this.path.loop && this.path.keyframes[0]!.scene_time !== null) {
      times.push(this.times[0]! + this.duration);
      values.push(values[0]!);
    }
    return { times, values };
  }
  private sceneTime(t: number): number | null {
    const { times, values } = this.moments;
    if (!times.length) return null;
    if (times.length === 1 || t <= times[0]!) return values[0]!;
    const i = pieceOf(times, t);
    const u = Math.min(1, (t - times[i]!) / (times[i + 1]! - times[i]!));
    return values[i]! + u * (values[i + 1]! - values[i]!);
  }
}

/** The piece between two of at least two rising knots that t lies in; the first or the last one beyond the ends. */
function pieceOf(knots: readonly number[], t: number): number {
  let [low, high] = [0, knots.length - 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (knots[middle]! <= t) low = middle;
    else high = middle;
  }
  return low;
}

/** Values [K][D] at knots [K], K >= 2, at t within the knots. */
export function pchip(knots: readonly number[], values: Rows, t: number): number[] {
  const n = knots.length;
  const secant = (i: number, d: number) => (values[i + 1]![d]! - values[i]![d]!) / (knots[i + 1]! - knots[i]!);
  const width = values[0]!.length;
  const all = <T>(make: (d: number) => T) => Array.from({ length: width }, (_, d) => make(d));
  if (n === 2) {
    const slope = all((d) => secant(0, d));
    return hermite(knots, values, [slope, slope], t);
  }
  const step = (i: number) => knots[i + 1]! - knots[i]!;
  const first = all((d) => endSlope(step(0), step(1), secant(0, d), secant(1, d)));
  const last = all((d) => endSlope(step(n - 2), step(n - 3), secant(n - 2, d), secant(n - 3, d)));
  return hermite(knots, values, [first, ...innerSlopes(knots, values), last], t);
}

/** At each inner knot the weighted harmonic mean of the secants before and after it, 0 where these differ in sign. */
function innerSlopes(knots: readonly number[], values: Rows): number[][] {
  return values.slice(1, -1).map((value, j) => {
    const [h0, h1] = [knots[j + 1]! - knots[j]!, knots[j + 2]! - knots[j + 1]!];
    const [w1, w2] = [2 * h1 + h0, h1 + 2 * h0];
    return value.map((v, d) => {
      const before = (v - values[j]![d]!) / h0;
      const after = (values[j + 2]![d]! - v) / h1;
      return before * after > 0 ? (w1 + w2) / (w1 / before + w2 / after) : 0;
    });
  });
}

/** Three-point slope at an end, cut so that the end piece keeps the shape of its values. */
function endSlope(step: number, beyond: number, secant: number, next: number): number {
  const slope = ((2 * step + beyond) * secant - step * next) / (step + beyond);
  if (Math.sign(slope) !== Math.sign(secant)) return 0;
  return Math.sign(secant) !== Math.sign(next) && Math.abs(slope) > 3 * Math.abs(secant) ? 3 * secant : slope;
}

function hermite(knots: readonly number[], values: Rows, slopes: Rows, t: number): number[] {
  let i = 0;
  while (i < knots.length - 2 && knots[i + 1]! <= t) i++;
  const step = knots[i + 1]! - knots[i]!;
  const u = (t - knots[i]!) / step;
  return values[i]!.map((start, d) => {
    const pull = step * ((u - 2 * u ** 2 + u ** 3) * slopes[i]![d]! + (u ** 3 - u ** 2) * slopes[i + 1]![d]!);
    return start + (3 * u ** 2 - 2 * u ** 3) * (values[i + 1]![d]! - start) + pull;
  });
}

const dot = (a: readonly number[], b: readonly number[]) => a.reduce((sum, x, i) => sum + x * b[i]!, 0);
const scaled = (a: readonly number[], s: number) => a.map((x) => s * x);

/** Each quaternion with the sign that has a positive dot product with the one before. */
function sameSide(quats: Rows): number[][] {
  const out: number[][] = [];
  for (const q of quats) out.push(out.length && dot(out[out.length - 1]!, q) < 0 ? scaled(q, -1) : [...q]);
  return out;
}

/** Where the camera stands: -R' t. */
export function centreOf(m: readonly number[]): [number, number, number] {
  const [x, y, z] = [m[3]!, m[7]!, m[11]!];
  return [0, 1, 2].map((k) => -(m[k]! * x + m[4 + k]! * y + m[8 + k]! * z)) as [number, number, number];
}

/** The quaternion wxyz of world_from_cam: of the transposed rotation. By the largest of the four components, which keeps precision. */
function quatOf(m: readonly number[]): number[] {
  const r = (i: number, j: number) => m[4 * j + i]!;
  const trace = r(0, 0) + r(1, 1) + r(2, 2);
  const squares = [trace, 2 * r(0, 0) - trace, 2 * r(1, 1) - trace, 2 * r(2, 2) - trace]; // 4 q^2 - 1
  const largest = squares.indexOf(Math.max(...squares));
  const s = 2 * Math.sqrt(1 + squares[largest]!);
  const [x, y, z] = [r(2, 1) - r(1, 2), r(0, 2) - r(2, 0), r(1, 0) - r(0, 1)];
  const [xy, xz, yz] = [r(0, 1) + r(1, 0), r(0, 2) + r(2, 0), r(1, 2) + r(2, 1)];
  const rows = [
    [s * s / 4, x, y, z],
    [x, s * s / 4, xy, xz],
    [y, xy, s * s / 4, yz],
    [z, xz, yz, s * s / 4],
  ];
  return scaled(rows[largest]!, 1 / s);
}

function poseFrom(centre: readonly number[], quat: readonly number[]): number[] {
  const length = Math.hypot(...quat);
  const [w, x, y, z] = quat.map((v) => v / length) as [number, number, number, number];
  // rows of cam_from_world are columns of world_from_cam
  const rows = [
    [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
    [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
    [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
  ];
  return [...rows.flatMap((row) => [...row, -dot(row, centre)]), 0, 0, 0, 1];
}
