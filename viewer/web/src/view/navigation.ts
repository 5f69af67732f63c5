/** How the camera moves: round the scene (orbit), through it (fly), on its floor (walk). */

import * as THREE from "three";
import { OrbitControls } from "three/addons/controls/OrbitControls.js";
import type { Manifest } from "../manifest";
import { type Lens, type Pose, poseOf, toYup } from "./frames";
import type { Stage } from "./stage";

export type Mode = "orbit" | "fly" | "walk";

export class Navigation {
  private readonly orbit: OrbitControls;
  private flight: { from: Pose; to: Pose; fromFov: number; lens: Lens; start: number; seconds: number; arrived: () => void } | null = null;
  private modeNow: Mode = "orbit";
  private readonly listeners = new Set<() => void>();

  constructor(
    readonly manifest: Manifest,
    private readonly stage: Stage,
  ) {
    this.orbit = new OrbitControls(stage.camera, stage.canvas);
    this.orbit.addEventListener("change", () => stage.invalidate());
    this.orbit.addEventListener("start", () => this.freeLens());
    this.home(0);
    stage.onFrame((seconds) => this.frame(seconds));
  }

  get mode(): Mode {
    return this.modeNow;
  }
  setMode(mode: Mode): void {
    this.modeNow = mode;
    for (const listener of this.listeners) listener();
  }
  /** Called when the mode changes. */
  onMode(listener: () => void): void {
    this.listeners.add(listener);
  }
  /** Off while another part (measuring, VR) has the pointer. */
  set enabled(value: boolean) {
    this.orbit.enabled = value;
  }
  get pose(): Pose {
    return { position: this.stage.camera.position.clone(), quaternion: this.stage.camera.quaternion.clone() };
  }
  /** The place that the camera turns round, in the frame of three.js. */
  get target(): THREE.Vector3 {
    return this.orbit.target.clone();
  }
  /** Back to the start. */
  home(seconds = 0.8): void {
    const { start } = this.manifest;
    void this.goTo(poseOf(start.cam_from_world), { vfov_deg: start.vfov_deg }, seconds, toYup(start.target));
  }
  /** Move the camera there in some seconds (0: at once). Resolves when it has arrived or was moved elsewhere. */
  goTo(pose: Pose, lens: Lens, seconds = 0.8, target?: THREE.Vector3): Promise<void> {
    this.flight?.arrived();
    const distance = (target ?? this.orbit.target).distanceTo(pose.position);
    const ahead = new THREE.Vector3(0, 0, -Math.max(distance, 1e-6)).applyQuaternion(pose.quaternion).add(pose.position);
    this.orbit.target.copy(ahead);
    return new Promise((arrived) => {
      this.flight = { from: this.pose, to: pose, fromFov: this.stage.vfovDeg, lens, start: performance.now() / 1000, seconds, arrived };
      if (seconds === 0) this.frame(this.flight.start);
    });
  }

  /** A captured camera's lens is off centre; whoever moves on looks through a symmetric one. */
  private freeLens(): void {
    this.flight?.arrived();
    this.flight = null;
    this.stage.lens = { vfov_deg: this.stage.vfovDeg };
  }
  private frame(_seconds: number): void {
    const flight = this.flight;
    if (!flight) {
      if (this.orbit.enabled && this.modeNow === "orbit" && "vfov_deg" in this.stage.lens) this.orbit.update();
      return;
    }
    const camera = this.stage.camera;
    const t = flight.seconds === 0 ? 1 : Math.min(1, (performance.now() / 1000 - flight.start) / flight.seconds);
    const eased = t * t * (3 - 2 * t);
    camera.position.lerpVectors(flight.from.position, flight.to.position, eased);
    camera.quaternion.slerpQuaternions(flight.from.quaternion, flight.to.quaternion, eased);
    this.stage.lens = t === 1 ? flight.lens : { vfov_deg: this.stage.vfovDeg };
    camera.updateMatrixWorld();
    this.stage.invalidate();
    if (t === 1) {
      this.flight = null;
      flight.arrived();
    }
  }
}
