import * as THREE from "three";
import { describe, expect, it } from "vitest";
import { arc, clampedFactor, heading, hitLevel, HOME, landing, oneHand, type Placement, putRig, rested, similar, SnapTurn, stickStep, stoodAt, toPlace, toRoom, turnedRight, twist, twoHands, UP, walked } from "../../src/xr/locomotion";

const v = (x: number, y: number, z: number) => new THREE.Vector3(x, y, z);
const about = (angle: number, axis = UP) => new THREE.Quaternion().setFromAxisAngle(axis, angle);
const PLACED: Placement = { position: v(1, -0.5, 2), yaw: 0.7, scale: 0.4 };
const near = (a: THREE.Vector3, b: THREE.Vector3, digits = 9) => {
  expect(a.x).toBeCloseTo(b.x, digits);
  expect(a.y).toBeCloseTo(b.y, digits);
  expect(a.z).toBeCloseTo(b.z, digits);
};

describe("placement", () => {
  it("is what the rig does", () => {
    const rig = new THREE.Group();
    putRig(rig, PLACED);
    near(rig.localToWorld(v(3, 1, -2)), toRoom(PLACED, v(3, 1, -2)));
  });
  it("goes to the room and back", () => near(toPlace(PLACED, toRoom(PLACED, v(3, 1, -2))), v(3, 1, -2)));
  it("keeps the pivot of a similarity at its goal", () => {
    const place = toPlace(PLACED, v(0.3, 1, -0.4));
    near(toRoom(similar(PLACED, v(0.3, 1, -0.4), v(2, 0, 1), 1.1, 3), place), v(2, 0, 1));
  });
});

describe("heading", () => {
  it("is zero along -Z and grows to the left", () => {
    expect(heading(about(0))).toBeCloseTo(0);
    expect(heading(about(0.6))).toBeCloseTo(0.6);
    expect(heading(about(-2.5))).toBeCloseTo(-2.5);
  });
  it.each([-1, 1])("does not flip for who looks straight down or up", (sign) => {
    const straight = about(0.6).multiply(about((sign * Math.PI) / 2, v(1, 0, 0)));
    expect(heading(straight)).toBeCloseTo(0.6);
  });
  it("twist is the part about up", () => {
    expect(twist(about(0.8).multiply(about(0.5, v(1, 0, 0))))).toBeCloseTo(0.8);
    expect(twist(about(0.9, v(0, 0, 1)))).toBeCloseTo(0);
  });
});

describe("walking", () => {
  it("goes where the head looks, at the speed of the stick", () => {
    near(stickStep({ x: 0, y: -1 }, about(Math.PI / 2), 2, 0.5), v(-1, 0, 0));
    near(stickStep({ x: 1, y: 0 }, about(0), 2, 0.5), v(1, 0, 0));
  });
  it("does not sink for who looks down", () => expect(stickStep({ x: 0, y: -1 }, about(-1.2, v(1, 0, 0)), 2, 0.5).y).toBe(0));
  it("rests near the middle of the stick", () => {
    expect(rested(0.1)).toBe(0);
    expect(rested(-1)).toBe(-1);
    expect(stickStep({ x: 0.05, y: 0.05 }, about(0), 2, 1).length()).toBe(0);
  });
  it("brings the place towards the walker", () => near(toRoom(walked(HOME, v(0, 0, -1)), v(0, 0, -3)), v(0, 0, -2)));
});

describe("turning", () => {
  it("turns the view right: what was ahead comes to the left, the head stays", () => {
    const head = v(1, 1.6, 0);
    const turned = turnedRight(HOME, head, Math.PI / 2);
    near(toRoom(turned, head), head);
    near(toRoom(turned, v(1, 1.6, -5)), v(-4, 1.6, 0));
  });
  it("turns once for each push", () => {
    const snap = new SnapTurn();
    expect([0.5, 0.9, 1, 0.5, 0.8, 0.2, -0.9, -0.9, 0].map((x) => snap.push(x))).toEqual([0, 1, 0, 0, 0, 0, -1, 0, 0]);
  });
});

describe("grabbing", () => {
  it("with one hand moves, and turns about up only", () => {
    const before = { position: v(0.2, 1, -0.3), quaternion: about(0.3, v(1, 0, 0)) };
    const now = { position: v(0.5, 1.2, -0.1), quaternion: about(0.5).multiply(before.quaternion) };
    const placed = oneHand(PLACED, before, now);
    near(toRoom(placed, toPlace(PLACED, before.position)), now.position);
    expect(placed.yaw).toBeCloseTo(PLACED.yaw + 0.5);
    expect(placed.scale).toBe(PLACED.scale);
  });
  it("with two level hands keeps what each hand holds", () => {
    const before = [v(-0.2, 1, -0.4), v(0.2, 1, -0.4)] as const;
    const now = [v(-0.5, 1.1, -0.3), v(0.4, 1.1, -0.9)] as const;
    const placed = twoHands(PLACED, before, now, [1e-3, 1e3]);
    near(toRoom(placed, toPlace(PLACED, before[0])), now[0]);
    near(toRoom(placed, toPlace(PLACED, before[1])), now[1]);
    expect(placed.scale / PLACED.scale).toBeCloseTo(now[0].distanceTo(now[1]) / 0.4);
  });
  it("scales about the middle of the hands and stops at its limits", () => {
    const before = [v(-0.1, 1, 0), v(0.1, 1, 0)] as const;
    const placed = twoHands(PLACED, before, [v(-1, 1, 0), v(1, 1, 0)], [0.1, 0.8]);
    expect(placed.scale).toBeCloseTo(0.8);
    near(toRoom(placed, toPlace(PLACED, v(0, 1, 0))), v(0, 1, 0));
    expect(clampedFactor(2, 0.01, [0.5, 4])).toBe(0.25);
  });
  it("does not turn for hands above each other", () => {
    const placed = twoHands(PLACED, [v(0, 0.9, 0), v(0.001, 1.1, 0)], [v(0, 0.9, 0), v(0, 1.1, 0.001)], [0.1, 1]);
    expect(placed.yaw).toBeCloseTo(PLACED.yaw);
  });
});

describe("teleport", () => {
  it("flies as a thrown thing", () => {
    const curve = arc(v(0, 1.5, 0), v(0, 0, -2), 5, 3, 0.1);
    near(curve[2]!, v(0, 1.5 - 0.5 * 9.81 * 0.04, -1));
  });
  it("comes down on the level at the time that the law of fall says", () => {
    const way = landing(arc(v(0, 1.5, 0), v(1, 0, 0), 4, 200, 0.01), (a, b) => hitLevel(a, b, 0));
    expect(way.at!.x).toBeCloseTo(4 * Math.sqrt((2 * 1.5) / 9.81), 3);
    expect(way.at!.y).toBeCloseTo(0, 9);
    expect(way.curve.at(-1)).toBe(way.at);
  });
  it("says when it meets no ground", () => expect(landing(arc(v(0, 1.5, 0), v(0, 1, 0), 7), () => null).at).toBeNull());
  it("does not land from below", () => expect(hitLevel(v(0, -1, 0), v(0, 1, 0), 0)).toBeNull());
  it("brings the landing under the head, on the ground", () => {
    const at = v(3, 0.4, -2);
    near(toRoom(stoodAt(PLACED, v(0.1, 1.7, 0.2), at, -0.1), toPlace(PLACED, at)), v(0.1, -0.1, 0.2));
  });
});
