/** Where the place is put when a session begins: life-size round the person, or small on a table. Pure functions; frames as in locomotion.ts. */

import * as THREE from "three";
import type { Manifest, Triple } from "../manifest";
import { type Pose, poseOf, toYup } from "../view/frames";
import { heading, type Placement, UP } from "./locomotion";

/** The eyes of somebody who stands, where the headset does not know the floor. */
export const EYE_HEIGHT = 1.6;
/** How high people hold a camera. */
const CAMERA_HEIGHT = 1.5;
const LOW_CAMERAS = 1;
/** A scene of unknown scale comes out no smaller and no larger than this, metres along its longest side. */
const GUESS = [1, 40] as const;
const GUESS_WITHOUT_FLOOR = 4;
/** Things smaller than this are not put on the floor but on a table. */
const SMALL = 0.8;
export const TABLE_SIZE = 0.6;
const TABLE_AWAY = 0.85;

/** The person: where the head is, and how high the ground is that they stand on. */
export interface Person {
  head: Pose;
  ground: number;
}
export interface Scene {
  /** +Y up, units of the files; `floor`: what people stand on. */
  min: THREE.Vector3;
  max: THREE.Vector3;
  floor: number | null;
}

export function sceneOf(manifest: Manifest): Scene {
  const corners = [toYup(manifest.bounds.min), toYup(manifest.bounds.max)] as const;
  return { min: corners[0].clone().min(corners[1]), max: corners[0].clone().max(corners[1]), floor: manifest.floor };
}
export function longestSide(scene: Scene): number {
  const size = scene.max.clone().sub(scene.min);
  return Math.max(size.x, size.y, size.z) || 1;
}
/** Metres in one unit: what is known, else guessed from how high cameras are held, else from the size of the scene. */
export function lifeSize(scene: Scene, known: number | null, cameras: readonly { cam_from_world: number[] }[]): number {
  if (known !== null) return known;
  const longest = longestSide(scene);
  const { floor } = scene;
  if (floor === null || cameras.length === 0) return GUESS_WITHOUT_FLOOR / longest;
  const median = cameraHeight(cameras) - floor;
  const size = median > 0 ? (CAMERA_HEIGHT / median) * longest : GUESS_WITHOUT_FLOOR;
  return Math.min(GUESS[1], Math.max(GUESS[0], size)) / longest;
}
/** The height (place) that people stand on: the floor of the files, which is the ground under the subject. Where the cameras were held low
 * over it, it is a table, and people stand below it. */
export function standLevel(scene: Scene, life: number, cameras: readonly { cam_from_world: number[] }[]): number | null {
  if (scene.floor === null || cameras.length === 0) return scene.floor;
  const height = cameraHeight(cameras);
  return (height - scene.floor) * life < LOW_CAMERAS ? Math.min(scene.floor, height - CAMERA_HEIGHT / life) : scene.floor;
}
function cameraHeight(cameras: readonly { cam_from_world: number[] }[]): number {
  const heights = cameras.map((camera) => poseOf(camera.cam_from_world).position.y).sort((a, b) => a - b);
  return heights[heights.length >> 1]!;
}
/** How small and how large the place may be made with the hands. */
export function scaleLimits(scene: Scene, life: number): [number, number] {
  const longest = longestSide(scene);
  return [Math.min(0.1 / longest, life / 10), Math.max(100 / longest, life * 10)];
}

/** Life-size: the person stands where `camera` (place) stood and looks where it looked, on the floor. */
export function standing(scene: Scene, camera: Pose, person: Person, scale: number): Placement {
  const yaw = heading(person.head.quaternion) - heading(camera.quaternion);
  const spot = nearby(scene, camera.position);
  const position = spot.clone().multiplyScalar(-scale).applyAxisAngle(UP, yaw).add(person.head.position);
  if (scene.floor !== null) position.y = person.ground - scale * scene.floor;
  return { position, yaw, scale };
}
/** Nobody begins so far outside that there is nothing to see: within one length of the scene from its middle. */
function nearby(scene: Scene, from: THREE.Vector3): THREE.Vector3 {
  const middle = scene.min.clone().add(scene.max).multiplyScalar(0.5);
  const away = from.clone().sub(middle).setY(0);
  const most = longestSide(scene);
  if (away.length() > most) away.setLength(most);
  return middle.add(away).setY(from.y);
}
/** The height (place) that the person stands on: the floor, or what is under the camera where no floor is known. */
export function footLevel(scene: Scene, placement: Placement, person: Person): number {
  return scene.floor ?? (person.ground - placement.position.y) / placement.scale;
}

/** The bottom of the scene's middle stands at `at` (room), as the person looks; `scale` null: the longer side of its ground is TABLE_SIZE. */
export function onTable(scene: Scene, at: THREE.Vector3, yaw: number, scale: number | null): Placement {
  const size = scene.max.clone().sub(scene.min);
  const s = scale ?? TABLE_SIZE / (Math.max(size.x, size.z) || longestSide(scene));
  const bottom = scene.min.clone().add(scene.max).multiplyScalar(0.5).setY(scene.min.y);
  return { position: bottom.multiplyScalar(-s).applyAxisAngle(UP, yaw).add(at), yaw, scale: s };
}
/** A table in front of the person, at the height of a table for somebody who stands or sits. */
export function tableSpot(person: Person): THREE.Vector3 {
  const { position, quaternion } = person.head;
  const eyes = position.y - person.ground;
  const height = Math.max(0.4, Math.min(0.85, eyes - 0.55));
  const ahead = new THREE.Vector3(0, 0, -TABLE_AWAY).applyAxisAngle(UP, heading(quaternion));
  return new THREE.Vector3(position.x, person.ground + height, position.z).add(ahead);
}
/** The yaw that turns the scene on the table as the page's camera saw it. */
export function tableYaw(person: Person, camera: Pose): number {
  return heading(person.head.quaternion) - heading(camera.quaternion);
}
export function isSmall(scene: Scene, scale: number): boolean {
  return longestSide(scene) * scale < SMALL;
}
/** The box of the scene in the world frame of the files, for cropping: a little larger than what it says. */
export function cropBox(bounds: { min: Triple; max: Triple }): { centre: THREE.Vector3; half: THREE.Vector3 } {
  const [min, max] = [new THREE.Vector3(...bounds.min), new THREE.Vector3(...bounds.max)];
  return { centre: min.clone().add(max).multiplyScalar(0.5), half: max.sub(min).multiplyScalar(0.5 * 1.05) };
}
