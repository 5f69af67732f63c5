/** How far a place reaches, from its splats: without the few that float far away. World frame of the files. */

import type { Pickable } from "../content/pick";
import type { Triple } from "../manifest";

export interface Box {
  min: Triple;
  max: Triple;
}

/** Beyond each side of the box lies at most this share of all alpha. */
const TAIL = 5e-3;
/** Of more splats, evenly chosen ones are looked at. */
const MOST_LOOKED_AT = 50_000;
/** Wider by this share on all sides, so that no wall lies in a side. */
const ROOM = 0.03;

/** The box of all splats but the outermost ones, each counted by its alpha. It holds the subject; null without splats. */
export function extentOf(sets: readonly Pickable[], subject: Box): Box | null {
  const every = Math.ceil(sets.reduce((sum, set) => sum + set.count, 0) / MOST_LOOKED_AT);
  const places: number[] = [];
  const weights: number[] = [];
  for (const { count, mean, alphaScale } of sets)
    for (let i = 0; i < count; i += every) {
      places.push(mean[3 * i]!, mean[3 * i + 1]!, mean[3 * i + 2]!);
      weights.push(alphaScale[4 * i]!);
    }
  const all = weights.reduce((sum, weight) => sum + weight, 0);
  if (all === 0) return null;
  const box: Box = { min: [0, 0, 0], max: [0, 0, 0] };
  for (const k of [0, 1, 2] as const) {
    const rising = Uint32Array.from(weights, (_, i) => i).sort((i, j) => places[3 * i + k]! - places[3 * j + k]!);
    const low = places[3 * tailOf(rising, weights, TAIL * all) + k]!;
    const high = places[3 * tailOf(rising.reverse(), weights, TAIL * all) + k]!;
    const room = ROOM * Math.max(high - low, subject.max[k] - subject.min[k]);
    box.min[k] = Math.min(low, subject.min[k]) - room;
    box.max[k] = Math.max(high, subject.max[k]) + room;
  }
  return box;
}

/** The first one in an order with which the sum of weights passes an amount. */
function tailOf(order: Uint32Array, weights: readonly number[], amount: number): number {
  let passed = 0;
  for (const i of order) {
    passed += weights[i]!;
    if (passed > amount) return i;
  }
  return order[order.length - 1]!;
}
