/** Which tiles of a large scene to hold: pure, so that it can be tested. Places in the world frame of the files. */

import type { Triple } from "../manifest";

export interface Region {
  count: number;
  min: Triple;
  max: Triple;
}

export interface Eye {
  position: Triple;
  /** Planes of the view frustum (nx, ny, nz, d); inside where n.p + d >= 0. */
  planes: readonly (readonly [number, number, number, number])[];
}

/** A tile out of view counts as so many times farther away. */
const BEHIND = 3;
/** A tile that is held counts as nearer, so that small steps do not throw tiles back and forth. */
const HELD = 0.8;

/** The tiles to hold in full, most urgent first; together at most `budget` splats. */
export function chooseTiles(tiles: readonly Region[], eye: Eye, budget: number, held: ReadonlySet<number>): number[] {
  const ranked = tiles
    .map((tile, index) => ({ index, count: tile.count, rank: boxDistance(tile, eye.position) * (inView(tile, eye) ? 1 : BEHIND) * (held.has(index) ? HELD : 1) }))
    .sort((a, b) => a.rank - b.rank || a.index - b.index);
  const chosen: number[] = [];
  let left = budget;
  for (const { index, count } of ranked) {
    if (count > left) continue;
    left -= count;
    chosen.push(index);
  }
  return chosen;
}

/** From a point to the nearest point of a box; 0 inside. */
export function boxDistance({ min, max }: Pick<Region, "min" | "max">, point: ArrayLike<number>): number {
  let squared = 0;
  for (let k = 0; k < 3; k++) squared += Math.max(min[k]! - point[k]!, 0, point[k]! - max[k]!) ** 2;
  return Math.sqrt(squared);
}

/** False only when a plane of the frustum has the whole box behind it. */
function inView({ min, max }: Region, eye: Eye): boolean {
  return eye.planes.every(([x, y, z, d]) => x * (x > 0 ? max[0] : min[0]) + y * (y > 0 ? max[1] : min[1]) + z * (z > 0 ? max[2] : min[2]) + d >= 0);
}

/** For each point the tile whose box it lies in, or else the nearest one's. `places` holds x, y, z of each point. */
export function tileOfPoints(tiles: readonly Pick<Region, "min" | "max">[], places: Float32Array): Uint16Array {
  const owner = new Uint16Array(places.length / 3);
  for (let i = 0; i < owner.length; i++) {
    const place = places.subarray(3 * i, 3 * i + 3);
    let nearest = Infinity;
    for (let tile = 0; tile < tiles.length && nearest > 0; tile++) {
      const distance = boxDistance(tiles[tile]!, place);
      if (distance < nearest) {
        nearest = distance;
        owner[i] = tile;
      }
    }
  }
  return owner;
}
