import * as THREE from "three";
import { beforeEach, describe, expect, it } from "vitest";
import { Gestures, type Hand, type Moment } from "../../src/xr/gestures";
import { hitLevel, HOME, toPlace, toRoom } from "../../src/xr/locomotion";
import { DEFAULTS } from "../../src/xr/settings";

const v = (x: number, y: number, z: number) => new THREE.Vector3(x, y, z);
const about = (angle: number, axis = v(0, 1, 0)) => new THREE.Quaternion().setFromAxisAngle(axis, angle);
const hand = (side: "left" | "right", kind: Hand["kind"] = "controller"): Hand => ({
  id: {},
  side,
  kind,
  ray: { position: v(0, 1.4, 0), quaternion: about(0) },
  grip: { position: v(side === "left" ? -0.2 : 0.2, 1.2, -0.3), quaternion: about(0) },
  select: false,
  squeeze: false,
  stick: { x: 0, y: 0 },
  busy: false,
});

let gestures: Gestures, left: Hand, right: Hand, moment: Moment;
const play = (frames = 1) => {
  let shown = gestures.update(moment);
  for (let i = 1; i < frames; i++) shown = gestures.update(moment);
  return shown;
};
const setUp = (kind: Hand["kind"]) => {
  gestures = new Gestures(HOME, (a, b) => hitLevel(a, b, 0), [0.1, 10]);
  [left, right] = [hand("left", kind), hand("right", kind)];
  moment = { seconds: 0.05, head: { position: v(0, 1.6, 0), quaternion: about(0) }, hands: [left, right], comfort: DEFAULTS, teleports: true, ground: 0 };
};

describe("controllers", () => {
  beforeEach(() => setUp("controller"));
  it("walk with the other hand's stick, 1.5 m in a second", () => {
    left.stick.y = -1;
    expect(play(20).moving).toBe(1);
    expect(gestures.placement.position.z).toBeCloseTo(1.5);
  });
  it("take the sticks of the chosen hand", () => {
    moment.comfort = { ...DEFAULTS, hand: "left" };
    right.stick.y = -1;
    play(20);
    expect(gestures.placement.position.z).toBeCloseTo(1.5);
  });
  it("snap once by the chosen angle, about the head", () => {
    right.stick.x = 1;
    play(5);
    expect(gestures.placement.yaw).toBeCloseTo(Math.PI / 6);
  });
  it("turn smoothly when that is chosen: 90 degrees a second", () => {
    moment.comfort = { ...DEFAULTS, turn: "smooth" };
    right.stick.x = 1;
    play(10);
    expect(gestures.placement.yaw).toBeCloseTo(Math.PI / 4);
  });
  it.each(["stick", "trigger"])("teleport with the %s, when it is let go", (by) => {
    if (by === "stick") right.stick.y = -1;
    else right.select = true;
    const shown = play(3);
    expect(shown.landing!.y).toBeCloseTo(0);
    expect(gestures.placement).toBe(HOME);
    right.stick.y = 0;
    right.select = false;
    expect(play().jumped).toBe(true);
    const head = toPlace(gestures.placement, moment.head.position);
    expect(head.z).toBeCloseTo(shown.landing!.z);
    expect(head.y).toBeCloseTo(1.6);
  });
  it("do not teleport from the menu", () => {
    right.select = right.busy = true;
    play(2);
    right.select = false;
    play();
    expect(gestures.placement).toBe(HOME);
  });
  it("carry the place with the grip", () => {
    right.squeeze = true;
    play();
    right.grip.position.add(v(0.1, 0.2, 0.3));
    expect(play().grabbing).toBe(1);
    expect(gestures.placement.position.toArray()).toEqual([expect.closeTo(0.1), expect.closeTo(0.2), expect.closeTo(0.3)]);
  });
  it("scale with both grips, and go on with one without a jump", () => {
    left.squeeze = right.squeeze = true;
    play();
    left.grip.position.x = -0.4;
    right.grip.position.x = 0.4;
    play();
    expect(gestures.placement.scale).toBeCloseTo(2);
    const before = gestures.placement;
    left.squeeze = false;
    play(3);
    expect(gestures.placement).toEqual(before);
  });
  it("grab with the trigger where there is no teleport", () => {
    moment.teleports = false;
    right.select = true;
    play();
    right.grip.position.y += 0.5;
    play();
    expect(gestures.placement.position.y).toBeCloseTo(0.5);
  });
});

describe("bare hands", () => {
  beforeEach(() => setUp("hand"));
  it("grab with a pinch that moves", () => {
    const held = toPlace(gestures.placement, right.grip.position.clone().add(v(0.03, 0, 0)));
    right.select = true;
    play();
    right.grip.position.x += 0.03;
    play(); // from here on it is a grab
    right.grip.position.x += 0.2;
    play();
    expect(toRoom(gestures.placement, held).x).toBeCloseTo(right.grip.position.x);
  });
  it("teleport with a pinch that stays", () => {
    right.select = true;
    const shown = play(9);
    expect(shown.landing).not.toBeNull();
    right.select = false;
    play();
    expect(toPlace(gestures.placement, moment.head.position).z).toBeCloseTo(shown.landing!.z);
  });
  it("do nothing with a short pinch", () => {
    right.select = true;
    play(2);
    right.select = false;
    play();
    expect(gestures.placement).toBe(HOME);
  });
  it("scale with two pinches", () => {
    left.select = right.select = true;
    play(2);
    left.grip.position.x = -0.1;
    right.grip.position.x = 0.1;
    play();
    expect(gestures.placement.scale).toBeCloseTo(0.5);
  });
});
