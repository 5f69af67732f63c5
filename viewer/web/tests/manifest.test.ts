import { describe, expect, it } from "vitest";
import { PageError, parseManifest } from "../src/manifest";
import { manifestObject } from "./scene";

function parse(change: (raw: any) => void = () => {}) {
  const raw = manifestObject();
  change(raw);
  return parseManifest(JSON.stringify(raw));
}

const SECOND = (start: number, end: number) => ({ file: `splats/m${start}.bin`, bytes: 10, sha256: "", start, end });
const MOVING = { start: 0, end: 2, fps: 30, count: 3, sh_degree: 0, antialiased: false, file: "splats/moving.bin", bytes: 100, sha256: "", segments: [SECOND(0, 1), SECOND(1, 2)] };

describe("a manifest", () => {
  it("is read", () => {
    const manifest = parse();
    expect(manifest.splats?.tiles.map((tile) => tile.count)).toEqual([2, 1]);
    expect(manifest.cameras[0]?.K).toEqual([500, 500, 320, 240]);
    expect(manifest.world.scale).toBe("metric");
  });

  it("of a scene that moves is read", () => {
    expect(parse((raw) => ([raw.splats, raw.moving] = [null, MOVING])).moving?.segments.map((s) => s.end)).toEqual([1, 2]);
  });

  it.each(["../secret.spz", "/etc/passwd", "//evil.example/x.spz", "https://evil.example/x.spz", "splats/../../x", "splats//x.spz", "a\\b", "data:,x", ".hidden", "splats/.x", "", "a b.spz", "x.spz?y", "x#y"])(
    "names no file outside its folder: %s",
    (path) => {
      expect(() => parse((raw) => (raw.splats.tiles[0].file = path))).toThrow(PageError);
      expect(() => parse((raw) => (raw.cameras[0].photo = path))).toThrow(PageError);
    },
  );

  it.each<[string, (raw: any) => void]>([
    ["another version", (raw) => (raw.recon_manifest = 2)],
    ["no version", (raw) => delete raw.recon_manifest],
    ["nothing to show", (raw) => (raw.splats = null)],
    ["a count that its tiles do not hold", (raw) => (raw.splats.count = 4)],
    ["a negative count", (raw) => (raw.splats.tiles[0].count = -1)],
    ["half a splat", (raw) => (raw.splats.coarse.count = 0.5)],
    ["more splats than memory", (raw) => (raw.splats.coarse.count = 1e12)],
    ["more bytes than its splats take", (raw) => (raw.splats.coarse.bytes = 1e9)],
    ["a box inside out", (raw) => (raw.splats.tiles[0].min = [5, 0, 0])],
    ["a pose that is no rotation", (raw) => (raw.cameras[0].cam_from_world[0] = 7)],
    ["a pose that mirrors", (raw) => (raw.start.cam_from_world[0] = -1)],
    ["no focal length", (raw) => (raw.cameras[0].K[0] = 0)],
    ["an angle of 180 degrees", (raw) => (raw.start.vfov_deg = 180)],
    ["a picture without width", (raw) => (raw.cameras[0].size = [0, 480])],
    ["a title that is no text", (raw) => (raw.title = { html: "<script>" })],
    ["cameras that are no list", (raw) => (raw.cameras = {})],
    ["segments that leave a gap", (raw) => (raw.moving = { ...MOVING, segments: [SECOND(0, 1), SECOND(1.5, 2)] })],
    ["segments that end early", (raw) => (raw.moving = { ...MOVING, segments: [SECOND(0, 1)] })],
    ["a moving scene without segments", (raw) => (raw.moving = { ...MOVING, segments: [] })],
    ["a segment outside its folder", (raw) => (raw.moving = { ...MOVING, segments: [{ ...SECOND(0, 2), file: "../m.bin" }] })],
    ["a segment larger than its splats", (raw) => (raw.moving = { ...MOVING, segments: [{ ...SECOND(0, 2), bytes: 1e9 }] })],
    ["frames in the place of segments", (raw) => (raw.moving = { start: 0, end: 1, fps: 2, frames: [] })],
  ])("is refused with %s", (_, change) => {
    expect(() => parse(change)).toThrow(PageError);
  });

  it("is refused when a number is none, naming the place", () => {
    expect(() => parse((raw) => (raw.bounds.min[1] = null))).toThrow(/bounds: min\[1\]: expected a number/);
    expect(() => parseManifest(JSON.stringify(manifestObject()).replace('"vfov_deg":50', '"vfov_deg":1e999'))).toThrow(PageError);
    expect(() => parseManifest("{")).toThrow(/no JSON/);
    expect(() => parseManifest("[]")).toThrow(PageError);
  });
});
