import { describe, expect, it } from "vitest";
import type { Pickable } from "../src/content/pick";
import { type Box, extentOf } from "../src/tools/extent";

function setOf(places: number[][], alpha: number): Pickable {
  const count = places.length;
  const alphaScale = new Uint8Array(4 * count).map((_, i) => (i % 4 === 0 ? alpha : 100));
  const [reach, quat] = [new Float32Array(count), new Int16Array(4 * count)];
  return { count, mean: Float32Array.from(places.flat()), reach, alphaScale, quat, min: [0, 0, 0], max: [0, 0, 0] };
}
const SUBJECT: Box = { min: [-0.5, -0.5, 0], max: [0.5, 0.5, 1] };
/** A room of 10 x 6 x 3 with its walls, floor and ceiling. */
const ROOM = Array.from({ length: 4000 }, (_, i) => {
  const [u, v] = [(i * 0.618034) % 1, (i * 0.754878) % 1];
  const wall = i % 6;
  if (wall < 2) return [wall === 0 ? -5 : 5, 6 * u - 3, 3 * v];
  if (wall < 4) return [10 * u - 5, wall === 2 ? -3 : 3, 3 * v];
  return [10 * u - 5, 6 * v - 3, wall === 4 ? 0 : 3];
});

describe("the extent of a place", () => {
  it("holds the walls, and not what floats far outside of them", () => {
    const floaters = Array.from({ length: 12 }, (_, i) => [i % 2 ? 400 : -300, 90, -700]);
    const box = extentOf([setOf(ROOM, 255), setOf(floaters, 200)], SUBJECT)!;
    [-5, -3, 0].forEach((wall, k) => {
      expect(box.min[k]).toBeLessThan(wall);
      expect(box.min[k]).toBeGreaterThan(wall - 1);
    });
    [5, 3, 3].forEach((wall, k) => {
      expect(box.max[k]).toBeGreaterThan(wall);
      expect(box.max[k]).toBeLessThan(wall + 1);
    });
  });
  it("counts splats by their alpha", () => {
    const haze = Array.from({ length: 1000 }, () => [50, 0, 1]);
    expect(extentOf([setOf(ROOM, 255), setOf(haze, 2)], SUBJECT)!.max[0]).toBeLessThan(6);
    expect(extentOf([setOf(ROOM, 255), setOf(haze, 255)], SUBJECT)!.max[0]).toBeGreaterThan(50);
  });
  it("holds the subject, and is nothing without splats", () => {
    const box = extentOf([setOf([[0, 0, 0.5]], 255)], SUBJECT)!;
    expect([...box.min, ...box.max].every((v, i) => (i < 3 ? v < SUBJECT.min[i]! : v > SUBJECT.max[i - 3]!))).toBe(true);
    expect(extentOf([setOf(ROOM, 0)], SUBJECT)).toBeNull();
  });
});
