/** Lengths, angles and areas of points in the world frame (+Z up). Lengths in units of the files; no page, no three.js. */

export type Point = readonly [number, number, number];

const minus = (a: Point, b: Point): Point => [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
const dot = (a: Point, b: Point): number => a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
const cross = (a: Point, b: Point): Point => [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
export const norm = (a: Point): number => Math.hypot(a[0], a[1], a[2]);

export function distance(a: Point, b: Point): number {
  return norm(minus(a, b));
}

/** The length of a chain of points. */
export function chainLength(points: readonly Point[]): number {
  return points.slice(1).reduce((sum, p, i) => sum + distance(points[i]!, p), 0);
}

/** How much higher `a` stands than `b`, signed. */
export function heightAbove(a: Point, b: Point | number): number {
  return a[2] - (typeof b === "number" ? b : b[2]);
}

/** The angle at `at` between the directions to a and b, degrees, 0..180; NaN where a direction has no length. By Kahan's formula,
 * which keeps its precision near 0 and 180. */
export function angleDeg(a: Point, at: Point, b: Point): number {
  const [u, v] = [minus(a, at), minus(b, at)];
  const [nu, nv] = [norm(u), norm(v)];
  if (nu === 0 || nv === 0) return NaN;
  const scaled = (p: Point, s: number): Point => [p[0] * s, p[1] * s, p[2] * s];
  const [p, q] = [scaled(u, nv), scaled(v, nu)];
  const sum: Point = [p[0] + q[0], p[1] + q[1], p[2] + q[2]];
  return (360 / Math.PI) * Math.atan2(norm(minus(p, q)), norm(sum));
}

export interface Area {
  /** Of the polygon projected onto the plane that fits it. */
  area: number;
  perimeter: number;
  /** Unit normal of that plane. */
  normal: Point;
  /** The greatest distance of a point from that plane. */
  off_plane: number;
  /** Edges cross each other: the area is no meaningful number. */
  crossed: boolean;
}

/** A closed polygon of at least three points, in order. The plane goes through their mean; its normal is Newell's, which makes the
 * projected area of any closed polygon the largest. */
export function polygonArea(points: readonly Point[]): Area | null {
  if (points.length < 3) return null;
  const n = points.length;
  const mean = points.reduce<Point>((s, p) => [s[0] + p[0] / n, s[1] + p[1] / n, s[2] + p[2] / n], [0, 0, 0]);
  const local = points.map((p) => minus(p, mean));
  let vector: Point = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    const c = cross(local[i]!, local[(i + 1) % n]!);
    vector = [vector[0] + c[0] / 2, vector[1] + c[1] / 2, vector[2] + c[2] / 2];
  }
  const area = norm(vector);
  const size = Math.max(...local.map(norm));
  const flat = area > 1e-12 * size * size;
  const normal: Point = flat ? [vector[0] / area, vector[1] / area, vector[2] / area] : [0, 0, 1];
  const off = flat ? Math.max(...local.map((p) => Math.abs(dot(p, normal)))) : 0;
  return { area, perimeter: chainLength([...points, points[0]!]), normal, off_plane: off, crossed: crosses(local, normal) };
}

/** Whether edges of a polygon cross when seen along the normal. */
function crosses(points: readonly Point[], normal: Point): boolean {
  const aside: Point = Math.abs(normal[2]) < 0.9 ? [0, 0, 1] : [1, 0, 0];
  const u = cross(aside, normal);
  const v = cross(normal, u);
  const flat = points.map((p): [number, number] => [dot(p, u), dot(p, v)]);
  const n = flat.length;
  const side = (a: [number, number], b: [number, number], c: [number, number]) => (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]);
  for (let i = 0; i < n; i++)
    for (let j = i + 2; j < n; j++) {
      if (i === 0 && j === n - 1) continue; // neighbours
      const [a, b, c, d] = [flat[i]!, flat[(i + 1) % n]!, flat[j]!, flat[(j + 1) % n]!];
      if (side(a, b, c) * side(a, b, d) < 0 && side(c, d, a) * side(c, d, b) < 0) return true;
    }
  return false;
}

/** Points count as lying in a plane when they are off it by less than this share of the polygon's size (the root of its area). */
export const PLANE_TOLERANCE = 0.03;

export function inPlane(area: Area): boolean {
  return area.off_plane <= PLANE_TOLERANCE * Math.sqrt(area.area);
}
