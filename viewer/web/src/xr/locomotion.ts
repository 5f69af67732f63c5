/** How a person moves through the place, as pure functions.
 *
 * Notation. `room`: the reference space of the headset, metres, +Y up, in which the camera of three.js lives. `place`: the frame of
 * the files turned to +Y up, in units of the files. A Placement is room_from_place: p_room = scale * Ry(yaw) * p_place + position.
 * Whoever walks forward moves the place backward. Angles are radians; a heading of 0 looks along -Z, and positive turns left. */

import * as THREE from "three";
import type { Pose } from "../view/frames";

export interface Placement {
  readonly position: THREE.Vector3;
  readonly yaw: number;
  readonly scale: number;
}
export interface Stick {
  x: number;
  /** Forward is negative, as the gamepads say it. */
  y: number;
}

export const UP = new THREE.Vector3(0, 1, 0);
const GRAVITY = 9.81;
const STICK_REST = 0.15;
const TURN_ON = 0.7;
const TURN_OFF = 0.35;
/** Hands closer than this over the ground (metres) say nothing about a heading. */
const NO_HEADING = 0.03;

export const HOME: Placement = { position: new THREE.Vector3(), yaw: 0, scale: 1 };

export function toRoom(placement: Placement, place: THREE.Vector3): THREE.Vector3 {
  return place.clone().multiplyScalar(placement.scale).applyAxisAngle(UP, placement.yaw).add(placement.position);
}
export function toPlace(placement: Placement, room: THREE.Vector3): THREE.Vector3 {
  return room.clone().sub(placement.position).applyAxisAngle(UP, -placement.yaw).divideScalar(placement.scale);
}
export function putRig(rig: THREE.Object3D, placement: Placement): void {
  rig.position.copy(placement.position);
  rig.quaternion.setFromAxisAngle(UP, placement.yaw);
  rig.scale.setScalar(placement.scale);
  rig.updateMatrixWorld(true);
}

/** The placement after what is at `from` in the room went to `to`, and everything turned and grew round it. */
export function similar(placement: Placement, from: THREE.Vector3, to: THREE.Vector3, angle = 0, factor = 1): Placement {
  const position = placement.position.clone().sub(from).multiplyScalar(factor).applyAxisAngle(UP, angle).add(to);
  return { position, yaw: wrap(placement.yaw + angle), scale: placement.scale * factor };
}
export function wrap(angle: number): number {
  return angle - 2 * Math.PI * Math.round(angle / (2 * Math.PI));
}

/** Which way somebody looks, over the ground. Who looks straight down or up looks to where the top of the head or the chin points. */
export function heading(quaternion: THREE.Quaternion): number {
  const ahead = new THREE.Vector3(0, 0, -1).applyQuaternion(quaternion);
  if (Math.hypot(ahead.x, ahead.z) < 0.2) ahead.set(0, ahead.y < 0 ? 1 : -1, 0).applyQuaternion(quaternion);
  return Math.atan2(-ahead.x, -ahead.z);
}
/** The part of a rotation that turns about up. */
export function twist(rotation: THREE.Quaternion): number {
  return wrap(2 * Math.atan2(rotation.y, rotation.w));
}

/** The person goes `step` metres over the ground: the place comes towards them. */
export function walked(placement: Placement, step: THREE.Vector3): Placement {
  return similar(placement, step, new THREE.Vector3());
}
/** Metres to go in `seconds` when a stick is held; forward is where the head looks. */
export function stickStep(stick: Stick, head: THREE.Quaternion, speed: number, seconds: number): THREE.Vector3 {
  const length = Math.hypot(stick.x, stick.y);
  const size = rested(length);
  if (size === 0) return new THREE.Vector3();
  return new THREE.Vector3(stick.x, 0, stick.y).multiplyScalar((size * speed * seconds) / length).applyAxisAngle(UP, heading(head));
}
/** 0 near the rest of a stick, 1 at its end, smooth between. */
export function rested(value: number): number {
  const size = Math.min(1, Math.max(0, (Math.abs(value) - STICK_REST) / (1 - STICK_REST)));
  return Math.sign(value) * size;
}
/** The person turns right by `angle` where they stand: the place turns left round their head. */
export function turnedRight(placement: Placement, head: THREE.Vector3, angle: number): Placement {
  return similar(placement, head, head, angle);
}
/** One turn for each push of the stick. */
export class SnapTurn {
  private pushed = false;

  /** -1 left, 1 right, 0 nothing new. */
  push(x: number): -1 | 0 | 1 {
    if (Math.abs(x) < TURN_OFF) this.pushed = false;
    if (this.pushed || Math.abs(x) < TURN_ON) return 0;
    this.pushed = true;
    return x > 0 ? 1 : -1;
  }
}

/** The place follows one hand: it moves with it and turns about up with it, so that what the hand holds stays in the hand. */
export function oneHand(held: Placement, before: Pose, now: Pose): Placement {
  const turn = twist(now.quaternion.clone().multiply(before.quaternion.clone().invert()));
  return similar(held, before.position, now.position, turn);
}
/** The place follows two hands: their middle moves it, their bearing turns it about up, their distance scales it about the middle. */
export function twoHands(
  held: Placement,
  before: readonly [THREE.Vector3, THREE.Vector3],
  now: readonly [THREE.Vector3, THREE.Vector3],
  limits: readonly [number, number],
): Placement {
  const middle = (pair: readonly [THREE.Vector3, THREE.Vector3]) => pair[0].clone().add(pair[1]).multiplyScalar(0.5);
  const [a, b] = [before[1].clone().sub(before[0]), now[1].clone().sub(now[0])];
  const level = Math.min(Math.hypot(a.x, a.z), Math.hypot(b.x, b.z));
  const angle = level < NO_HEADING ? 0 : wrap(Math.atan2(-b.z, b.x) - Math.atan2(-a.z, a.x));
  const factor = clampedFactor(held.scale, b.length() / Math.max(a.length(), 1e-3), limits);
  return similar(held, middle(before), middle(now), angle, factor);
}
export function clampedFactor(scale: number, factor: number, [min, max]: readonly [number, number]): number {
  return Math.min(max, Math.max(min, scale * factor)) / scale;
}

/** The curve of a teleport: a throw of `speed` metres a second; points `seconds` apart. */
export function arc(origin: THREE.Vector3, direction: THREE.Vector3, speed: number, points = 40, seconds = 0.05): THREE.Vector3[] {
  const velocity = direction.clone().normalize().multiplyScalar(speed);
  return Array.from({ length: points }, (_, i) => {
    const t = i * seconds;
    return velocity.clone().multiplyScalar(t).add(origin).addScaledVector(UP, (-GRAVITY * t * t) / 2);
  });
}
/** Where a curve comes down first, and the curve up to there. `hit(a, b)`: where the way from a to b meets the ground, or null. */
export function landing(
  curve: readonly THREE.Vector3[],
  hit: (a: THREE.Vector3, b: THREE.Vector3) => THREE.Vector3 | null,
): { curve: THREE.Vector3[]; at: THREE.Vector3 | null } {
  for (let i = 1; i < curve.length; i++) {
    const at = hit(curve[i - 1]!, curve[i]!);
    if (at) return { curve: [...curve.slice(0, i), at], at };
  }
  return { curve: [...curve], at: null };
}
/** Where the way from a to b goes down through the height y. */
export function hitLevel(a: THREE.Vector3, b: THREE.Vector3, y: number): THREE.Vector3 | null {
  if (!(a.y >= y && b.y < y)) return null;
  return a.clone().lerp(b, (a.y - y) / (a.y - b.y));
}
/** The person stands at `at` (room): that spot comes under the head and to the height of the ground they stand on. */
export function stoodAt(placement: Placement, head: THREE.Vector3, at: THREE.Vector3, ground: number): Placement {
  return similar(placement, at, new THREE.Vector3(head.x, ground, head.z));
}
