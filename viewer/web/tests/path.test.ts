import { describe, expect, it } from "vitest";
import { MAX_PATH_BYTES, MOST_KEYFRAMES, pathFromJson, pathFromValue, pathToJson } from "../src/tools/path_file";
import { type CameraPath, centreOf, duration, type Keyframe, pchip, Sampler } from "../src/tools/path_math";
import casesText from "./path_cases.json?raw";

interface Case {
  name: string;
  duration: number;
  path: CameraPath;
  samples: { time: number; cam_from_world: number[]; vfov_deg: number; scene_time: number | null }[];
}
const cases = JSON.parse(casesText) as Case[];

const at = (time: number, x: number, vfov_deg = 50): Keyframe => ({ time, vfov_deg, scene_time: null, cam_from_world: [1, 0, 0, -x, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1] });
const one = (knots: number[], values: number[], t: number) => pchip(knots, values.map((v) => [v]), t)[0]!;

describe("the same poses as recon render", () => {
  it.each(cases)("$name", ({ path, samples, duration: seconds }) => {
    expect(duration(path)).toBeCloseTo(seconds, 9);
    const sampler = new Sampler(pathFromValue(path));
    for (const sample of samples) {
      const view = sampler.at(sample.time);
      view.cam_from_world.forEach((v, i) => expect(v, `t = ${sample.time}, [${i}]`).toBeCloseTo(sample.cam_from_world[i]!, 7));
      expect(view.vfov_deg).toBeCloseTo(sample.vfov_deg, 7);
      if (sample.scene_time === null) expect(view.scene_time).toBeNull();
      else expect(view.scene_time).toBeCloseTo(sample.scene_time, 7);
    }
  });
});

describe("PCHIP", () => {
  it("by hand: inner slope is the harmonic mean, end slopes are three-point", () => {
    // knots 0, 1, 2; values 0, 1, 4: secants 1 and 3; inner slope 2 / (1/1 + 1/3) = 3/2; first slope (3*1 - 3) / 2 = 0
    expect(one([0, 1, 2], [0, 1, 4], 0.5)).toBeCloseTo(0.5 * 1 + (0.125 - 0.25) * 1.5, 12);
    // the last slope (3*3 - 1) / 2 = 4
    expect(one([0, 1, 2], [0, 1, 4], 1.5)).toBeCloseTo(0.5 * 1 + 0.125 * 1.5 + 0.5 * 4 - 0.125 * 4, 12);
  });
  it("weighs uneven intervals", () => {
    // steps 1 and 3, secants 1 and 2: weights 2*3 + 1 = 7 and 3 + 2 = 5: slope 12 / (7/1 + 5/2) = 24/19
    const step = 1e-6;
    const slope = (one([0, 1, 4], [0, 1, 7], 1 + step) - one([0, 1, 4], [0, 1, 7], 1 - step)) / (2 * step);
    expect(slope).toBeCloseTo(24 / 19, 5);
  });
  it("is linear between two keyframes", () => expect(one([2, 4], [1, 5], 2.5)).toBeCloseTo(2, 12));
  it("never leaves the span of its two keyframes", () => {
    const knots = [0, 1, 1.5, 4, 4.2, 7];
    const values = [0, 10, 10, -3, -2.9, 8];
    for (let i = 0; i < 5; i++) {
      const [low, high] = [Math.min(values[i]!, values[i + 1]!), Math.max(values[i]!, values[i + 1]!)];
      let before = values[i]!;
      for (let s = 0; s <= 50; s++) {
        const v = one(knots, values, knots[i]! + ((knots[i + 1]! - knots[i]!) * s) / 50);
        expect(v).toBeGreaterThanOrEqual(low - 1e-12);
        expect(v).toBeLessThanOrEqual(high + 1e-12);
        expect(Math.sign(values[i + 1]! - values[i]!) * (v - before)).toBeGreaterThanOrEqual(-1e-12);
        before = v;
      }
    }
  });
});

describe("a path", () => {
  const path: CameraPath = { fps: 30, loop: false, keyframes: [at(1, 0), at(2, 5), at(4, 6)] };
  it("passes through its keyframes and rests outside of them", () => {
    const sampler = new Sampler(path);
    for (const [t, x] of [[1, 0], [2, 5], [4, 6], [-3, 0], [99, 6]] as const) expect(centreOf(sampler.at(t).cam_from_world)[0]).toBeCloseTo(x, 12);
  });
  it("that loops comes back at the mean interval and goes on", () => {
    const loop = new Sampler({ ...path, loop: true });
    expect(loop.duration).toBeCloseTo(4.5, 12);
    expect(centreOf(loop.at(5.5).cam_from_world)[0]).toBeCloseTo(0, 12);
    expect(centreOf(loop.at(2 + 4.5).cam_from_world)[0]).toBeCloseTo(5, 12);
    expect(centreOf(loop.at(1 - 4.5).cam_from_world)[0]).toBeCloseTo(0, 12);
  });
  it("zooms evenly in the logarithm of the focal length", () => {
    const zoom = new Sampler({ ...path, keyframes: [at(0, 0, 90), at(2, 0, 30)] });
    expect(Math.tan((zoom.at(1).vfov_deg * Math.PI) / 360)).toBeCloseTo(Math.sqrt(Math.tan(Math.PI / 4) * Math.tan(Math.PI / 12)), 12);
  });
});

describe("the file", () => {
  const good = { recon_path: 1, fps: 24, loop: true, keyframes: [at(0, 1), at(1.5, 2)] };
  it("comes back as it was", () => {
    const path = pathFromValue(good);
    expect(pathFromJson(pathToJson(path))).toEqual(path);
    expect(JSON.parse(pathToJson(path))).toEqual(good);
  });
  const bad: [string, unknown][] = [
    ["no object", []],
    ["another version", { ...good, recon_path: 2 }],
    ["no keyframes", { ...good, keyframes: [] }],
    ["too many", { ...good, keyframes: Array(MOST_KEYFRAMES + 1).fill(at(0, 0)) }],
    ["times that fall", { ...good, keyframes: [at(1, 0), at(0, 0)] }],
    ["times that rest", { ...good, keyframes: [at(1, 0), at(1, 0)] }],
    ["a scaled pose", { ...good, keyframes: [{ ...at(0, 0), cam_from_world: [2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2, 0, 0, 0, 0, 1] }] }],
    ["a mirrored pose", { ...good, keyframes: [{ ...at(0, 0), cam_from_world: [-1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1] }] }],
    ["words for numbers", { ...good, keyframes: [{ ...at(0, 0), time: "0" }] }],
    ["no number", { ...good, keyframes: [{ ...at(0, 0), vfov_deg: null }] }],
    ["an angle of 180 degrees", { ...good, keyframes: [at(0, 0, 180)] }],
    ["fps of zero", { ...good, fps: 0 }],
    ["loop as a word", { ...good, loop: "true" }],
  ];
  it.each(bad)("is refused with %s", (_, value) => expect(() => pathFromJson(JSON.stringify(value))).toThrow(/path|Keyframe|keyframe|Expected/));
  it("is refused when it is no JSON", () => expect(() => pathFromJson("{")).toThrow("no JSON"));
  it("holds the most keyframes, at their places and between them as in a short path", () => {
    const bend = (i: number) => at(i, Math.sin(i) * 1.23456789012345, 50 + 20 * Math.cos(i));
    const text = pathToJson({ fps: 30, loop: false, keyframes: Array.from({ length: MOST_KEYFRAMES }, (_, i) => bend(i)) });
    expect(text.length).toBeLessThan(MAX_PATH_BYTES);
    const long = new Sampler(pathFromJson(text));
    const some = [9998, 9999, 10000, 10001, 10002, 10003].map(bend);
    const short = new Sampler({ fps: 30, loop: false, keyframes: some });
    for (const t of [10000, 10000.3, 10000.9]) expect(long.at(t)).toEqual(short.at(t));
    expect(centreOf(long.at(MOST_KEYFRAMES - 1).cam_from_world)[0]).toBeCloseTo(Math.sin(MOST_KEYFRAMES - 1) * 1.23456789012345, 12);
  });
});
