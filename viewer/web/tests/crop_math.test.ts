import * as THREE from "three";
import { describe, expect, it } from "vitest";
import { clipInterval, corners, type CropBox, EDGES, moveSide, nearestOnLine, planes, readCrop, sideCentre, SIDES, writeCrop } from "../src/tools/crop_math";

const box: CropBox = { centre: [1, 2, 3], half: [2, 1, 0.5], yaw_deg: 90 };

describe("the crop box", () => {
  it("turned by 90 degrees has its long side along y", () => {
    const bounds = new THREE.Box3().setFromPoints(corners(box));
    [0, 0, 2.5].forEach((v, i) => expect(bounds.min.getComponent(i)).toBeCloseTo(v, 12));
    [2, 4, 3.5].forEach((v, i) => expect(bounds.max.getComponent(i)).toBeCloseTo(v, 12));
  });
  it("has twelve edges, each as long as its side", () => {
    const at = corners(box);
    const lengths = EDGES.map(([a, b]) => at[a]!.distanceTo(at[b]!)).sort((a, b) => a - b);
    expect(lengths).toHaveLength(12);
    [1, 1, 1, 1, 2, 2, 2, 2, 4, 4, 4, 4].forEach((l, i) => expect(lengths[i]).toBeCloseTo(l, 12));
  });
  it("is where all planes are positive", () => {
    const inside = (p: THREE.Vector3) => planes(box).every((plane) => plane.distanceToPoint(p) > 0);
    expect(inside(new THREE.Vector3(1, 3.9, 3))).toBe(true);
    expect(inside(new THREE.Vector3(2.9, 2, 3))).toBe(false); // inside only if it were not turned
    expect(inside(new THREE.Vector3(1, 2, 3.6))).toBe(false);
  });
  it("keeps the opposite side when one is moved, and never turns inside out", () => {
    for (const side of SIDES) {
      const opposite = { axis: side.axis, sign: -side.sign } as typeof side;
      const wider = moveSide(box, side, side.sign * 5, 0.01);
      expect(sideCentre(wider, opposite).distanceTo(sideCentre(box, opposite))).toBeLessThan(1e-12);
      expect(wider.half[side.axis]).toBeCloseTo((5 + box.half[side.axis]) / 2, 12);
      const flat = moveSide(box, side, -side.sign * 100, 0.01);
      expect(flat.half[side.axis]).toBeCloseTo(0.01, 12);
    }
  });
  it("is met by rays where it should be", () => {
    const down = clipInterval(box, new THREE.Vector3(1, 2, 10), new THREE.Vector3(0, 0, -1))!;
    expect(down[0]).toBeCloseTo(6.5, 12);
    expect(down[1]).toBeCloseTo(7.5, 12);
    expect(clipInterval(box, new THREE.Vector3(1, 2, 3), new THREE.Vector3(1, 0, 0))![1]).toBeCloseTo(1, 12); // from inside
    expect(clipInterval(box, new THREE.Vector3(1, 2, 10), new THREE.Vector3(0, 0, 1))).toBeNull();
    expect(clipInterval(box, new THREE.Vector3(5, 2, 10), new THREE.Vector3(0, 0, -1))).toBeNull();
  });
  it("goes into a link and back, and nothing else does", () => {
    expect(readCrop(JSON.parse(JSON.stringify(writeCrop(box))))).toEqual(box);
    for (const bad of [null, {}, [1, 2, 3], [1, 2, 3, 0, 1, 1, 0], [1, 2, 3, 1, 1, -1, 0], [1, 2, 3, 1, 1, "1", 0], [1, 2, 3, 1, 1, 1, 1e99], [1, 2, 3, 1, 1, 1, NaN]]) expect(readCrop(bad)).toBeNull();
  });
});

describe("a handle on a line", () => {
  it("follows the ray's nearest place", () => {
    const ray = new THREE.Ray(new THREE.Vector3(4, 5, 7), new THREE.Vector3(0, -2, 0)); // passes x = 4, z = 7; the line is the x axis through z = 1
    expect(nearestOnLine(new THREE.Vector3(1, 0, 1), new THREE.Vector3(1, 0, 0), ray)).toBeCloseTo(3, 12);
    const skew = new THREE.Ray(new THREE.Vector3(0, 0, 1), new THREE.Vector3(1, 1, -1).normalize()); // meets the x-y diagonal at (1, 1, 0)
    expect(nearestOnLine(new THREE.Vector3(0, 0, 0), new THREE.Vector3(1, 1, 0).normalize(), skew)).toBeCloseTo(Math.SQRT2, 12);
  });
  it("is nowhere when they are parallel", () => {
    expect(nearestOnLine(new THREE.Vector3(), new THREE.Vector3(1, 0, 0), new THREE.Ray(new THREE.Vector3(0, 1, 0), new THREE.Vector3(1, 0, 0)))).toBeNull();
  });
});
