/** What hands and controllers do to the place: walk, turn, teleport, grab with one hand and with two. Told once a frame what the
 * hands do, it gives the new placement and what to draw. Knows nothing of WebXR, so that tests can play the hands. */

import * as THREE from "three";
import type { Pose } from "../view/frames";
import {
  arc,
  landing,
  oneHand,
  type Placement,
  rested,
  SnapTurn,
  type Stick,
  stickStep,
  stoodAt,
  toPlace,
  toRoom,
  turnedRight,
  twoHands,
  walked,
} from "./locomotion";
import type { Comfort } from "./settings";

export interface Hand {
  /** The same object for as long as this hand or controller is there. */
  id: object;
  side: "left" | "right" | "none";
  kind: "controller" | "hand" | "screen";
  /** Where it points from, and along -Z of the quaternion. */
  ray: Pose;
  /** Where it holds things. */
  grip: Pose;
  /** Trigger, pinch or tap. */
  select: boolean;
  squeeze: boolean;
  stick: Stick;
  /** It points at the menu, or pressed it: what it does is not for the place. */
  busy: boolean;
}
export interface Moment {
  seconds: number;
  head: Pose;
  hands: readonly Hand[];
  comfort: Comfort;
  /** Trigger and stick throw a teleport (VR); off, they grab (AR). */
  teleports: boolean;
  /** Height (room) of the ground that the person stands on. */
  ground: number;
}
/** What the person should see of it. */
export interface Shown {
  curve: THREE.Vector3[];
  landing: THREE.Vector3 | null;
  /** The hand that throws. */
  aiming: object | null;
  /** 0..1: how much the view moves without the body. */
  moving: number;
  /** The place jumped (teleport, snap): others may want to soften it. */
  jumped: boolean;
  grabbing: number;
}
/** Where a way between two points (place) meets the ground. */
export type GroundHit = (a: THREE.Vector3, b: THREE.Vector3) => THREE.Vector3 | null;

const THROW = 7; // metres a second: about six metres far from the hand of somebody who stands
const AIM_ON = -0.7;
const AIM_OFF = -0.35;
const SMOOTH_TURN = THREE.MathUtils.degToRad(90); // a second
/** A pinch that moves this far grabs, one that stays this long throws a teleport. */
const PINCH_MOVES = 0.025;
const PINCH_STAYS = 0.35;

type Pinch = { from: THREE.Vector3; seconds: number; is: "open" | "grab" | "aim" };
type Aim = { id: object; by: "stick" | "select" };

export class Gestures {
  placement: Placement;
  private readonly snap = new SnapTurn();
  private readonly pinches = new Map<object, Pinch>();
  private readonly selected = new Set<object>();
  private aim: Aim | null = null;
  private held: { placement: Placement; hands: { id: object; grip: Pose }[] } | null = null;

  constructor(
    start: Placement,
    private readonly hit: GroundHit,
    private readonly limits: readonly [number, number],
  ) {
    this.placement = start;
  }
  /** Put the place somewhere else; what was held is let go. */
  reset(placement: Placement): void {
    this.placement = placement;
    this.held = this.aim = null;
    this.pinches.clear();
  }

  update(moment: Moment): Shown {
    const shown: Shown = { curve: [], landing: null, aiming: null, moving: 0, jumped: false, grabbing: 0 };
    this.watchPinches(moment);
    this.grab(moment, shown);
    if (this.held) this.aim = null;
    else {
      this.teleport(moment, shown);
      this.walk(moment, shown);
      this.turn(moment, shown);
    }
    this.selected.clear();
    for (const hand of moment.hands) if (hand.select) this.selected.add(hand.id);
    return shown;
  }

  private walk({ hands, head, comfort, seconds }: Moment, shown: Shown): void {
    for (const hand of hands) {
      if (hand.kind !== "controller" || hand.side === comfort.hand) continue;
      const step = stickStep(hand.stick, head.quaternion, comfort.speed, seconds);
      if (step.lengthSq() === 0) continue;
      this.placement = walked(this.placement, step);
      shown.moving = Math.max(shown.moving, Math.min(1, Math.hypot(hand.stick.x, hand.stick.y)));
    }
  }
  private turn({ hands, head, comfort, seconds }: Moment, shown: Shown): void {
    const hand = hands.find((h) => h.kind === "controller" && h.side === comfort.hand);
    if (!hand || this.aim?.by === "stick") return;
    if (comfort.turn === "smooth") {
      const rate = rested(hand.stick.x);
      if (rate === 0) return;
      this.placement = turnedRight(this.placement, head.position, rate * SMOOTH_TURN * seconds);
      shown.moving = Math.max(shown.moving, Math.abs(rate));
      return;
    }
    const push = this.snap.push(hand.stick.x);
    if (push === 0) return;
    this.placement = turnedRight(this.placement, head.position, push * THREE.MathUtils.degToRad(comfort.angle));
    shown.jumped = true;
  }

  private teleport(moment: Moment, shown: Shown): void {
    if (!moment.teleports) {
      this.aim = null;
      return;
    }
    this.aim ??= this.newAim(moment);
    const aim = this.aim;
    if (!aim) return;
    const hand = moment.hands.find((h) => h.id === aim.id);
    if (!hand || hand.busy) {
      this.aim = null;
      return;
    }
    const ahead = new THREE.Vector3(0, 0, -1).applyQuaternion(hand.ray.quaternion);
    const way = landing(arc(hand.ray.position, ahead, THROW), (a, b) => this.ground(a, b));
    const pressed = aim.by === "stick" ? hand.stick.y < AIM_OFF : hand.select;
    if (pressed) {
      shown.curve = way.curve;
      shown.landing = way.at;
      shown.aiming = hand.id;
      return;
    }
    this.aim = null;
    if (!way.at) return;
    this.placement = stoodAt(this.placement, moment.head.position, way.at, moment.ground);
    shown.jumped = true;
  }
  private newAim({ hands, comfort }: Moment): Aim | null {
    for (const hand of hands) {
      if (hand.busy) continue;
      if (hand.kind === "controller") {
        if (hand.side === comfort.hand && hand.stick.y < AIM_ON && Math.abs(hand.stick.x) < 0.5) return { id: hand.id, by: "stick" };
        if (hand.select && !this.selected.has(hand.id)) return { id: hand.id, by: "select" };
      }
      if (this.pinches.get(hand.id)?.is === "aim") return { id: hand.id, by: "select" };
    }
    return null;
  }
  private ground(a: THREE.Vector3, b: THREE.Vector3): THREE.Vector3 | null {
    const at = this.hit(toPlace(this.placement, a), toPlace(this.placement, b));
    return at && toRoom(this.placement, at);
  }

  /** A pinch is a grab or a throw: which, is told by what the hand does next. */
  private watchPinches({ hands, seconds, teleports }: Moment): void {
    for (const hand of hands) {
      if (hand.kind !== "hand") continue;
      if (!hand.select || hand.busy) {
        // an aiming pinch is forgotten by teleport(), which still has to see it open
        this.pinches.delete(hand.id);
        continue;
      }
      const pinch = this.pinches.get(hand.id);
      if (!pinch) {
        this.pinches.set(hand.id, { from: hand.grip.position.clone(), seconds: 0, is: teleports ? "open" : "grab" });
        continue;
      }
      pinch.seconds += seconds;
      if (pinch.is !== "open") continue;
      if (hand.grip.position.distanceTo(pinch.from) > PINCH_MOVES) pinch.is = "grab";
      else if (pinch.seconds > PINCH_STAYS) pinch.is = "aim";
    }
    const pinching = [...this.pinches.values()];
    if (pinching.length >= 2 && this.aim === null) for (const pinch of pinching) pinch.is = "grab";
  }
  private grabs(hand: Hand, { teleports }: Moment): boolean {
    if (hand.kind === "hand") return this.pinches.get(hand.id)?.is === "grab";
    if (hand.busy) return false;
    return hand.squeeze || (!teleports && hand.select);
  }
  private grab(moment: Moment, shown: Shown): void {
    const hands = moment.hands.filter((hand) => this.grabs(hand, moment)).slice(0, 2);
    shown.grabbing = hands.length;
    if (hands.length === 0) {
      this.held = null;
      return;
    }
    const held = this.held;
    const same = held !== null && held.hands.length === hands.length && hands.every((hand, i) => hand.id === held.hands[i]!.id);
    if (!same) {
      const grip = (hand: Hand): Pose => ({ position: hand.grip.position.clone(), quaternion: hand.grip.quaternion.clone() });
      this.held = { placement: this.placement, hands: hands.map((hand) => ({ id: hand.id, grip: grip(hand) })) };
      return;
    }
    const [a, b] = hands;
    const [heldA, heldB] = held.hands;
    if (a && b && heldA && heldB) {
      const now = [a.grip.position, b.grip.position] as const;
      this.placement = twoHands(held.placement, [heldA.grip.position, heldB.grip.position], now, this.limits);
    } else if (a && heldA) this.placement = oneHand(held.placement, heldA.grip, a.grip);
  }
}
