import { describe, expect, it } from "vitest";
import { boxDistance, chooseTiles, type Eye, type Region, tileOfPoints } from "../src/content/choice";
import { deviceBudget, holdsExactly } from "../src/content/device";

/** Ten tiles in a row along x, tile i from x = i to i + 1. */
const ROW: Region[] = Array.from({ length: 10 }, (_, i) => ({ count: 100, min: [i, 0, 0], max: [i + 1, 1, 1] }));
const eyeAt = (x: number, planes: Eye["planes"] = []): Eye => ({ position: [x, 0.5, 0.5], planes });
const NONE = new Set<number>();

describe("the choice of tiles", () => {
  it("takes all that fit, nearest first", () => {
    expect(chooseTiles(ROW, eyeAt(9.5), Infinity, NONE)).toEqual([9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
  });
  it("never takes more than the budget", () => {
    for (const budget of [0, 99, 100, 350, 999, 1000]) {
      const chosen = chooseTiles(ROW, eyeAt(4.2), budget, NONE);
      expect(chosen.length).toBe(Math.min(10, Math.floor(budget / 100)));
    }
    expect(chooseTiles(ROW, eyeAt(4.2), 300, NONE)).toEqual([4, 3, 5]);
  });
  it("prefers what is in view", () => {
    const rightOf = (x: number): Eye["planes"] => [[1, 0, 0, -x]];
    expect(chooseTiles(ROW, eyeAt(4.6, rightOf(4.6)), 300, NONE)).toEqual([4, 5, 6]); // tile 3 is nearer than 6, but behind
  });
  it("keeps what it holds while the eye wavers", () => {
    expect(chooseTiles(ROW, eyeAt(4.95), 200, NONE)).toEqual([4, 5]);
    expect(chooseTiles(ROW, eyeAt(4.45), 200, NONE)).toEqual([4, 3]);
    expect(chooseTiles(ROW, eyeAt(4.45), 200, new Set([4, 5]))).toEqual([4, 5]);
    expect(chooseTiles(ROW, eyeAt(4.1), 200, new Set([4, 5]))).toEqual([4, 3]);
  });
  it("passes by a tile that does not fit", () => {
    const tiles = ROW.map((tile, i) => (i === 4 ? { ...tile, count: 5000 } : tile));
    expect(chooseTiles(tiles, eyeAt(4.6), 200, NONE)).toEqual([5, 3]);
  });
  it("measures to the box and gives points to the box they lie in", () => {
    expect(boxDistance(ROW[0]!, [0.5, 0.5, 0.5])).toBe(0);
    expect(boxDistance(ROW[0]!, [4, 5, 0.5])).toBeCloseTo(5);
    const owner = tileOfPoints(ROW, new Float32Array([0.5, 0.5, 0.5, 7.2, 0.1, 0.9, 30, 0, 0, -3, 0, 0]));
    expect([...owner]).toEqual([0, 7, 9, 0]);
  });
});

describe("the device's budget", () => {
  it("is what was published, lowered by memory and kind", () => {
    expect(deviceBudget(3e6, { memoryGb: null, mobile: false })).toBe(3e6);
    expect(deviceBudget(3e6, { memoryGb: 8, mobile: false })).toBe(3e6);
    expect(deviceBudget(3e6, { memoryGb: 4, mobile: false })).toBe(1.6e6);
    expect(deviceBudget(3e6, { memoryGb: 1, mobile: true })).toBe(4e5);
    expect(deviceBudget(3e6, { memoryGb: null, mobile: true })).toBe(1.5e6);
    expect(deviceBudget(1e5, { memoryGb: 0.5, mobile: true })).toBe(1e5);
    expect(holdsExactly(3e6, { memoryGb: 8, mobile: false })).toBe(true);
    expect(holdsExactly(3e6, { memoryGb: 8, mobile: true })).toBe(false);
  });
});
