import * as THREE from "three";
import { describe, expect, it } from "vitest";
import { angleFor, applyLens, camFromWorld, frameOf, type Lens, poseOf, toYup, vfovDeg } from "../src/view/frames";

/** A camera at c (world, +Z up) whose rows are its right, down and forward axes. */
function looking(from: THREE.Vector3, at: THREE.Vector3): number[] {
  const forward = at.clone().sub(from).normalize();
  const right = forward.clone().cross(new THREE.Vector3(0, 0, 1)).normalize();
  const down = forward.clone().cross(right);
  return [right, down, forward].flatMap((axis) => [axis.x, axis.y, axis.z, -axis.dot(from)]).concat([0, 0, 0, 1]);
}
const FROM = new THREE.Vector3(3, -2, 1.5);
const AT = new THREE.Vector3(-0.5, 0.25, 0.75);

describe("frames", () => {
  it("turn +Z up into +Y up", () => {
    expect(toYup([0, 0, 1]).distanceTo(new THREE.Vector3(0, 1, 0))).toBeLessThan(1e-12);
    expect(toYup([1, 2, 3]).distanceTo(new THREE.Vector3(1, 3, -2))).toBeLessThan(1e-12);
  });
  it("place a camera and give it back", () => {
    const m = looking(FROM, AT);
    const pose = poseOf(m);
    expect(pose.position.distanceTo(toYup(FROM))).toBeLessThan(1e-9);
    const ahead = new THREE.Vector3(0, 0, -1).applyQuaternion(pose.quaternion);
    expect(ahead.distanceTo(toYup(AT.clone().sub(FROM).normalize()))).toBeLessThan(1e-9);
    const up = new THREE.Vector3(0, 1, 0).applyQuaternion(pose.quaternion);
    expect(up.y).toBeGreaterThan(0.9);
    camFromWorld(pose).forEach((value, i) => expect(value).toBeCloseTo(m[i]!, 9));
  });
});

describe("a lens", () => {
  const point = new THREE.Vector3(-0.2, 0.4, 1.1);
  const K: [number, number, number, number] = [612, 598, 340.5, 201.25];
  const size: [number, number] = [640, 480];

  /** Where OpenCV's camera puts the point, pixels of the photo. */
  function truth(m: number[]): [number, number] {
    const [x, y, z] = [0, 1, 2].map((r) => m[4 * r]! * point.x + m[4 * r + 1]! * point.y + m[4 * r + 2]! * point.z + m[4 * r + 3]!) as [number, number, number];
    return [(K[0] * x) / z + K[2], (K[1] * y) / z + K[3]];
  }
  function projected(lens: Lens, width: number, height: number, m: number[]): [number, number] {
    const camera = new THREE.PerspectiveCamera(50, 1, 0.01, 100);
    const pose = poseOf(m);
    camera.position.copy(pose.position);
    camera.quaternion.copy(pose.quaternion);
    camera.updateMatrixWorld();
    applyLens(camera, lens, width, height);
    const ndc = toYup(point).project(camera);
    return [(0.5 + ndc.x / 2) * width, (0.5 - ndc.y / 2) * height];
  }

  it.each([
    [640, 480],
    [1440, 900],
    [390, 844],
  ])("of a captured camera puts a point on its pixel in a canvas of %i x %i", (width, height) => {
    const m = looking(FROM, AT);
    const [u, v] = truth(m);
    const frame = frameOf({ K, size }, width, height);
    const scale = frame.width / size[0];
    const [x, y] = projected({ K, size }, width, height, m);
    expect(x).toBeCloseTo(frame.x + u * scale, 6);
    expect(y).toBeCloseTo(frame.y + v * scale, 6);
    expect(frame.width / frame.height).toBeCloseTo(size[0] / size[1], 9);
    expect(Math.max(frame.width / width, frame.height / height)).toBeCloseTo(1, 9);
  });
  it("with an angle is the one of a centred K", () => {
    const m = looking(FROM, AT);
    const centred: Lens = { K: [600, 600, 320, 240], size };
    const angle = vfovDeg(centred, 800, 480);
    expect(angle).toBeCloseTo(2 * THREE.MathUtils.radToDeg(Math.atan(240 / 600)), 9);
    const [a, b] = [projected(centred, 800, 480, m), projected({ vfov_deg: angle }, 800, 480, m)];
    expect(a[0]).toBeCloseTo(b[0], 6);
    expect(a[1]).toBeCloseTo(b[1], 6);
  });
  it("is widened on upright screens until it shows as much across, within limits", () => {
    expect(angleFor(47, 1440, 900)).toBe(47);
    const tangent = (degrees: number) => Math.tan(THREE.MathUtils.degToRad(degrees) / 2);
    expect(tangent(angleFor(47, 700, 900)) * (700 / 900)).toBeCloseTo(tangent(47), 9);
    expect(angleFor(47, 390, 844)).toBe(75);
    expect(angleFor(90, 390, 844)).toBe(90);
  });
});
