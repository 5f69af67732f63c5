import { describe, expect, it } from "vitest";
import { medianDistance, type PickRay, pickable, takeRows } from "../src/content/pick";
import { inflateSpz } from "../src/content/spz";
import { gzip, spzPlain, type Splat } from "./scene";

async function setOf(splats: Splat[]) {
  return pickable(await inflateSpz("a.spz", await gzip(spzPlain(splats)), splats.length));
}
function ray(origin: PickRay["origin"], direction: [number, number, number], more: Partial<PickRay> = {}): PickRay {
  const length = Math.hypot(...direction);
  return { origin, direction: direction.map((v) => v / length) as [number, number, number], pixel: 1e-5, antialiased: false, ...more };
}
/** The nearest scale that a file can hold. */
const stored = (scale: number) => Math.exp(Math.round(16 * (Math.log(scale) + 10)) / 16 - 10);

describe("picking", () => {
  it("finds a single opaque ball at its centre", async () => {
    const set = await setOf([{ mean: [0.25, -0.5, 4], scale: [0.05, 0.05, 0.05], alpha: 1 }]);
    expect(medianDistance([set], ray([0.25, -0.5, 0], [0, 0, 1]))).toBeCloseTo(4, 4);
    expect(medianDistance([set], ray([0.25, -0.5, 8], [0, 0, 1]))).toBeNull(); // it lies behind
    expect(medianDistance([set], ray([0.65, -0.5, 0], [0, 0, 1]))).toBeNull(); // eight standard deviations beside
  });

  it("follows a flat splat seen at a slant, not its centre", async () => {
    const angle = 0.7; // turned about x: the plane through (0, 0, 3) with normal (0, -sin, cos)
    const set = await setOf([{ mean: [0, 0, 3], scale: [0.4, 0.4, 0.0005], quat: [Math.sin(angle / 2), 0, 0, Math.cos(angle / 2)], alpha: 1 }]);
    for (const y of [-0.2, 0.1, 0.25]) {
      const onPlane = 3 + y * Math.tan(angle); // -sin y + cos (z - 3) = 0
      expect(medianDistance([set], ray([0, y, 0], [0, 0, 1]))).toBeCloseTo(onPlane, 2);
    }
    expect(3 + 0.25 * Math.tan(angle)).toBeGreaterThan(3.2); // the centre's depth would be wrong by a fifth
  });

  it("stops where the transmittance falls below one half", async () => {
    const layer = (z: number, alpha: number): Splat => ({ mean: [0, 0, z], scale: [0.1, 0.1, 0.01], alpha });
    const set = await setOf([layer(5, 0.9), layer(2, 0.2), layer(4, 0.2), layer(3, 0.3)]); // 0.8, 0.56, 0.448 after the third
    expect(medianDistance([set], ray([0, 0, 0], [0, 0, 1]))).toBeCloseTo(4, 3);
    const thin = await setOf([layer(2, 0.2), layer(3, 0.2), layer(4, 0.1)]);
    expect(medianDistance([thin], ray([0, 0, 0], [0, 0, 1]))).toBeNull();
    expect(medianDistance([thin, set], ray([0, 0, 0], [0, 0, 1]))).toBeCloseTo(3, 3);
  });

  it("gives a splat the response of a Gaussian beside its centre", async () => {
    const sigma = stored(0.1);
    const set = await setOf([{ mean: [0, 0, 2], scale: [0.1, 0.1, 0.1], alpha: 0.8 }]);
    const half = sigma * Math.sqrt(2 * Math.log(0.8 / 0.5)); // alpha = 0.8 exp(-r^2 / 2 sigma^2) = 0.5
    expect(medianDistance([set], ray([half * 0.98, 0, 0], [0, 0, 1]))).not.toBeNull();
    expect(medianDistance([set], ray([half * 1.02, 0, 0], [0, 0, 1]))).toBeNull();
  });

  it("agrees with a ray marched through the density of turned, stretched splats", async () => {
    let seed = 7;
    const random = () => (seed = (seed * 16807) % 2147483647) / 2147483647;
    for (let trial = 0; trial < 20; trial++) {
      const q = [random() - 0.5, random() - 0.5, random() - 0.5, random() - 0.5];
      const n = Math.hypot(...q);
      const splat: Splat = { mean: [random() - 0.5, random() - 0.5, 3 + random()], scale: [0.5 * random() + 0.1, 0.3, 0.05], quat: q.map((v) => v / n) as Splat["quat"] & {}, alpha: 0.95 };
      const set = await setOf([splat]);
      const aim = ray([0.1, 0, 0], [splat.mean[0] + 0.05 - 0.1, splat.mean[1], splat.mean[2]]);
      const found = medianDistance([set], aim);
      let [best, at] = [-1, 0];
      for (let t = 0; t < 8; t += 0.001) {
        const value = density(splat, aim.origin.map((o, k) => o + t * aim.direction[k]!));
        if (value > best) [best, at] = [value, t];
      }
      if (0.95 * best > 0.52) expect(found).toBeCloseTo(at, 1.5);
      if (0.95 * best < 0.48) expect(found).toBeNull();
    }
  });

  it("sees what the renderer's filter widens, thinner when it is antialiased", async () => {
    const set = await setOf([{ mean: [0, 0, 10], scale: [0.001, 0.001, 0.001], alpha: 1 }]);
    const beside = ray([0.004, 0, 0], [0, 0, 1]); // four standard deviations, 0.4 pixels
    expect(medianDistance([set], beside)).toBeNull();
    expect(medianDistance([set], { ...beside, pixel: 1e-3 })).toBeCloseTo(10, 2);
    expect(medianDistance([set], { ...beside, pixel: 1e-3, antialiased: true })).toBeNull();
  });

  it("finds the same among some of the splats", async () => {
    const set = await setOf([2, 3, 4].map((z) => ({ mean: [0, 0, z], scale: [0.1, 0.1, 0.1], alpha: 1 })));
    expect(medianDistance([takeRows(set, [2, 1])], ray([0, 0, 0], [0, 0, 1]))).toBeCloseTo(3, 3);
    expect(takeRows(set, [2]).min[2]).toBeGreaterThan(3.5);
  });
});

/** exp(-m^2 / 2) at a point, from the quaternion as a rotation of vectors. */
function density({ mean, scale, quat }: Splat, point: number[]): number {
  const [x, y, z, w] = quat!;
  const v = point.map((p, k) => p - mean[k]!);
  const u = [-x, -y, -z]; // the inverse turns v into the splat's axes
  const cross = (a: number[], b: number[]) => [a[1]! * b[2]! - a[2]! * b[1]!, a[2]! * b[0]! - a[0]! * b[2]!, a[0]! * b[1]! - a[1]! * b[0]!];
  const t = cross(u, v).map((c) => 2 * c);
  const tt = cross(u, t);
  const local = v.map((value, k) => value + w * t[k]! + tt[k]!);
  return Math.exp(-0.5 * local.reduce((sum, value, k) => sum + (value / stored(scale[k]!)) ** 2, 0));
}
