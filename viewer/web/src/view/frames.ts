/** Frames. Files are in the world frame (+Z up, right-handed) with OpenCV cameras; three.js works in a frame with +Y up and
 * cameras that look along -Z. Everything read from files hangs under a group turned by YUP_FROM_WORLD; nothing else converts. */

import * as THREE from "three";
import type { CapturedCamera, Triple } from "../manifest";

/** (x, y, z) -> (x, z, -y). */
export const YUP_FROM_WORLD = new THREE.Quaternion().setFromAxisAngle(new THREE.Vector3(1, 0, 0), -Math.PI / 2);
/** No start looks through a wider angle than this: beyond it, what is at the edges is drawn out. */
const WIDEST_DEG = 75;
const WORLD_FROM_YUP = YUP_FROM_WORLD.clone().invert();
/** OpenCV's camera axes in those of three.js: y and z are turned round. */
const FLIP = new THREE.Matrix4().makeScale(1, -1, -1);

export function toYup(world: Triple | THREE.Vector3): THREE.Vector3 {
  const v = world instanceof THREE.Vector3 ? world.clone() : new THREE.Vector3(...world);
  return v.applyQuaternion(YUP_FROM_WORLD);
}

/** Where a camera stands and how it is turned, in the frame of three.js. */
export interface Pose {
  position: THREE.Vector3;
  quaternion: THREE.Quaternion;
}

/** The pose of cam_from_world (row-major 4x4, OpenCV). */
export function poseOf(camFromWorld: readonly number[]): Pose {
  const m = new THREE.Matrix4().set(...(camFromWorld as Parameters<THREE.Matrix4["set"]>)).invert();
  m.premultiply(new THREE.Matrix4().makeRotationFromQuaternion(YUP_FROM_WORLD)).multiply(FLIP);
  const position = new THREE.Vector3();
  const quaternion = new THREE.Quaternion();
  m.decompose(position, quaternion, new THREE.Vector3());
  return { position, quaternion };
}

/** cam_from_world (row-major 4x4, OpenCV) of a pose. */
export function camFromWorld(pose: Pose): number[] {
  const m = new THREE.Matrix4().compose(pose.position, pose.quaternion, new THREE.Vector3(1, 1, 1));
  m.premultiply(new THREE.Matrix4().makeRotationFromQuaternion(WORLD_FROM_YUP)).multiply(FLIP).invert();
  return m.transpose().toArray();
}

/** What a camera sees: a symmetric angle, or exactly what a captured camera saw. */
export type Lens = { vfov_deg: number } | { K: readonly [number, number, number, number]; size: readonly [number, number] };

export function lensOf(camera: CapturedCamera): Lens {
  return { K: camera.K, size: camera.size };
}

/** Where the picture of a lens lies in a canvas, in canvas pixels: the whole canvas, or the photo's frame fitted into it. */
export function frameOf(lens: Lens, width: number, height: number): { x: number; y: number; width: number; height: number } {
  if ("vfov_deg" in lens) return { x: 0, y: 0, width, height };
  const scale = Math.min(width / lens.size[0], height / lens.size[1]);
  const [w, h] = [lens.size[0] * scale, lens.size[1] * scale];
  return { x: (width - w) / 2, y: (height - h) / 2, width: w, height: h };
}

/** Set the projection of a camera for a canvas. A captured camera's pixels land on the pixels of its frame in the canvas. */
export function applyLens(camera: THREE.PerspectiveCamera, lens: Lens, width: number, height: number): void {
  camera.aspect = width / height;
  if ("vfov_deg" in lens) {
    camera.fov = lens.vfov_deg;
    camera.updateProjectionMatrix();
    return;
  }
  const frame = frameOf(lens, width, height);
  const scale = frame.width / lens.size[0];
  const [fx, fy] = [lens.K[0] * scale, lens.K[1] * scale];
  const [cx, cy] = [frame.x + lens.K[2] * scale, frame.y + lens.K[3] * scale];
  camera.fov = vfovDeg(lens, width, height);
  const { near, far } = camera;
  camera.projectionMatrix.makePerspective(
    (-cx * near) / fx,
    ((width - cx) * near) / fx,
    (cy * near) / fy,
    (-(height - cy) * near) / fy,
    near,
    far,
    camera.coordinateSystem,
  );
  camera.projectionMatrixInverse.copy(camera.projectionMatrix).invert();
}

/** The vertical angle that the canvas shows, degrees. */
export function vfovDeg(lens: Lens, width: number, height: number): number {
  if ("vfov_deg" in lens) return lens.vfov_deg;
  const fy = lens.K[1] * (frameOf(lens, width, height).width / lens.size[0]);
  return THREE.MathUtils.radToDeg(2 * Math.atan(height / 2 / fy));
}

/** Focal lengths and principal point of a lens in the pixels of a canvas. */
export interface CanvasLens {
  K: [number, number, number, number];
}

export function canvasLens(lens: Lens, width: number, height: number): CanvasLens {
  if ("vfov_deg" in lens) {
    const f = height / 2 / Math.tan(THREE.MathUtils.degToRad(lens.vfov_deg) / 2);
    return { K: [f, f, width / 2, height / 2] };
  }
  const frame = frameOf(lens, width, height);
  const scale = frame.width / lens.size[0];
  return { K: [lens.K[0] * scale, lens.K[1] * scale, frame.x + lens.K[2] * scale, frame.y + lens.K[3] * scale] };
}

/** A lens on the way from one to another, for a canvas. */
export function mixLens(from: CanvasLens, to: Lens, t: number, width: number, height: number): Lens {
  const goal = canvasLens(to, width, height).K;
  const mixed = goal.map((value, i) => from.K[i]! + t * (value - from.K[i]!));
  return { K: mixed as [number, number, number, number], size: [width, height] };
}

/** A vertical angle widened for a canvas that is higher than wide, so that the subject is not cut off at its sides; degrees. */
export function angleFor(vfovDeg: number, width: number, height: number): number {
  if (width >= height) return vfovDeg;
  const across = THREE.MathUtils.radToDeg(2 * Math.atan((Math.tan(THREE.MathUtils.degToRad(vfovDeg) / 2) * height) / width));
  return Math.max(vfovDeg, Math.min(across, WIDEST_DEG));
}
