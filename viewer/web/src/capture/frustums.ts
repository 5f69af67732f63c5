/** The captured cameras as pyramids in the scene: drawn as lines, met by rays. In the world frame of the files. */

import * as THREE from "three";
import type { CapturedCamera } from "../manifest";

/** Ends of the lines: 0 the eye, 1-4 the corners of the picture, 5 above it. */
const LINES = [0, 1, 0, 2, 0, 3, 0, 4, 1, 2, 2, 3, 3, 4, 4, 1, 1, 5, 5, 2];
const FACES = [0, 1, 2, 0, 2, 3, 0, 3, 4, 0, 4, 1, 1, 2, 3, 1, 3, 4];
const POINTS = 6;
const TRAIN = new THREE.Color("#6aa5ff");
const TEST = new THREE.Color("#ffb454");
const MARKED = new THREE.Color("#ffffff");

export class Frustums {
  readonly lines: THREE.LineSegments<THREE.BufferGeometry, THREE.LineBasicMaterial>;
  private readonly places: Float32Array;
  private readonly depth: number;
  private marked: number | null = null;
  private leftOut = "";

  constructor(private readonly cameras: readonly CapturedCamera[]) {
    this.places = new Float32Array(3 * POINTS * cameras.length);
    const depth = (this.depth = pyramidDepth(cameras));
    cameras.forEach((camera, i) => corners(camera, depth).forEach((point, k) => point.toArray(this.places, 3 * (POINTS * i + k))));
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(this.places, 3));
    geometry.setAttribute("color", new THREE.BufferAttribute(new Float32Array(this.places.length), 3));
    this.lines = new THREE.LineSegments(geometry, new THREE.LineBasicMaterial({ vertexColors: true }));
    this.lines.visible = false;
    cameras.forEach((_, i) => this.paint(i, false));
    this.leaveOut(new THREE.Vector3(Infinity, 0, 0));
  }

  /** Draw all but those that the eye stands in; the eye in the frame of three.js. False when those were left out already. */
  leaveOut(eye: THREE.Vector3): boolean {
    const near = this.around(this.lines.worldToLocal(eye.clone()));
    const key = [...near].join();
    if (key === this.leftOut && this.lines.geometry.index) return false;
    this.leftOut = key;
    const indices: number[] = [];
    for (let i = 0; i < this.cameras.length; i++) if (!near.has(i)) for (const end of LINES) indices.push(POINTS * i + end);
    this.lines.geometry.setIndex(indices);
    return true;
  }
  /** Show which one the pointer is on; false when that is so already. */
  mark(index: number | null): boolean {
    if (index === this.marked) return false;
    if (this.marked !== null) this.paint(this.marked, false);
    if (index !== null) this.paint(index, true);
    this.marked = index;
    return true;
  }
  /** The camera whose pyramid a ray in the frame of three.js meets first. */
  hit(ray: THREE.Ray): number | null {
    const local = ray.clone().applyMatrix4(this.lines.matrixWorld.clone().invert());
    const near = this.around(local.origin);
    const [a, b, c, at] = [new THREE.Vector3(), new THREE.Vector3(), new THREE.Vector3(), new THREE.Vector3()];
    let [nearest, found]: [number, number | null] = [Infinity, null];
    for (let i = 0; i < this.cameras.length; i++) {
      if (near.has(i)) continue;
      for (let f = 0; f < FACES.length; f += 3) {
        [a, b, c].forEach((corner, k) => corner.fromArray(this.places, 3 * (POINTS * i + FACES[f + k]!)));
        const distance = local.intersectTriangle(a, b, c, false, at)?.distanceTo(local.origin) ?? Infinity;
        if (distance < nearest) [nearest, found] = [distance, i];
      }
    }
    return found;
  }

  /** The cameras whose eye is nearer than their pyramid is deep. */
  private around(eye: THREE.Vector3): Set<number> {
    const near = new Set<number>();
    for (let i = 0, at = 0; i < this.cameras.length; i++, at += 3 * POINTS) {
      if (Math.hypot(this.places[at]! - eye.x, this.places[at + 1]! - eye.y, this.places[at + 2]! - eye.z) < this.depth) near.add(i);
    }
    return near;
  }
  private paint(index: number, marked: boolean): void {
    const color = this.lines.geometry.getAttribute("color");
    const { r, g, b } = marked ? MARKED : this.cameras[index]!.split === "test" ? TEST : TRAIN;
    for (let k = 0; k < POINTS; k++) color.setXYZ(POINTS * index + k, r, g, b);
    color.needsUpdate = true;
  }
}

/** The eye, the corners of the picture at a depth, and a point above its upper edge. */
export function corners({ cam_from_world, K, size }: CapturedCamera, depth: number): THREE.Vector3[] {
  const worldFromCam = new THREE.Matrix4().set(...(cam_from_world as Parameters<THREE.Matrix4["set"]>)).invert();
  const [fx, fy, cx, cy] = K;
  const ray = (x: number, y: number) => new THREE.Vector3(((x - cx) / fx) * depth, ((y - cy) / fy) * depth, depth);
  const [w, h] = size;
  const points = [new THREE.Vector3(), ray(0, 0), ray(w, 0), ray(w, h), ray(0, h), ray(w / 2, -0.25 * h)];
  return points.map((point) => point.applyMatrix4(worldFromCam));
}

/** Pyramids as deep as a third of the way to the nearest neighbour, in the median of some cameras. */
function pyramidDepth(cameras: readonly CapturedCamera[]): number {
  const places = cameras.map(({ cam_from_world }) => {
    const m = new THREE.Matrix4().set(...(cam_from_world as Parameters<THREE.Matrix4["set"]>)).invert();
    return new THREE.Vector3().setFromMatrixPosition(m);
  });
  const stride = Math.ceil(places.length / 200);
  const gaps: number[] = [];
  for (let i = 0; i < places.length; i += stride) {
    const gap = places.reduce((least, place) => {
      const distance = place.distanceTo(places[i]!);
      return distance > 0 && distance < least ? distance : least;
    }, Infinity);
    if (gap < Infinity) gaps.push(gap);
  }
  gaps.sort((a, b) => a - b);
  return (gaps[gaps.length >> 1] ?? 1) / 3;
}
