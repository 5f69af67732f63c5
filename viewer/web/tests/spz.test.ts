import { describe, expect, it } from "vitest";
import { PageError } from "../src/manifest";
import { inflateSpz, readSpzHeader } from "../src/content/spz";
import { gzip, spzPlain, type Splat } from "./scene";

const SPLATS: Splat[] = Array.from({ length: 300 }, (_, i) => ({ mean: [i / 100, -i / 50, 1], scale: [0.1, 0.2, 0.3], alpha: 0.5 }));

describe("an SPZ file", () => {
  it("is inflated", async () => {
    const plain = spzPlain(SPLATS);
    const { header, bytes } = await inflateSpz("a.spz", await gzip(plain), 300);
    expect(header).toEqual({ version: 3, count: 300, shDegree: 0, fractionalBits: 12, antialiased: false });
    expect(bytes).toEqual(plain);
  });

  it("keeps no more than the plain part of a file with colours of degree 3", async () => {
    const plain = new Uint8Array(16 + 300 * 65);
    plain.set(spzPlain(SPLATS));
    plain[12] = 3;
    const { bytes } = await inflateSpz("a.spz", await gzip(plain), 300);
    expect(bytes.length).toBe(16 + 300 * 20);
  });

  it("is refused when it holds another number than announced, before anything is allocated for it", async () => {
    await expect(inflateSpz("a.spz", await gzip(spzPlain(SPLATS)), 299)).rejects.toThrow(/300 splats instead of 299/);
    await expect(inflateSpz("a.spz", await gzip(spzPlain(SPLATS, 4e9)), 300)).rejects.toThrow(PageError);
  });

  it("is refused when it inflates beyond its splats", async () => {
    const bomb = new Uint8Array(50e6);
    bomb.set(spzPlain(SPLATS));
    const packed = await gzip(bomb);
    expect(packed.length).toBeLessThan(60e3);
    await expect(inflateSpz("a.spz", packed, 300)).rejects.toThrow(/longer than its splats/);
  });

  it("is refused when it is cut off, flipped or no gzip", async () => {
    const packed = await gzip(spzPlain(SPLATS));
    await expect(inflateSpz("a.spz", packed.slice(0, -9), 300)).rejects.toThrow(PageError);
    await expect(inflateSpz("a.spz", await gzip(spzPlain(SPLATS).slice(0, 1000)), 300)).rejects.toThrow(/cut off/);
    await expect(inflateSpz("a.spz", await gzip(new Uint8Array(7)), 300)).rejects.toThrow(/cut off/);
    const flipped = packed.slice();
    flipped[packed.length >> 1]! ^= 255;
    await expect(inflateSpz("a.spz", flipped, 300)).rejects.toThrow(PageError);
    await expect(inflateSpz("a.spz", new TextEncoder().encode("<!doctype html>") as Uint8Array<ArrayBuffer>, 300)).rejects.toThrow(PageError);
  });

  it("tells other formats and versions apart", () => {
    const plain = spzPlain(SPLATS);
    plain[4] = 9;
    expect(() => readSpzHeader(plain)).toThrow(/version 9/);
    plain[0] = 0;
    expect(() => readSpzHeader(plain)).toThrow(/no SPZ/);
  });
});
