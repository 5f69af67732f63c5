/** The crop box: upright, turned about +Z. World frame of the files; lengths in its units. */

import * as THREE from "three";
import type { Triple } from "../manifest";

export interface CropBox {
  centre: Triple;
  /** Half of the extents along the box's own axes; positive. */
  half: Triple;
  /** Turn about +Z, degrees, counter-clockwise from above. */
  yaw_deg: number;
}

/** A side of the box: its axis, and the end of it. */
export interface Side {
  axis: 0 | 1 | 2;
  sign: 1 | -1;
}
export const SIDES: readonly Side[] = ([0, 1, 2] as const).flatMap((axis) => [{ axis, sign: 1 } as Side, { axis, sign: -1 } as Side]);

/** The box's own axes in the world frame: unit vectors. */
export function axesOf(box: CropBox): [THREE.Vector3, THREE.Vector3, THREE.Vector3] {
  const yaw = THREE.MathUtils.degToRad(box.yaw_deg);
  return [new THREE.Vector3(Math.cos(yaw), Math.sin(yaw), 0), new THREE.Vector3(-Math.sin(yaw), Math.cos(yaw), 0), new THREE.Vector3(0, 0, 1)];
}

export function quaternionOf(box: CropBox): THREE.Quaternion {
  return new THREE.Quaternion().setFromAxisAngle(new THREE.Vector3(0, 0, 1), THREE.MathUtils.degToRad(box.yaw_deg));
}

/** The middle of a side. */
export function sideCentre(box: CropBox, side: Side): THREE.Vector3 {
  return new THREE.Vector3(...box.centre).addScaledVector(axesOf(box)[side.axis], side.sign * box.half[side.axis]);
}

/** Move one side along its axis to `along` (from the centre, positive towards +axis); the opposite side stays. */
export function moveSide(box: CropBox, side: Side, along: number, least: number): CropBox {
  const half = box.half[side.axis];
  const opposite = -side.sign * half;
  const moved = side.sign > 0 ? Math.max(along, opposite + 2 * least) : Math.min(along, opposite - 2 * least);
  const centre = new THREE.Vector3(...box.centre).addScaledVector(axesOf(box)[side.axis], (moved + opposite) / 2);
  const halves: Triple = [...box.half];
  halves[side.axis] = Math.abs(moved - opposite) / 2;
  return { ...box, centre: centre.toArray(), half: halves };
}

/** The eight corners; bit k of the index says which end of axis k. */
export function corners(box: CropBox): THREE.Vector3[] {
  const axes = axesOf(box);
  return Array.from({ length: 8 }, (_, i) => {
    const corner = new THREE.Vector3(...box.centre);
    for (const k of [0, 1, 2] as const) corner.addScaledVector(axes[k], (i >> k) & 1 ? box.half[k] : -box.half[k]);
    return corner;
  });
}

/** Pairs of corners. */
export const EDGES: readonly [number, number][] = Array.from({ length: 8 }, (_, i) => i).flatMap((i) =>
  [1, 2, 4].filter((bit) => !(i & bit)).map((bit): [number, number] => [i, i | bit]),
);

/** Planes whose positive sides together are the inside. */
export function planes(box: CropBox): THREE.Plane[] {
  return SIDES.map((side) => {
    const inwards = axesOf(box)[side.axis].multiplyScalar(-side.sign);
    return new THREE.Plane().setFromNormalAndCoplanarPoint(inwards, sideCentre(box, side));
  });
}

/** Where a ray is inside: from and to in lengths of `direction`, or null. */
export function clipInterval(box: CropBox, origin: THREE.Vector3, direction: THREE.Vector3): [number, number] | null {
  const from = origin.clone().sub(new THREE.Vector3(...box.centre));
  let [enter, leave] = [0, Infinity];
  for (const [k, axis] of axesOf(box).entries()) {
    const [o, d] = [from.dot(axis), direction.dot(axis)];
    const half = box.half[k]!;
    if (Math.abs(d) < 1e-12) {
      if (Math.abs(o) > half) return null;
      continue;
    }
    const [a, b] = [(-half - o) / d, (half - o) / d];
    enter = Math.max(enter, Math.min(a, b));
    leave = Math.min(leave, Math.max(a, b));
  }
  return enter < leave ? [enter, leave] : null;
}

/** Where along a line (from its origin, in lengths of the unit vector `axis`) it comes nearest to a ray; null when they are parallel. */
export function nearestOnLine(origin: THREE.Vector3, axis: THREE.Vector3, ray: THREE.Ray): number | null {
  const w = origin.clone().sub(ray.origin);
  const b = axis.dot(ray.direction);
  const c = ray.direction.dot(ray.direction);
  const denominator = c - b * b;
  if (denominator < 1e-9 * c) return null;
  return (b * ray.direction.dot(w) - c * axis.dot(w)) / denominator;
}

/** What a link says, or null where it does not fit. */
export function readCrop(value: unknown): CropBox | null {
  if (!Array.isArray(value) || value.length !== 7 || !value.every((v) => typeof v === "number" && Number.isFinite(v) && Math.abs(v) < 1e9)) return null;
  const [x, y, z, a, b, c, yaw] = value as number[] as [number, number, number, number, number, number, number];
  return a > 0 && b > 0 && c > 0 ? { centre: [x, y, z], half: [a, b, c], yaw_deg: yaw } : null;
}

export function writeCrop(box: CropBox): number[] {
  return [...box.centre, ...box.half, box.yaw_deg];
}
