/** How the camera moves: round the place (orbit), through it (fly), on its floor (walk). One state stands behind all three. */

import * as THREE from "three";
import type { Manifest } from "../manifest";
import { angleFor, type CanvasLens, canvasLens, type Lens, mixLens, type Pose, poseOf, toYup } from "./frames";
import { type Axes, Input, type Steering } from "./input";
import { approach, type Bounds, confine, copyMotion, difference, type Motion, motionOfPose, poseOfMotion, reachAboveFloor, withReach, zoomAbout } from "./motion";
import type { Stage } from "./stage";

export type Mode = "orbit" | "fly" | "walk";
export const MODES: readonly Mode[] = ["orbit", "fly", "walk"];

/** How quickly the camera comes to where it was moved: per second, a share 1 - 1/e of the way each 1/STIFFNESS seconds. */
const STIFFNESS = 14;
/** Radians a second by keys and sticks. */
const TURN_SPEED = 1.3;
/** Metres a second. */
const WALK_SPEED = 1.4;
const EYE_HEIGHT = 1.6;
/** A display that stalls makes no leap of keys held down, seconds. */
const MAX_STEP = 0.25;
const LENS_SECONDS = 0.35;
/** A wheel that rests for so long, or a pointer that moved on, asks anew what it points at. */
const WHEEL_REST_MS = 400;

interface Flight {
  from: Pose;
  to: Pose;
  fromLens: CanvasLens;
  lens: Lens;
  reach: number;
  seconds: number;
  passed: number;
  arrived: () => void;
}

export class Navigation implements Steering {
  private readonly input: Input;
  private readonly size: number;
  private readonly bounds: Bounds;
  private readonly floor: number | null;
  private readonly eyeHeight: number;
  private readonly walkRadius: number;
  private motion: Motion;
  private goal: Motion;
  /** How far away what the camera looks at is; orbit's reach. */
  private focus: number;
  private flight: Flight | null = null;
  private lensFlight: { from: CanvasLens; to: Lens; passed: number } | null = null;
  private modeNow: Mode = "orbit";
  private lastFrame = 0;
  private anchor: { point: THREE.Vector3; x: number; y: number; time: number } | null = null;
  private readonly listeners = new Set<() => void>();
  private readonly leavers = new Set<() => void>();
  private readonly homecomings = new Set<() => void>();
  /** What lies under a point of the window, in the frame of three.js. */
  picker: (clientX: number, clientY: number) => THREE.Vector3 | null = () => null;
  /** Asked before the camera is sent somewhere, at once or not; true: it goes there at once. */
  beforeJump: (to: Pose, still: boolean) => boolean = () => false;
  /** Whether a double click or tap flies to its place. Off while another part takes clicks. */
  doubleTapFlies = true;
  /** Buttons of a gamepad that other parts give a meaning to: standard mapping. */
  readonly padButtons = new Map<number, () => void>();

  constructor(
    readonly manifest: Manifest,
    private readonly stage: Stage,
  ) {
    const [min, max] = [toYup(manifest.bounds.min), toYup(manifest.bounds.max)];
    const box = new THREE.Box3().setFromPoints([min, max]);
    const cameras = manifest.cameras.map((camera) => poseOf(camera.cam_from_world).position);
    this.size = min.distanceTo(max) || 1;
    const centre = box.getCenter(new THREE.Vector3());
    const farthest = cameras.reduce((most, place) => Math.max(most, place.distanceTo(centre)), this.size);
    this.walkRadius = cameras.reduce((most, place) => Math.max(most, Math.hypot(place.x - centre.x, place.z - centre.z)), 0.5 * this.size);
    this.floor = manifest.floor;
    this.bounds = { centre, radius: 3 * farthest, lowest: this.floor === null ? -Infinity : this.floor + 0.005 * this.size };
    this.eyeHeight = eyeHeight(manifest, cameras, this.size);
    this.focus = this.size;
    this.motion = motionOfPose(this.pose, this.focus);
    this.goal = copyMotion(this.motion);
    this.input = new Input(stage.canvas, this);
    this.padButtons.set(0, () => this.doubleTap(...this.middle()));
    this.padButtons.set(1, () => this.home());
    this.padButtons.set(3, () => this.nextMode());
    this.home(0);
    stage.onFrame((seconds) => this.frame(seconds));
  }

  get mode(): Mode {
    return this.modeNow;
  }
  setMode(mode: Mode): void {
    if (mode === this.modeNow) return;
    if (mode === "orbit") this.look();
    this.modeNow = mode;
    const reach = mode === "orbit" ? this.focus : 0;
    this.motion = withReach(this.motion, reach);
    this.goal = withReach(this.goal, reach);
    if (mode === "walk") {
      this.touched();
      this.settle();
    }
    for (const listener of this.listeners) listener();
  }
  nextMode(): void {
    this.setMode(MODES[(MODES.indexOf(this.modeNow) + 1) % MODES.length]!);
  }
  /** Called when the mode changes. */
  onMode(listener: () => void): void {
    this.listeners.add(listener);
  }
  /** Called when the camera leaves the pose it was sent to: somebody moves it, or it is sent elsewhere. */
  onLeave(listener: () => void): void {
    this.leavers.add(listener);
  }
  /** Called when the camera is sent back to the start. */
  onHome(listener: () => void): void {
    this.homecomings.add(listener);
  }
  /** Off while another part (measuring, VR) has pointer and camera. */
  get enabled(): boolean {
    return this.input.enabled;
  }
  set enabled(value: boolean) {
    if (value && !this.input.enabled) this.takeOver();
    this.input.enabled = value;
    this.input.release();
  }
  get pose(): Pose {
    return { position: this.stage.camera.position.clone(), quaternion: this.stage.camera.quaternion.clone() };
  }
  /** The place that the camera turns round or looks at, in the frame of three.js. */
  get target(): THREE.Vector3 {
    return withReach(this.motion, this.focus).pivot;
  }
  /** Back to the start. */
  home(seconds = 0.8): void {
    const { start } = this.manifest;
    this.setMode("orbit");
    void this.goTo(poseOf(start.cam_from_world), { vfov_deg: angleFor(start.vfov_deg, ...this.stage.cssSize()) }, seconds, toYup(start.target));
    for (const listener of this.homecomings) listener();
  }
  /** Move the camera there in some seconds (0: at once; as for all who want less motion). Resolves when it has arrived or was moved elsewhere. */
  goTo(pose: Pose, lens: Lens, seconds = 0.8, target?: THREE.Vector3): Promise<void> {
    this.leave();
    const wanted = THREE.MathUtils.clamp((target ?? this.target).distanceTo(pose.position), 1e-3 * this.size, this.bounds.radius);
    const reach = reachAboveFloor(pose, wanted, this.bounds.lowest);
    let still = seconds === 0 || matchMedia("(prefers-reduced-motion: reduce)").matches;
    still = this.beforeJump(pose, still) || still;
    return new Promise((arrived) => {
      const fromLens = canvasLens(this.stage.lens, ...this.stage.cssSize());
      this.flight = { from: this.pose, to: pose, fromLens, lens, reach, seconds: still ? 0 : seconds, passed: 0, arrived };
      if (still) this.fly(0);
    });
  }

  turn(dx: number, dy: number): void {
    this.touched();
    const [, height] = this.stage.cssSize();
    // round a place, a drag over the canvas's height is a full turn; elsewhere what was grabbed stays under the pointer
    const perPixel = this.modeNow === "orbit" ? (-2 * Math.PI) / height : THREE.MathUtils.degToRad(this.stage.vfovDeg) / height;
    this.goal.yaw += dx * perPixel;
    this.goal.pitch += dy * perPixel;
    this.settle();
  }
  pan(dx: number, dy: number): void {
    this.touched();
    const [, height] = this.stage.cssSize();
    const perPixel = (2 * this.focus * Math.tan(THREE.MathUtils.degToRad(this.stage.vfovDeg) / 2)) / height;
    if (this.modeNow === "walk") this.shift(-dx * perPixel, 0, dy * perPixel);
    else this.shift(-dx * perPixel, dy * perPixel, 0);
    this.settle();
  }
  zoom(factor: number, clientX: number, clientY: number): void {
    this.touched();
    const point = this.anchorAt(clientX, clientY);
    if (this.modeNow === "walk") {
      const eye = this.goal.pivot;
      const ahead = Math.min(Math.hypot(point.x - eye.x, point.z - eye.z), 2 * this.size);
      this.shift(0, 0, (1 - factor) * ahead);
    } else zoomAbout(this.goal, point, factor);
    const closest = 1e-3 * this.size;
    if (this.modeNow === "orbit" && this.goal.reach < closest) this.goal = withReach(this.goal, closest);
    this.settle();
  }
  doubleTap(clientX: number, clientY: number): void {
    const point = this.doubleTapFlies ? this.picker(clientX, clientY) : null;
    if (point) void this.approachPlace(point);
  }
  button(index: number): void {
    this.padButtons.get(index)?.();
  }
  /** Fly to where a place is seen from nearby. */
  approachPlace(point: THREE.Vector3, seconds = 0.9): Promise<void> {
    const { position } = this.pose;
    if (this.modeNow === "walk") {
      const to = this.pose;
      to.position.set(point.x, position.y, point.z).lerp(position, 0.25);
      return this.goTo(to, this.freeLens(), seconds, point);
    }
    const way = point.clone().sub(position);
    const motion = motionOfPose({ position, quaternion: this.stage.camera.quaternion }, 0);
    motion.yaw = Math.atan2(-way.x, -way.z);
    motion.pitch = Math.atan2(way.y, Math.hypot(way.x, way.z));
    motion.roll = 0;
    motion.pivot.copy(point);
    motion.reach = Math.max(0.45 * way.length(), 0.02 * this.size);
    confine(motion, this.bounds);
    return this.goTo(poseOfMotion(motion), this.freeLens(), seconds, point);
  }

  /** Numbers that put the camera back: place, yaw, pitch, roll, focus, angle. */
  save(): number[] {
    const { position, quaternion } = this.pose;
    const { yaw, pitch, roll } = motionOfPose({ position, quaternion }, 0);
    return [...position.toArray(), yaw, pitch, roll, this.focus, this.stage.vfovDeg];
  }
  /** From save(), or from a link that anybody may have written: false when it makes no sense. */
  restore(numbers: readonly number[]): boolean {
    if (numbers.length !== 8 || !numbers.every((value) => Number.isFinite(value))) return false;
    const [x, y, z, yaw, pitch, roll, focus, angle] = numbers as [number, number, number, number, number, number, number, number];
    if (angle < 1 || angle > 170 || focus <= 0) return false;
    const motion: Motion = { pivot: new THREE.Vector3(x, y, z), reach: 0, yaw, pitch, roll };
    if (motion.pivot.distanceTo(this.bounds.centre) > 3 * this.bounds.radius) return false;
    const pose = poseOfMotion(motion);
    const target = new THREE.Vector3(0, 0, -Math.min(focus, this.bounds.radius)).applyQuaternion(pose.quaternion).add(pose.position);
    void this.goTo(pose, { vfov_deg: angle }, 0, target);
    return true;
  }

  /** Somebody moves the camera: flights end where they are, a captured camera's lens is left smoothly, a tilted head comes upright. */
  private touched(): void {
    if (this.flight) {
      this.takeOver();
      this.leave();
    }
    if ("K" in this.stage.lens && !this.lensFlight) {
      this.leave();
      this.lensFlight = { from: canvasLens(this.stage.lens, ...this.stage.cssSize()), to: this.freeLens(), passed: 0 };
    }
    this.goal.roll = 0;
  }
  private leave(): void {
    const flight = this.flight;
    this.flight = null;
    this.lensFlight = null;
    flight?.arrived();
    for (const leaver of this.leavers) leaver();
  }
  private freeLens(): Lens {
    return { vfov_deg: this.stage.vfovDeg };
  }
  /** The state as the camera stands now. */
  private takeOver(): void {
    this.motion = motionOfPose(this.pose, this.modeNow === "orbit" ? this.focus : 0);
    this.goal = copyMotion(this.motion);
  }
  private middle(): [number, number] {
    const box = this.stage.canvas.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  }
  /** Take the distance of what stands in the middle of the picture. */
  private look(): void {
    const point = this.picker(...this.middle());
    if (point) this.focus = Math.max(point.distanceTo(this.stage.camera.position), 1e-3 * this.size);
  }
  private anchorAt(x: number, y: number): THREE.Vector3 {
    const last = this.anchor;
    const now = performance.now();
    if (last && now - last.time < WHEEL_REST_MS && Math.hypot(x - last.x, y - last.y) < 8) {
      last.time = now;
      return last.point;
    }
    const box = this.stage.canvas.getBoundingClientRect();
    const ndc = new THREE.Vector2((2 * (x - box.left)) / box.width - 1, 1 - (2 * (y - box.top)) / box.height);
    const caster = new THREE.Raycaster();
    caster.setFromCamera(ndc, this.stage.camera);
    const point = this.picker(x, y) ?? caster.ray.at(this.focus, new THREE.Vector3());
    this.anchor = { point, x, y, time: now };
    return point;
  }
  /** Move the goal in the camera's own directions; walking, ahead is along the floor. */
  private shift(right: number, up: number, forward: number): void {
    const level = this.modeNow === "walk";
    const turn = new THREE.Quaternion().setFromEuler(new THREE.Euler(level ? 0 : this.goal.pitch, this.goal.yaw, 0, "YXZ"));
    this.goal.pivot.add(new THREE.Vector3(right, level ? 0 : up, -forward).applyQuaternion(turn));
  }
  private settle(): void {
    if (this.modeNow === "walk") this.stayOnFloor();
    confine(this.goal, this.bounds);
    if (this.modeNow === "orbit") this.focus = this.goal.reach;
  }

  /** At eye height, and no farther out than the place and those who captured it. */
  private stayOnFloor(): void {
    const { pivot } = this.goal;
    const { centre } = this.bounds;
    if (this.floor !== null) pivot.y = this.floor + this.eyeHeight;
    const away = Math.hypot(pivot.x - centre.x, pivot.z - centre.z);
    const inward = Math.min(1, this.walkRadius / Math.max(away, 1e-9));
    pivot.x = centre.x + inward * (pivot.x - centre.x);
    pivot.z = centre.z + inward * (pivot.z - centre.z);
  }

  private frame(seconds: number): void {
    const delta = Math.max(0, seconds - this.lastFrame);
    this.lastFrame = seconds;
    if (this.stage.renderer.xr.isPresenting) return;
    if (this.input.enabled) this.steer(this.input.axes(), Math.min(delta, MAX_STEP));
    if (this.lensFlight) this.changeLens(delta);
    if (this.flight) return this.fly(delta);
    const apart = difference(this.motion, this.goal, Math.max(this.focus, 1e-9));
    if (apart === 0) return;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (still || apart < 1e-5) this.motion = copyMotion(this.goal);
    else approach(this.motion, this.goal, 1 - Math.exp(-STIFFNESS * delta));
    this.place(poseOfMotion(this.motion));
  }
  private steer(axes: Axes, delta: number): void {
    const { right, up, forward, turnRight, turnUp, fast } = axes;
    if (!right && !up && !forward && !turnRight && !turnUp) return;
    this.touched();
    const quick = fast ? 3 : 1;
    const turn = (this.modeNow === "orbit" ? 1 : -1) * TURN_SPEED * quick * delta; // round a place the arrows move the eye, elsewhere the look
    this.goal.yaw += turnRight * turn;
    this.goal.pitch -= turnUp * turn;
    const step = quick * this.speed() * delta;
    if (this.modeNow === "orbit" && forward !== 0) {
      this.goal.reach *= Math.exp(-forward * quick * delta);
      this.shift(right * step, up * step, 0);
    } else this.shift(right * step, up * step, forward * step);
    this.settle();
  }
  /** Lengths a second. */
  private speed(): number {
    if (this.modeNow === "orbit") return 0.7 * this.focus;
    if (this.modeNow === "fly") return 0.2 * this.size;
    return this.manifest.world.scale === "metric" && this.eyeHeight === EYE_HEIGHT ? WALK_SPEED : 0.12 * this.size;
  }
  private fly(delta: number): void {
    const flight = this.flight!;
    flight.passed += delta;
    const t = flight.seconds === 0 ? 1 : Math.min(1, flight.passed / flight.seconds);
    const eased = t * t * (3 - 2 * t);
    if (t < 1) {
      this.stage.lens = mixLens(flight.fromLens, flight.lens, eased, ...this.stage.cssSize());
      const position = flight.from.position.clone().lerp(flight.to.position, eased);
      return this.place({ position, quaternion: flight.from.quaternion.clone().slerp(flight.to.quaternion, eased) });
    }
    this.flight = null;
    this.focus = flight.reach;
    this.stage.lens = flight.lens;
    this.place(flight.to);
    this.takeOver();
    flight.arrived();
  }
  private changeLens(delta: number): void {
    const change = this.lensFlight!;
    change.passed += delta;
    const t = Math.min(1, change.passed / LENS_SECONDS);
    this.stage.lens = t === 1 ? change.to : mixLens(change.from, change.to, t * t * (3 - 2 * t), ...this.stage.cssSize());
    if (t === 1) this.lensFlight = null;
  }
  private place({ position, quaternion }: Pose): void {
    const { camera } = this.stage;
    camera.position.copy(position);
    camera.quaternion.copy(quaternion);
    camera.updateMatrixWorld();
    // near and far follow what is looked at: close to a thing the eye comes closer, and depth stays fine enough for the mesh
    const near = THREE.MathUtils.clamp(0.02 * this.focus, 1e-5 * this.size, 2e-3 * this.size);
    if (Math.abs(Math.log(near / camera.near)) > 0.3) this.stage.setClip(near, 20 * this.bounds.radius);
    this.stage.invalidate();
  }
}

/** How high a visitor's eye is: a person's where the place is large enough for one, else as high as the photographer's. */
function eyeHeight(manifest: Manifest, cameras: readonly THREE.Vector3[], size: number): number {
  if (manifest.world.scale === "metric" && size > 3) return EYE_HEIGHT;
  const heights = cameras.map((place) => place.y - (manifest.floor ?? 0)).sort((a, b) => a - b);
  const median = heights[heights.length >> 1] ?? 0;
  return median > 0.02 * size ? median : 0.3 * size;
}
