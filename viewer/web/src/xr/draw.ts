/** What a person in a headset sees besides the place: rays, hands, the curve of a teleport and its ring, the mark on a real table, and
 * a narrower view while the stick moves them. Metres, frame of three.js; drawn over the splats, which write no depth. */

import * as THREE from "three";
import type { Pose } from "../view/frames";
import type { Hand, Shown } from "./gestures";

const ACCENT = 0x7fb2ff;
const RAY = 1.2; // metres, where it meets nothing
const JOINTS = 25;
const EASE = 8; // a second: how fast the vignette comes and goes

const flat = (color: number, opacity = 1) =>
  new THREE.MeshBasicMaterial({ color, opacity, transparent: true, depthTest: false, depthWrite: false, side: THREE.DoubleSide, toneMapped: false });

export class Drawing {
  readonly object = new THREE.Group();
  private readonly rays: Pointer[] = [new Pointer(), new Pointer()];
  private readonly curve: THREE.Mesh<THREE.BufferGeometry, THREE.MeshBasicMaterial>;
  private readonly ring: THREE.Group;
  private readonly mark: THREE.Group;
  private readonly vignette = new Vignette();

  constructor() {
    this.curve = new THREE.Mesh(new THREE.BufferGeometry(), flat(ACCENT, 0.9));
    this.curve.frustumCulled = false;
    this.ring = ring(0.18, 0.24);
    this.mark = ring(0.07, 0.09);
    this.object.add(this.curve, this.ring, this.mark, this.vignette.mesh, ...this.rays.map((ray) => ray.object));
    this.object.traverse((node) => (node.renderOrder = node === this.vignette.mesh ? 800 : 950));
    this.ring.visible = this.mark.visible = this.curve.visible = false;
  }
  update(head: Pose, hands: readonly Hand[], shown: Shown, met: ReadonlyMap<object, THREE.Vector3>, strength: number, seconds: number): void {
    this.rays.forEach((ray, i) => ray.update(hands[i], met, shown.aiming));
    this.curve.visible = shown.curve.length > 1;
    if (this.curve.visible) ribbon(this.curve.geometry, shown.curve, head.position, 0.012);
    this.curve.material.color.set(shown.landing ? ACCENT : 0xff8a7a);
    this.ring.visible = shown.landing !== null;
    if (shown.landing) this.ring.position.copy(shown.landing);
    this.vignette.update(head, shown.moving * strength, seconds);
  }
  /** The joints of tracked hands: 3 x 25 coordinates each, or nothing. */
  joints(hands: readonly (Float32Array | null)[]): void {
    this.rays.forEach((ray, i) => ray.joints(hands[i] ?? null));
  }
  /** The mark where a real surface is looked at; null takes it away. */
  surface(pose: Pose | null): void {
    this.mark.visible = pose !== null;
    if (!pose) return;
    this.mark.position.copy(pose.position);
    this.mark.quaternion.copy(pose.quaternion);
  }
  /** Where the ring of a teleport lies now. */
  get landing(): THREE.Vector3 | null {
    return this.ring.visible ? this.ring.position : null;
  }
  dispose(): void {
    this.object.traverse((node) => {
      const { geometry, material } = node as Partial<THREE.Mesh>;
      geometry?.dispose();
      (material as THREE.Material | undefined)?.dispose();
    });
  }
}

/** A hand or a controller, and its ray. */
class Pointer {
  readonly object = new THREE.Group();
  private readonly ray: THREE.Mesh;
  private readonly dot: THREE.Mesh;
  private readonly body: THREE.Mesh;
  private readonly fingers: THREE.InstancedMesh;

  constructor() {
    const beam = new THREE.CylinderGeometry(0.0012, 0.0025, 1, 8, 1, true).rotateX(-Math.PI / 2).translate(0, 0, -0.5);
    this.ray = new THREE.Mesh(beam, flat(0xffffff, 0.55));
    this.dot = new THREE.Mesh(new THREE.SphereGeometry(0.008, 12, 8), flat(0xffffff));
    this.body = new THREE.Mesh(new THREE.CapsuleGeometry(0.013, 0.075, 6, 14).rotateX(Math.PI / 2).translate(0, 0, 0.02), flat(0x8fa4c4, 0.6));
    this.fingers = new THREE.InstancedMesh(new THREE.SphereGeometry(0.007, 8, 6), flat(0xb9cbe8, 0.8), JOINTS);
    this.fingers.frustumCulled = false;
    this.object.add(this.ray, this.dot, this.body, this.fingers);
    this.object.visible = this.fingers.visible = false;
  }
  update(hand: Hand | undefined, met: ReadonlyMap<object, THREE.Vector3>, aiming: object | null): void {
    this.object.visible = hand !== undefined && hand.kind !== "screen";
    if (!hand || !this.object.visible) return;
    const at = met.get(hand.id);
    this.ray.visible = hand.id !== aiming;
    this.ray.position.copy(hand.ray.position);
    this.ray.quaternion.copy(hand.ray.quaternion);
    this.ray.scale.set(1, 1, at ? at.distanceTo(hand.ray.position) : RAY);
    (this.ray.material as THREE.MeshBasicMaterial).opacity = at ? 0.9 : 0.35;
    this.dot.visible = at !== undefined;
    if (at) this.dot.position.copy(at);
    this.body.visible = hand.kind === "controller";
    this.body.position.copy(hand.grip.position);
    this.body.quaternion.copy(hand.grip.quaternion);
  }
  joints(coordinates: Float32Array | null): void {
    this.fingers.visible = coordinates !== null;
    if (!coordinates) return;
    const matrix = new THREE.Matrix4();
    for (let i = 0; i < JOINTS; i++) this.fingers.setMatrixAt(i, matrix.makeTranslation(coordinates[3 * i]!, coordinates[3 * i + 1]!, coordinates[3 * i + 2]!));
    this.fingers.instanceMatrix.needsUpdate = true;
  }
}

/** Black round the edge of the view. Tunnel vision while the picture moves and the body does not is what keeps people from feeling sick
 * (Fernandes and Feiner 2016, "Combating VR sickness through subtle dynamic field-of-view modification"). */
class Vignette {
  readonly mesh: THREE.Mesh<THREE.BufferGeometry, THREE.ShaderMaterial>;
  now = 0;

  constructor() {
    const material = new THREE.ShaderMaterial({
      uniforms: { open: { value: 1 } },
      vertexShader: "varying vec2 at; void main() { at = position.xy; gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0); }",
      fragmentShader: "varying vec2 at; uniform float open; void main() { gl_FragColor = vec4(0.0, 0.0, 0.0, smoothstep(open, open + 0.35, length(at))); }",
      transparent: true,
      depthTest: false,
      depthWrite: false,
    });
    this.mesh = new THREE.Mesh(new THREE.RingGeometry(0.2, 6, 48, 1).translate(0, 0, -1), material); // one metre ahead: radius = tangent
    this.mesh.frustumCulled = false;
    this.mesh.visible = false;
  }
  update(head: Pose, wanted: number, seconds: number): void {
    this.now += (wanted - this.now) * Math.min(1, EASE * seconds);
    this.mesh.visible = this.now > 0.02;
    this.mesh.position.copy(head.position);
    this.mesh.quaternion.copy(head.quaternion);
    this.mesh.material.uniforms["open"]!.value = 1.6 - 1.2 * this.now;
  }
}

function ring(inner: number, outer: number): THREE.Group {
  const group = new THREE.Group();
  const circle = new THREE.Mesh(new THREE.RingGeometry(inner, outer, 40).rotateX(-Math.PI / 2), flat(ACCENT, 0.95));
  const disc = new THREE.Mesh(new THREE.CircleGeometry(inner, 40).rotateX(-Math.PI / 2), flat(ACCENT, 0.25));
  group.add(circle, disc);
  return group;
}
/** A band along a curve that faces the viewer. */
function ribbon(geometry: THREE.BufferGeometry, points: readonly THREE.Vector3[], eye: THREE.Vector3, width: number): void {
  const corners: number[] = [];
  const index: number[] = [];
  points.forEach((point, i) => {
    const along = (points[i + 1] ?? point).clone().sub(points[i - 1] ?? point);
    const side = along.cross(point.clone().sub(eye)).normalize().multiplyScalar(width / 2);
    corners.push(...point.clone().add(side).toArray(), ...point.clone().sub(side).toArray());
    if (i > 0) index.push(2 * i - 2, 2 * i - 1, 2 * i, 2 * i, 2 * i - 1, 2 * i + 1);
  });
  geometry.dispose();
  geometry.setIndex(index);
  geometry.setAttribute("position", new THREE.Float32BufferAttribute(corners, 3));
}
