/** Where the camera is, as numbers that can be moved smoothly: one state for all modes, so that changing the mode never moves the picture.
 *
 * In the frame of three.js (+Y up). The camera stands `reach` behind the pivot. Round the place (orbit) the pivot is what the camera turns
 * round; flying and walking, reach is 0 and the pivot is the eye. Yaw turns about +Y, pitch looks up, roll tilts the head; yaw 0 looks along -Z. */

import * as THREE from "three";
import type { Pose } from "./frames";

export interface Motion {
  pivot: THREE.Vector3;
  reach: number;
  yaw: number;
  pitch: number;
  roll: number;
}

/** Looking straight up or down leaves no direction ahead. */
export const MAX_PITCH = (89 * Math.PI) / 180;

export function copyMotion(m: Motion): Motion {
  return { ...m, pivot: m.pivot.clone() };
}

export function quaternionOf({ yaw, pitch, roll }: Motion): THREE.Quaternion {
  return new THREE.Quaternion().setFromEuler(new THREE.Euler(pitch, yaw, roll, "YXZ"));
}

export function poseOfMotion(m: Motion): Pose {
  const quaternion = quaternionOf(m);
  return { quaternion, position: new THREE.Vector3(0, 0, m.reach).applyQuaternion(quaternion).add(m.pivot) };
}

/** The state of a pose whose pivot lies `reach` ahead. */
export function motionOfPose(pose: Pose, reach: number): Motion {
  const { x, y, z } = new THREE.Euler().setFromQuaternion(pose.quaternion, "YXZ");
  const pivot = new THREE.Vector3(0, 0, -reach).applyQuaternion(pose.quaternion).add(pose.position);
  return { pivot, reach, yaw: y, pitch: x, roll: z };
}

/** The same pose with the pivot elsewhere on the line of sight. */
export function withReach(m: Motion, reach: number): Motion {
  const ahead = new THREE.Vector3(0, 0, -1).applyQuaternion(quaternionOf(m));
  return { ...m, pivot: m.pivot.clone().addScaledVector(ahead, reach - m.reach), reach };
}

/** Move towards a goal; `share` of the way that is left. Reach is moved by its ratio, angles the short way. */
export function approach(m: Motion, goal: Motion, share: number): void {
  if (m.reach > 0 && goal.reach > 0) m.reach *= (goal.reach / m.reach) ** share;
  else m.reach = goal.reach;
  m.pivot.lerp(goal.pivot, share);
  m.yaw += share * shortAngle(goal.yaw - m.yaw);
  m.pitch += share * (goal.pitch - m.pitch);
  m.roll += share * shortAngle(goal.roll - m.roll);
}

/** An angle brought to -pi..pi. */
export function shortAngle(angle: number): number {
  return angle - 2 * Math.PI * Math.round(angle / (2 * Math.PI));
}

/** How far two states lie apart, in units of what can be seen: lengths by `scale`. */
export function difference(a: Motion, b: Motion, scale: number): number {
  const lengths = a.pivot.distanceTo(b.pivot) + Math.abs(a.reach - b.reach);
  return lengths / scale + Math.abs(shortAngle(a.yaw - b.yaw)) + Math.abs(a.pitch - b.pitch) + Math.abs(shortAngle(a.roll - b.roll));
}

/** Move the camera towards (factor < 1) or away from a place, which stays on its pixel; the pivot comes along. */
export function zoomAbout(m: Motion, anchor: THREE.Vector3, factor: number): void {
  m.pivot.sub(anchor).multiplyScalar(factor).add(anchor);
  m.reach *= factor;
}

/** Where the camera may be. */
export interface Bounds {
  centre: THREE.Vector3;
  radius: number;
  /** Nothing goes below it; -Infinity: anything may. */
  lowest: number;
}

/** A reach, shortened where what a pose would turn round lies under the floor: raising it at the first touch would make the picture leap. */
export function reachAboveFloor({ position, quaternion }: Pose, reach: number, lowest: number): number {
  const down = -new THREE.Vector3(0, 0, -1).applyQuaternion(quaternion).y;
  const room = position.y - lowest;
  return room > 0 && down * reach > room ? room / down : reach;
}

/** Keep the camera of a state within bounds: it is moved with its pivot, or raised round its pivot when it is under the floor. */
export function confine(m: Motion, { centre, radius, lowest }: Bounds): void {
  m.pitch = THREE.MathUtils.clamp(m.pitch, -MAX_PITCH, MAX_PITCH);
  if (m.reach > 2 * radius) m.reach = 2 * radius;
  const away = m.pivot.clone().sub(centre);
  if (away.length() > radius) m.pivot.copy(centre).addScaledVector(away.normalize(), radius);
  if (m.pivot.y < lowest) m.pivot.y = lowest;
  const low = poseOfMotion(m).position.y;
  if (low >= lowest) return;
  // position.y = pivot.y - reach sin(pitch)
  if (m.reach > 0) m.pitch = Math.max(-MAX_PITCH, Math.min(m.pitch, Math.asin(THREE.MathUtils.clamp((m.pivot.y - lowest) / m.reach, -1, 1))));
}
