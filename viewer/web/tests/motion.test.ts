import * as THREE from "three";
import { describe, expect, it } from "vitest";
import { approach, confine, copyMotion, difference, type Motion, motionOfPose, poseOfMotion, reachAboveFloor, shortAngle, withReach, zoomAbout } from "../src/view/motion";

const STATE: Motion = { pivot: new THREE.Vector3(1, 2, 3), reach: 4, yaw: 2.5, pitch: -0.6, roll: 0.2 };

function apart(a: Motion, b: Motion): number {
  const [p, q] = [poseOfMotion(a), poseOfMotion(b)];
  return p.position.distanceTo(q.position) + p.quaternion.angleTo(q.quaternion);
}

describe("the camera's state", () => {
  it("gives back the pose it was made of, whatever the reach, through all modes and back", () => {
    const pose = poseOfMotion(STATE);
    for (const reach of [0, 0.1, 4, 100]) expect(apart(motionOfPose(pose, reach), STATE)).toBeLessThan(1e-6);
    let state = copyMotion(STATE);
    for (let i = 0; i < 1000; i++) state = withReach(withReach(state, 0), 4);
    expect(apart(state, STATE)).toBeLessThan(1e-6);
    expect(state.pivot.distanceTo(STATE.pivot)).toBeLessThan(1e-9);
  });
  it("looks along -Z at yaw 0, up with pitch, and stands behind its pivot", () => {
    const level = poseOfMotion({ pivot: new THREE.Vector3(0, 1, 0), reach: 2, yaw: 0, pitch: 0, roll: 0 });
    expect(level.position.distanceTo(new THREE.Vector3(0, 1, 2))).toBeLessThan(1e-12);
    const up = poseOfMotion({ pivot: new THREE.Vector3(), reach: 0, yaw: 0, pitch: 0.5, roll: 0 });
    expect(new THREE.Vector3(0, 0, -1).applyQuaternion(up.quaternion).y).toBeCloseTo(Math.sin(0.5), 12);
  });
  it("turns round nothing under the floor, and does not leap at the first touch", () => {
    const pose = poseOfMotion({ ...STATE, roll: 0 }); // from above, at a place 2 high
    expect(reachAboveFloor(pose, 4, 1.9)).toBe(4);
    const reach = reachAboveFloor(pose, 4, 2.5);
    const state = motionOfPose(pose, reach);
    expect(state.pivot.y).toBeCloseTo(2.5, 9);
    confine(state, { centre: new THREE.Vector3(), radius: 100, lowest: 2.5 });
    expect(poseOfMotion(state).position.distanceTo(pose.position)).toBeLessThan(1e-9);
    expect(reachAboveFloor(pose, 4, 9)).toBe(4); // the eye itself is under it
  });
  it("arrives at its goal independently of how many frames it takes", () => {
    const goal: Motion = { pivot: new THREE.Vector3(-1, 0, 2), reach: 1, yaw: -2.9, pitch: 0.3, roll: 0 };
    const run = (frames: number) => {
      const state = copyMotion(STATE);
      for (let i = 0; i < frames; i++) approach(state, goal, 1 - Math.exp(-5 / frames));
      return state;
    };
    expect(difference(run(10), run(300), 1)).toBeLessThan(1e-9);
    expect(difference(run(10), goal, 1)).toBeLessThan(0.1);
    const half = copyMotion(STATE);
    approach(half, goal, 0.5);
    expect(half.reach).toBeCloseTo(2, 9); // the geometric mean of 4 and 1
    expect(half.yaw).toBeCloseTo(2.5 + shortAngle(-2.9 - 2.5) / 2, 9); // across pi, not back through 0
  });
  it("zooms about a place that keeps its direction", () => {
    const state = copyMotion(STATE);
    const anchor = new THREE.Vector3(0.5, 1, -2);
    const before = anchor.clone().sub(poseOfMotion(state).position);
    zoomAbout(state, anchor, 0.5);
    const after = anchor.clone().sub(poseOfMotion(state).position);
    expect(after.length()).toBeCloseTo(before.length() / 2, 9);
    expect(after.angleTo(before)).toBeLessThan(1e-6);
  });
  it("never ends under the floor nor infinitely far", () => {
    let seed = 3;
    const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647 - 0.5;
    const bounds = { centre: new THREE.Vector3(1, 1, 1), radius: 10, lowest: 0.1 };
    for (let i = 0; i < 500; i++) {
      const far = 10 ** (6 * random() + 2);
      const state: Motion = { pivot: new THREE.Vector3(random() * far, random() * far, random() * far), reach: i % 2 ? Math.abs(far * random()) : 0, yaw: 9 * random(), pitch: 9 * random(), roll: 0 };
      confine(state, bounds);
      const { position } = poseOfMotion(state);
      expect(position.y).toBeGreaterThan(0.1 - 1e-6);
      expect(position.distanceTo(bounds.centre)).toBeLessThan(31);
    }
  });
  it("is left alone within its bounds", () => {
    const state = copyMotion(STATE);
    confine(state, { centre: new THREE.Vector3(), radius: 100, lowest: -Infinity });
    expect(apart(state, STATE)).toBeLessThan(1e-6);
  });
});
