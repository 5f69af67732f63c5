/** Where a throw comes down: on the floor, and on what of the mesh can be stood on. The faces of the mesh are sorted into cells over
 * the ground once, so that a curve of forty pieces tests a handful of faces instead of all of them. Frame: place (+Y up). */

import * as THREE from "three";
import { hitLevel } from "./locomotion";

/** Faces steeper than 45 degrees are no ground. */
const WALKABLE = Math.SQRT1_2;
const CELLS = 96;

export class Ground {
  private readonly cells = new Map<number, number[]>();
  private readonly corner = new THREE.Vector2();
  private cell = 1;
  private triangles: Float32Array = new Float32Array();
  /** Whether there was a mesh to take. */
  asked = false;

  constructor(public floor: number) {}

  /** Take the faces of what hangs under `root`; `placeFromScene` brings the frame of three.js into the place. */
  takeMesh(root: THREE.Object3D, placeFromScene: THREE.Matrix4): void {
    this.asked = true;
    const corners: number[] = [];
    const [a, b, c, normal] = [new THREE.Vector3(), new THREE.Vector3(), new THREE.Vector3(), new THREE.Vector3()];
    root.updateWorldMatrix(true, true);
    root.traverse((node) => {
      if (!(node as THREE.Mesh).isMesh) return;
      const { geometry } = node as THREE.Mesh;
      const position = geometry.getAttribute("position");
      if (!position) return;
      const matrix = placeFromScene.clone().multiply(node.matrixWorld);
      const index = geometry.index;
      const count = index ? index.count : position.count;
      for (let i = 0; i + 2 < count; i += 3) {
        [a, b, c].forEach((v, k) => v.fromBufferAttribute(position, index ? index.getX(i + k) : i + k).applyMatrix4(matrix));
        normal.copy(b).sub(a).cross(c.clone().sub(a)).normalize();
        if (normal.y > WALKABLE) corners.push(...a.toArray(), ...b.toArray(), ...c.toArray());
      }
    });
    this.triangles = new Float32Array(corners);
    this.sort();
  }
  get faces(): number {
    return this.triangles.length / 9;
  }
  /** Where the way from a to b comes down onto the ground first, or null. */
  hit(a: THREE.Vector3, b: THREE.Vector3): THREE.Vector3 | null {
    const onFloor = hitLevel(a, b, this.floor);
    const onMesh = this.hitMesh(a, b);
    if (!onFloor || !onMesh) return onFloor ?? onMesh;
    return onMesh.distanceToSquared(a) < onFloor.distanceToSquared(a) ? onMesh : onFloor;
  }

  private sort(): void {
    this.cells.clear();
    const t = this.triangles;
    if (t.length === 0) return;
    const box = new THREE.Box2();
    for (let i = 0; i < t.length; i += 3) box.expandByPoint(new THREE.Vector2(t[i], t[i + 2]));
    this.corner.copy(box.min);
    const size = box.getSize(new THREE.Vector2());
    this.cell = Math.max(size.x, size.y) / CELLS || 1;
    for (let face = 0; face < this.faces; face++) {
      const at = (k: number, axis: number) => t[9 * face + 3 * k + axis]!;
      const range = (axis: number) => [Math.min(at(0, axis), at(1, axis), at(2, axis)), Math.max(at(0, axis), at(1, axis), at(2, axis))] as const;
      this.eachCell(range(0), range(2), (key) => {
        const list = this.cells.get(key);
        if (list) list.push(face);
        else this.cells.set(key, [face]);
      });
    }
  }
  private eachCell([x0, x1]: readonly [number, number], [z0, z1]: readonly [number, number], act: (key: number) => void): void {
    const column = (v: number, from: number) => Math.min(CELLS, Math.max(-1, Math.floor((v - from) / this.cell)));
    for (let x = column(x0, this.corner.x); x <= column(x1, this.corner.x); x++)
      for (let z = column(z0, this.corner.y); z <= column(z1, this.corner.y); z++) act(x * 1024 + z);
  }
  private hitMesh(a: THREE.Vector3, b: THREE.Vector3): THREE.Vector3 | null {
    if (this.cells.size === 0 || b.y >= a.y) return null;
    const way = b.clone().sub(a);
    const length = way.length();
    const ray = new THREE.Ray(a, way.divideScalar(length));
    const seen = new Set<number>();
    let best: THREE.Vector3 | null = null;
    this.eachCell([Math.min(a.x, b.x), Math.max(a.x, b.x)], [Math.min(a.z, b.z), Math.max(a.z, b.z)], (key) => {
      for (const face of this.cells.get(key) ?? []) {
        if (seen.has(face)) continue;
        seen.add(face);
        const corner = (k: number) => new THREE.Vector3().fromArray(this.triangles, 9 * face + 3 * k);
        const at = ray.intersectTriangle(corner(0), corner(1), corner(2), true, new THREE.Vector3());
        if (at && at.distanceTo(a) <= length && (!best || at.distanceToSquared(a) < best.distanceToSquared(a))) best = at;
      }
    });
    return best;
  }
}
