import * as THREE from "three";
import { describe, expect, it } from "vitest";
import { corners, Frustums } from "../src/capture/frustums";
import type { CapturedCamera } from "../src/manifest";
import { poseOf, toYup, YUP_FROM_WORLD } from "../src/view/frames";

/** A camera at (x, 0, 0) that looks along +Y of the world, +Z up. */
function cameraAt(x: number): CapturedCamera {
  return { name: `${x}.jpg`, cam_from_world: [1, 0, 0, -x, 0, 0, -1, 0, 0, 1, 0, 0, 0, 0, 0, 1], K: [400, 500, 300, 260], size: [640, 480], split: "train", photo: null, time: null };
}

describe("the pyramids of the captured cameras", () => {
  it("end where the corners of the picture are", () => {
    const [eye, topLeft, , bottomRight] = corners(cameraAt(2), 3);
    expect(eye!.toArray()).toEqual([2, 0, 0].map((v) => expect.closeTo(v, 9)));
    expect(topLeft!.toArray()).toEqual([2 - (3 * 300) / 400, 3, (3 * 260) / 500].map((v) => expect.closeTo(v, 9)));
    expect(bottomRight!.toArray()).toEqual([2 + (3 * 340) / 400, 3, (-3 * 220) / 500].map((v) => expect.closeTo(v, 9)));
    expect(poseOf(cameraAt(2).cam_from_world).position.distanceTo(toYup([2, 0, 0]))).toBeLessThan(1e-9);
  });
  it("are met by rays, the nearest first, and not by an eye inside", () => {
    const frustums = new Frustums([cameraAt(0), cameraAt(3), cameraAt(6)]); // one deep
    const world = new THREE.Group();
    world.quaternion.copy(YUP_FROM_WORLD);
    world.add(frustums.lines);
    world.updateMatrixWorld(true);
    const ray = (from: [number, number, number], to: [number, number, number]) => new THREE.Ray(toYup(from), toYup(to).sub(toYup(from)).normalize());
    expect(frustums.hit(ray([3, -5, 0], [3, 1, 0.02]))).toBe(1);
    expect(frustums.hit(ray([-9, 0.6, 0], [9, 0.6, 0]))).toBe(0);
    expect(frustums.hit(ray([9, 0.6, 0], [-9, 0.6, 0]))).toBe(2);
    expect(frustums.hit(ray([1.6, -5, 0], [1.6, 5, 0]))).toBeNull();
    expect(frustums.hit(ray([0, 0.3, 0], [6, 0.6, 0]))).toBe(1);
    const count = () => frustums.lines.geometry.index!.count;
    const all = count();
    expect(frustums.leaveOut(toYup([0, 0.3, 0]))).toBe(true);
    expect(count()).toBeCloseTo((all * 2) / 3, 9);
    expect(frustums.leaveOut(toYup([0, 0.3, 0]))).toBe(false);
  });
});
