import { describe, expect, it } from "vitest";
import { describe as say, type Figure, isWhole, joined, pack, remarks, toCsv, toText, unpack, valueOf } from "../src/tools/figures";
import { metresOf, readScale } from "../src/tools/lengths";
import { Units } from "../src/units";

const figure = (kind: Figure["kind"], ...points: Figure["points"]): Figure => ({ id: 1, kind, points });
const metric = new Units(true);
const plain = new Units(false);

describe("figures say", () => {
  it("distances in the scene's unit", () => {
    const chain = figure("distance", [0, 0, 0], [3, 4, 0], [3, 4, 1]);
    expect(valueOf(chain, null)).toBe(6);
    expect(say(chain, null, metric)).toBe("6.000 m");
    expect(say(chain, null, plain)).toBe("6.000 units");
    expect(remarks(chain, null, metric, true)).toEqual(["5.000 m + 1.000 m"]);
  });
  it("heights over the floor, and between two points without a sign", () => {
    expect(valueOf(figure("height", [1, 1, 2.5]), 0.5)).toBe(2);
    expect(valueOf(figure("height", [1, 1, 2.5], [4, 4, 0.5]), 99)).toBe(2);
    expect(valueOf(figure("height", [1, 1, 2.5]), null)).toBeNull();
    expect(isWhole(figure("height", [1, 1, 2.5]), null)).toBe(false);
  });
  it("angles in degrees, whatever the unit", () => {
    const corner = figure("angle", [1, 0, 0], [0, 0, 0], [0, 1, 0]);
    expect(say(corner, null, plain)).toBe("90.0°");
  });
  it("that points are not in a plane", () => {
    const bent = figure("area", [0, 0, 0.1], [2, 0, -0.1], [2, 2, 0.1], [0, 2, -0.1]);
    expect(remarks(bent, null, metric, true).join(" ")).toContain("10.00 cm off a plane");
    const flat = figure("area", [0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0]);
    expect(remarks(flat, null, metric, true)).toEqual(["perimeter 8.000 m"]);
  });
  it("all in a table with metres and square metres", () => {
    const units = new Units(false);
    units.setKnownDistance(2, 1); // half a metre a unit
    const table = toCsv([figure("distance", [0, 0, 0], [0, 0, 3]), figure("area", [0, 0, 0], [2, 0, 0], [2, 2, 0], [0, 2, 0])], null, units);
    expect(table.split("\n")).toEqual(["number,kind,value,unit,points_xyz_in_file_units", "1,distance,1.5,m,0 0 0; 0 0 3", "2,area,1,m2,0 0 0; 2 0 0; 2 2 0; 0 2 0", ""]);
    expect(toText([figure("distance", [0, 0, 0], [0, 0, 3])], null, units, true)).toBe("1. Distance 1.500 m");
    const height = figure("height", [0, 0, 0], [0, 0, 3]);
    expect(toText([height], null, units, true)).toContain("straight up");
    expect(toText([height], null, units, false)).toContain("up is not known");
  });
});

describe("figures in links", () => {
  it("come back", () => {
    const all = [figure("distance", [0, 1, 2], [3, 4, 5]), { ...figure("angle", [0, 0, 0], [1, 0, 0], [2, 1, 0]), id: 2 }];
    expect(unpack(JSON.parse(JSON.stringify(pack(all))), 1)).toEqual(all);
  });
  it("leave out what does not fit", () => {
    const bad: unknown[] = [null, "x", [0], [0, 1, 2, 3], [9, 0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1, "1"], [0, 0, 0, 0, 1, 1, 1e12], [2, 0, 0, 0, 1, 1, 1], [0, ...Array(600).fill(1)], { length: 4 }];
    expect(unpack(bad, 1)).toEqual([]);
    expect(unpack("nonsense", 1)).toEqual([]);
    expect(unpack([...bad, [0, 0, 0, 0, 1, 1, 1]], 5)).toEqual([{ id: 5, kind: "distance", points: [[0, 0, 0], [1, 1, 1]] }]);
    expect(unpack(Array(5000).fill([0, 0, 0, 0, 1, 1, 1]), 1)).toHaveLength(200);
  });
});

describe("known lengths", () => {
  it("are read as people write them", () => {
    expect(metresOf("1.25", "m")).toBe(1.25);
    expect(metresOf(" 1,25 ", "m")).toBe(1.25);
    expect(metresOf("80", "cm")).toBeCloseTo(0.8, 12);
    expect(metresOf(".5", "ft")).toBeCloseTo(0.1524, 12);
    expect(metresOf("10", "in")).toBeCloseTo(0.254, 12);
  });
  it("are refused when they are none", () => {
    for (const text of ["", "0", "-1", "1e5", "1.2.3", "Infinity", "one", "1 m"]) expect(metresOf(text, "m")).toBeNull();
    expect(metresOf("1", "toString")).toBeNull();
    for (const scale of [0, -1, NaN, Infinity, 1e12, "1", null]) expect(readScale(scale)).toBeNull();
    expect(readScale(0.37)).toBe(0.37);
  });
});

describe("figures of a link", () => {
  it("come beside the visitor's own, each once", () => {
    const own = [figure("distance", [0, 0, 0], [1.2345678, 0, 0])];
    const linked = unpack(JSON.parse(JSON.stringify(pack([...own, figure("angle", [0, 0, 0], [1, 0, 0], [1, 1, 0])]), (_, v) => (typeof v === "number" ? Number(v.toPrecision(7)) : v))), 2);
    expect(joined(own, linked).map(({ kind }) => kind)).toEqual(["distance", "angle"]);
    expect(joined([], linked)).toHaveLength(2);
  });
});
