/** Hands and controllers of a session, as gestures.ts wants them. Presses come from the session's events, which every device sends;
 * sticks and the menu button from the gamepad, in the order of the "xr-standard" mapping. */

import * as THREE from "three";
import type { Pose } from "../view/frames";
import type { Hand } from "./gestures";

const STICK = 2; // axes 2 and 3; 0 and 1 are a touchpad's
const STICK_CLICK = 3;
const LOWER = 4;
const UPPER = 5;
/** A finger on a screen holds the place at this distance, metres. */
const SCREEN_REACH = 1;

export interface Held extends Hand {
  source: XRInputSource;
  /** Just pressed in this frame. */
  menu: boolean;
  again: boolean;
  /** Of a tracked hand: where it pinches, and its wrist. */
  fingers: { tip: THREE.Vector3; wrist: THREE.Vector3 } | null;
}
interface State {
  id: object;
  select: boolean;
  squeeze: boolean;
  busy: boolean;
  /** In the frame before. */
  pressing: boolean;
  buttons: Map<number, boolean>;
}

export class Inputs {
  private readonly states = new Map<XRInputSource, State>();
  private readonly off = new AbortController();

  constructor(private readonly session: XRSession) {
    const on = (type: "selectstart" | "selectend" | "squeezestart" | "squeezeend", key: "select" | "squeeze", value: boolean) =>
      session.addEventListener(type, (event: XRInputSourceEvent) => (this.state(event.inputSource)[key] = value), { signal: this.off.signal });
    on("selectstart", "select", true);
    on("selectend", "select", false);
    on("squeezestart", "squeeze", true);
    on("squeezeend", "squeeze", false);
  }
  close(): void {
    this.off.abort();
    this.states.clear();
  }
  /** `claimed`: whether something in the room (the menu) is under the ray of this hand. */
  read(frame: XRFrame, space: XRReferenceSpace, claimed: (hand: Held) => boolean): Held[] {
    const held: Held[] = [];
    const there = new Set(this.session.inputSources);
    for (const source of this.states.keys()) if (!there.has(source)) this.states.delete(source);
    for (const source of this.session.inputSources) {
      const hand = this.hand(source, frame, space);
      if (!hand) continue;
      const state = this.state(source);
      // what begins on the menu stays with the menu until it is let go, and what began in the place stays there
      const pressing = state.select || state.squeeze;
      const over = claimed(hand);
      if (!pressing || !state.pressing) state.busy = over;
      hand.busy = state.busy;
      state.pressing = pressing;
      held.push(hand);
    }
    return held;
  }

  private state(source: XRInputSource): State {
    let state = this.states.get(source);
    if (!state) {
      state = { id: source, select: false, squeeze: false, busy: false, pressing: false, buttons: new Map() };
      this.states.set(source, state);
    }
    return state;
  }
  private hand(source: XRInputSource, frame: XRFrame, space: XRReferenceSpace): Held | null {
    if (source.targetRayMode === "gaze") return null;
    const ray = poseIn(frame, source.targetRaySpace, space);
    if (!ray) return null;
    const state = this.state(source);
    const mode: string = source.targetRayMode;
    const screen = mode === "screen";
    const grip = (source.gripSpace && poseIn(frame, source.gripSpace, space)) || (screen ? reached(ray) : ray);
    const { axes, buttons } = source.gamepad ?? { axes: [], buttons: [] };
    const pressed = (index: number) => {
      const now = buttons[index]?.pressed ?? false;
      const before = state.buttons.get(index) ?? now;
      state.buttons.set(index, now);
      return now && !before;
    };
    const [lower, upper, click] = [pressed(LOWER), pressed(UPPER), pressed(STICK_CLICK)];
    return {
      id: state.id,
      source,
      side: source.handedness === "left" || source.handedness === "right" ? source.handedness : "none",
      kind: source.hand || mode === "transient-pointer" ? "hand" : screen ? "screen" : "controller", // a pinch where one looks is a hand's
      ray,
      grip,
      select: state.select,
      squeeze: state.squeeze,
      stick: { x: axes[STICK] ?? 0, y: axes[STICK + 1] ?? 0 },
      busy: false,
      menu: lower || upper,
      again: click,
      fingers: fingersOf(source, frame, space),
    };
  }
}

export function poseIn(frame: XRFrame, of: XRSpace, space: XRSpace): Pose | null {
  const pose = frame.getPose(of, space);
  return pose ? poseFrom(pose.transform) : null;
}
export function poseFrom({ position, orientation }: XRRigidTransform): Pose {
  return {
    position: new THREE.Vector3(position.x, position.y, position.z),
    quaternion: new THREE.Quaternion(orientation.x, orientation.y, orientation.z, orientation.w),
  };
}
function fingersOf({ hand }: XRInputSource, frame: XRFrame, space: XRSpace): Held["fingers"] {
  const at = (joint: XRHandJoint) => {
    const of = hand?.get(joint);
    const pose = of && frame.getJointPose?.(of, space);
    return pose ? poseFrom(pose.transform).position : null;
  };
  const [tip, wrist] = [at("index-finger-tip"), at("wrist")];
  return tip && wrist ? { tip, wrist } : null;
}
function reached(ray: Pose): Pose {
  const position = new THREE.Vector3(0, 0, -SCREEN_REACH).applyQuaternion(ray.quaternion).add(ray.position);
  return { position, quaternion: ray.quaternion };
}
