import { describe, expect, it } from "vitest";
import { angleDeg, chainLength, distance, heightAbove, inPlane, type Point, polygonArea } from "../src/tools/geometry";

const turn = (p: Point): Point => {
  // 30 degrees about z, then 50 degrees about x, then moved
  const [c, s] = [Math.cos(Math.PI / 6), Math.sin(Math.PI / 6)];
  const [d, t] = [Math.cos((50 * Math.PI) / 180), Math.sin((50 * Math.PI) / 180)];
  const [x, y, z] = [c * p[0] - s * p[1], s * p[0] + c * p[1], p[2]];
  return [x + 7, d * y - t * z - 3, t * y + d * z + 11];
};
const turned = (points: Point[]) => points.map(turn);

describe("lengths", () => {
  it("of a 3-4-12 box's diagonal is 13", () => expect(distance([1, 2, 3], [4, 6, 15])).toBe(13));
  it("add up along a chain", () => expect(chainLength([[0, 0, 0], [3, 4, 0], [3, 4, 5], [3, 5, 5]])).toBe(11));
  it("of one point and of none are zero", () => {
    expect(chainLength([[1, 1, 1]])).toBe(0);
    expect(chainLength([])).toBe(0);
  });
  it("heights are along z alone and signed", () => {
    expect(heightAbove([5, 6, 2.5], [9, 9, 1])).toBe(1.5);
    expect(heightAbove([5, 6, -1], 0.5)).toBe(-1.5);
  });
});

describe("angles", () => {
  it("of known triangles", () => {
    expect(angleDeg([1, 0, 0], [0, 0, 0], [0, 2, 0])).toBeCloseTo(90, 12);
    expect(angleDeg([1, 0, 0], [0, 0, 0], [5, 5, 0])).toBeCloseTo(45, 12);
    expect(angleDeg([1, 0, 0], [0, 0, 0], [-0.5, Math.sqrt(3) / 2, 0])).toBeCloseTo(120, 12);
    expect(angleDeg([1, 0, 0], [0, 0, 0], [-3, 0, 0])).toBeCloseTo(180, 12);
  });
  it("do not change with place and turn", () => {
    const [a, b, c] = turned([[4, 0, 0], [0, 0, 0], [3, 3, 0]]);
    expect(angleDeg(a!, b!, c!)).toBeCloseTo(45, 10);
  });
  it("keep their precision when they are tiny, where acos loses it", () => {
    expect(angleDeg([1, 0, 0], [0, 0, 0], [1, 1e-9, 0])).toBeCloseTo((1e-9 * 180) / Math.PI, 18);
  });
  it("of no direction are not a number", () => expect(angleDeg([1, 1, 1], [1, 1, 1], [2, 2, 2])).toBeNaN());
});

describe("areas", () => {
  const rectangle: Point[] = [[0, 0, 0], [3, 0, 0], [3, 2, 0], [0, 2, 0]];
  const ell: Point[] = [[0, 0, 0], [2, 0, 0], [2, 1, 0], [1, 1, 0], [1, 2, 0], [0, 2, 0]];

  it("need three points", () => expect(polygonArea(rectangle.slice(0, 2))).toBeNull());
  it("of a rectangle, anywhere and in both directions", () => {
    for (const points of [rectangle, turned(rectangle), turned(rectangle).reverse()]) {
      const found = polygonArea(points)!;
      expect(found.area).toBeCloseTo(6, 10);
      expect(found.perimeter).toBeCloseTo(10, 10);
      expect(found.off_plane).toBeLessThan(1e-12);
      expect(inPlane(found)).toBe(true);
    }
  });
  it("of a shape that is not convex (a fan from a corner that counted all triangles as positive would say more)", () => {
    expect(polygonArea(turned(ell))!.area).toBeCloseTo(3, 10);
  });
  it("say how far points are off the plane", () => {
    const bent: Point[] = [[0, 0, 0.1], [2, 0, -0.1], [2, 2, 0.1], [0, 2, -0.1]];
    const found = polygonArea(bent)!;
    expect(found.normal[2]).toBeCloseTo(1, 12);
    expect(found.area).toBeCloseTo(4, 12);
    expect(found.off_plane).toBeCloseTo(0.1, 12);
    expect(inPlane(found)).toBe(false);
  });
  it("say when edges cross", () => {
    expect(polygonArea(turned(rectangle))!.crossed).toBe(false);
    expect(polygonArea(turned(ell))!.crossed).toBe(false);
    expect(polygonArea(turned([[0, 0, 0], [3, 0.1, 0], [0, 2, 0], [3, 2.5, 0]]))!.crossed).toBe(true);
  });
  it("of points on a line are zero", () => expect(polygonArea([[0, 0, 0], [1, 1, 1], [2, 2, 2]])!.area).toBeCloseTo(0, 12));
});
