/** A scene that moves: its segments against a server that answers when it is told to, and a file that recon wrote against what recon reads of it. */

import { describe, expect, it, vi } from "vitest";
import { utils } from "@sparkjsdev/spark";
import * as THREE from "three";
import { type Channel, evaluate, type Group, unitsOf, unpackSegment, weightsAt } from "../src/content/motion";
import { MovingSplats, segmentAt } from "../src/content/moving";
import { baseOf, readHead } from "../src/content/moving_file";
import { pickable, takeRows } from "../src/content/pick";
import { packTurn, Poser, toHalf } from "../src/content/pose";
import { inflateSpz } from "../src/content/spz";
import { type Moving, PageError } from "../src/manifest";
import cases from "./moving_cases.json";

vi.mock("../src/content/splat_file", () => ({}));

class Server {
  readonly waiting = new Map<number, { resolve: (name: string) => void; reject: (error: Error) => void }>();
  readonly asked: number[] = [];
  load = (index: number, signal: AbortSignal): Promise<string> =>
    new Promise((resolve, reject) => {
      this.asked.push(index);
      this.waiting.set(index, { resolve, reject });
      signal.addEventListener("abort", () => {
        this.waiting.delete(index);
        reject(signal.reason);
      });
    });
  get open(): number[] {
    return [...this.waiting.keys()];
  }
  async come(index: number, error?: Error): Promise<void> {
    const { resolve, reject } = this.waiting.get(index)!;
    this.waiting.delete(index);
    if (error) reject(error);
    else resolve(`segment ${index}`);
    await Promise.resolve().then(() => new Promise((done) => setTimeout(done)));
  }
  async comeAll(): Promise<void> {
    while (this.open.length > 0) await this.come(this.open[0]!);
  }
}

function film(count = 10) {
  const server = new Server();
  const [faults, shown]: [unknown[], [string, number][]] = [[], []];
  const spans = Array.from({ length: count }, (_, i) => ({ start: i, end: i + 1 }));
  const moving = new MovingSplats<string>(spans, { load: server.load, show: async (segment, share) => void shown.push([segment, share]), onFault: (error) => faults.push(error) });
  return { server, moving, faults, shown };
}

describe("segments", () => {
  it("are those that hold a time", () => {
    const spans = [0, 1, 4].map((start) => ({ start, end: start + 1 }));
    expect([-1, 0, 0.99, 1, 3.9, 4, 99].map((time) => segmentAt(spans, time))).toEqual([0, 0, 0, 1, 1, 2, 2]);
  });
  it("are shown at the time asked for last, and the next ones are fetched ahead", async () => {
    const { server, moving, shown } = film();
    const there = vi.fn();
    void moving.setTime(4.25);
    void moving.setTime(4.75).then(there);
    expect(server.open).toEqual([4, 5]);
    await server.come(5);
    expect(there).not.toHaveBeenCalled();
    expect([moving.settled, shown]).toEqual([false, []]);
    await server.come(4);
    expect(there).toHaveBeenCalled();
    expect([moving.settled, shown]).toEqual([true, [["segment 4", 0.75]]]);
    await server.comeAll();
    expect(server.asked.slice().sort()).toEqual([4, 5, 6]);
    await moving.setTime(5.5); // without waiting
    expect(shown.at(-1)).toEqual(["segment 5", 0.5]);
  });
  it("are held up to a number", async () => {
    const { server, moving } = film(30);
    for (let time = 0; time < 60; time++) {
      void moving.setTime(time % 30);
      await server.comeAll();
      expect(moving.heldCount).toBeLessThanOrEqual(7);
    }
    expect(server.asked.length).toBeLessThanOrEqual(63); // none twice in a round
  });
  it("that were passed over keep nobody waiting", async () => {
    const { server, moving, shown } = film();
    const there = vi.fn();
    void moving.setTime(0).then(there);
    const later = moving.setTime(7.5);
    await Promise.resolve();
    expect(there).toHaveBeenCalled();
    await Promise.resolve();
    expect(server.open).toContain(7);
    await server.comeAll();
    await later;
    expect(shown).toEqual([["segment 7", 0.5]]);
  });
  it("that cannot be had are said once", async () => {
    const { server, moving, faults } = film();
    const failed = expect(moving.setTime(2)).rejects.toThrow("broken");
    await server.come(2, new Error("broken"));
    await failed;
    expect(faults).toEqual([]);
    await server.come(3, new Error("gone"));
    expect(faults).toHaveLength(1);
  });
});

describe("the curve between keyframes", () => {
  it("goes through them, and is exact for lines and parabolas", () => {
    for (const keys of [0, 1, 2, 3, 7]) {
      for (const share of [0, 0.1, 0.33, 0.5, 0.9, 1]) {
        const weights = weightsAt(keys, share);
        const of = (f: (x: number) => number) => weights.reduce((sum, [key, weight]) => sum + weight * f(keys ? key / keys : 0), 0);
        expect(of(() => 1)).toBeCloseTo(1);
        if (keys > 0) expect(of((x) => x)).toBeCloseTo(share);
        if (keys > 1) expect(of((x) => x * x)).toBeCloseTo(share * share);
      }
    }
  });
});

const bytesOf = (text: string) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
const HEAD = bytesOf(cases.head);
const SEGMENTS = cases.segments.map(bytesOf);
const MANIFEST = { ...cases.moving, file: "splats/moving.bin" } as Moving;

async function positions(segment: number, share: number): Promise<Record<"mean" | "quat" | "log_scale", number[]>> {
  const head = readHead(MANIFEST, HEAD);
  const whole = pickable(await inflateSpz("base", head.spz, MANIFEST.count));
  const base = baseOf(takeRows(whole, cases.rows));
  const groups: Group[] = await unpackSegment(SEGMENTS[segment]!, head.moving, head.frames[segment]!, head.channels);
  const units = unitsOf(base, head.tolerance, head.finest);
  const out = (name: Channel) => {
    const values = base[name].slice();
    for (const group of groups) evaluate(group, name, units, share, values);
    return Array.from(values);
  };
  return { mean: out("mean"), quat: out("quat"), log_scale: out("log_scale") };
}

describe("a file that recon wrote", () => {
  it("is read as recon reads it", async () => {
    for (const { segment, share, mean, quat, log_scale } of cases.moments) {
      const found = await positions(segment, share);
      mean.forEach((value, i) => expect(found.mean[i]).toBeCloseTo(value, 5));
      log_scale.forEach((value, i) => expect(found.log_scale[i]).toBeCloseTo(value, 5));
      for (let i = 0; i < quat.length; i += 4) {
        const [w, x, y, z] = quat.slice(i, i + 4) as [number, number, number, number];
        const [fx, fy, fz, fw] = found.quat.slice(i, i + 4) as [number, number, number, number];
        const dot = (w * fw + x * fx + y * fy + z * fz) / (Math.hypot(fx, fy, fz, fw) * Math.hypot(w, x, y, z));
        expect(Math.abs(dot)).toBeGreaterThan(1 - 1e-7);
      }
    }
  });
  it("is drawn as it is read: the worker's words hold places, sizes and turns", async () => {
    const head = readHead(MANIFEST, HEAD);
    const base = baseOf(takeRows(pickable(await inflateSpz("base", head.spz, MANIFEST.count)), cases.rows));
    const { segment, share, mean, quat, log_scale } = cases.moments[1]!;
    const groups = await unpackSegment(SEGMENTS[segment]!, head.moving, head.frames[segment]!, head.channels);
    const words = { first: new Uint32Array(4 * head.moving), second: new Uint32Array(4 * head.moving).fill(0xabcd) };
    new Poser(unitsOf(base, head.tolerance, head.finest), head.channels).pose(groups, share, words);
    const places = new Float32Array(words.first.buffer);
    for (let i = 0; i < head.moving; i++) {
      const { 0: colour, 1: one, 2: two, 3: turn } = words.second.subarray(4 * i, 4 * i + 4) as unknown as [number, number, number, number];
      expect([colour, one & 0xffff]).toEqual([0xabcd, 0xabcd]);
      [one >>> 16, two & 0xffff, two >>> 16].forEach((half, k) => expect(utils.fromHalf(half)).toBeCloseTo(log_scale[3 * i + k]!, 1.9));
      for (let k = 0; k < 3; k++) expect(places[4 * i + k]).toBeCloseTo(mean[3 * i + k]!, 5);
      const [w, x, y, z] = quat.slice(4 * i, 4 * i + 4) as [number, number, number, number];
      expect(utils.decodeQuatOctXy1010R12(turn, new THREE.Quaternion()).angleTo(new THREE.Quaternion(x, y, z, w).normalize())).toBeLessThan(0.006);
    }
  });
  it("is refused when it is damaged, at any byte", async () => {
    expect(() => readHead(MANIFEST, HEAD.slice(0, 8))).toThrow(PageError);
    expect(() => readHead(MANIFEST, HEAD.slice(0, -1))).toThrow(/does not fit/);
    expect(() => readHead({ ...MANIFEST, count: MANIFEST.count + 1 }, HEAD)).toThrow(PageError);
    const { moving, frames, channels } = readHead(MANIFEST, HEAD);
    const read = (bytes: Uint8Array<ArrayBuffer>) => unpackSegment(bytes, moving, frames[0]!, channels);
    const whole = SEGMENTS[0]!;
    for (const length of [0, 3, 4, 10, whole.length >> 1, whole.length - 1]) await expect(read(whole.slice(0, length))).rejects.toThrow();
    for (let at = 0; at < whole.length; at += 61) {
      const spoilt = whole.slice();
      spoilt[at]! ^= 0x55;
      await expect(read(spoilt)).rejects.toThrow();
    }
    const bomb = new Uint8Array(await new Response(new Blob([new Uint8Array(4e6)]).stream().pipeThrough(new CompressionStream("deflate"))).arrayBuffer());
    const loud = new Uint8Array(4 + bomb.length);
    loud.set(bomb, 4);
    for (const promised of [100, 4e6]) {
      new DataView(loud.buffer).setUint32(0, promised, true);
      await expect(read(loud)).rejects.toThrow(/more than|promised/);
    }
  });
});

describe("words of the renderer", () => {
  it("hold numbers to half a step of float16", () => {
    for (const value of [0, 1, -1, 0.1, -7.77, 2049, 6.1e-5, -3e-6, 65504]) expect(Math.abs(utils.fromHalf(toHalf(value)) - value)).toBeLessThanOrEqual(Math.max(2 ** -25, Math.abs(value) * 2 ** -11));
    expect(utils.fromHalf(toHalf(1e6))).toBe(Infinity);
  });
  it("hold any turn, of any length and sign", () => {
    for (let i = 0; i < 200; i++) {
      const turn = new THREE.Quaternion().random();
      const word = packTurn(-3 * turn.x, -3 * turn.y, -3 * turn.z, -3 * turn.w);
      expect(utils.decodeQuatOctXy1010R12(word, new THREE.Quaternion()).angleTo(turn)).toBeLessThan(0.01);
    }
    expect(utils.decodeQuatOctXy1010R12(packTurn(0, 0, 0, -1), new THREE.Quaternion()).w).toBeCloseTo(1);
  });
});
