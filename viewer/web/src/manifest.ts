/** manifest.json: what was published. Everything in it is checked before it is used; lengths and places are in the world frame
 * of the files: right-handed, +Z up, metres when `world.scale` is "metric". Cameras are OpenCV's (+X right, +Y down, +Z forward). */

export type Triple = [number, number, number];

export interface SplatFile {
  file: string;
  count: number;
  bytes: number;
}
export interface Tile extends SplatFile {
  min: Triple;
  max: Triple;
}
export interface SplatSet {
  count: number;
  sh_degree: number;
  antialiased: boolean;
  /** How many splats the target device should hold at once. */
  budget: number;
  coarse: SplatFile;
  tiles: Tile[];
}
export interface MeshFile {
  file: string;
  bytes: number;
  faces: number;
}
export interface CapturedCamera {
  name: string;
  /** Row-major 4x4. */
  cam_from_world: number[];
  /** fx, fy, cx, cy in pixels. */
  K: [number, number, number, number];
  size: [number, number];
  split: "train" | "test";
  photo: string | null;
  /** When it was taken, seconds on the clock of a scene that moves; null: nothing moves, or it is not known. */
  time: number | null;
}
/** A second or so of motion, in a file of its own. */
export interface Segment {
  file: string;
  bytes: number;
  start: number;
  end: number;
}
export interface Moving {
  start: number;
  end: number;
  fps: number;
  count: number;
  sh_degree: number;
  antialiased: boolean;
  /** Header and base of a .gs4d file; the segments are the rest of it. */
  file: string;
  bytes: number;
  segments: Segment[];
  /** The scene at the time of the start in a few splats, shown first; null: the base is as small. */
  coarse: SplatFile | null;
}
export interface Manifest {
  title: string;
  target: string;
  world: { scale: "metric" | "arbitrary"; up: string };
  bounds: { min: Triple; max: Triple };
  floor: number | null;
  start: { cam_from_world: number[]; vfov_deg: number; target: Triple; time: number | null };
  splats: SplatSet | null;
  mesh: MeshFile | null;
  cameras: CapturedCamera[];
  moving: Moving | null;
  /** Published notes, a file beside the page; the key may be missing. */
  notes: string | null;
}

export const MANIFEST_VERSION = 1;
/** A manifest of more than this many bytes is refused: ten thousand cameras take about five million. */
export const MAX_MANIFEST_BYTES = 32e6;
export const MAX_SPLATS = 20e6;
const MAX_TILES = 4096;
const MAX_CAMERAS = 50_000;
const MAX_SEGMENTS = 20_000;
/** A splat that moves takes at most so many bytes a frame before compression, and a segment has at most so many frames. */
const MAX_SEGMENT_BYTES_PER_SPLAT = 1 + 4 * 11 * 256;
const MAX_HEADER_BYTES = 16e6;
/** A splat in a file takes 65 bytes at most before compression. */
const MAX_BYTES_PER_SPLAT = 80;
const MAX_MESH_BYTES = 1e9;

/** Something in the published files that the page cannot work with; its message is for the visitor. */
export class PageError extends Error {}

export function parseManifest(text: string): Manifest {
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    throw new PageError("manifest.json is damaged: it is no JSON. Publish the scene again.");
  }
  const reader = new Reader(raw, "manifest.json");
  const version = reader.field("recon_manifest").number();
  if (version !== MANIFEST_VERSION)
    throw new PageError(`manifest.json has version ${version}, this page reads version ${MANIFEST_VERSION}. Publish the scene again.`);
  const world = reader.field("world");
  const bounds = reader.field("bounds");
  const start = reader.field("start");
  const manifest: Manifest = {
    title: reader.field("title").text(),
    target: reader.field("target").text(),
    world: { scale: world.field("scale").text() === "metric" ? "metric" : "arbitrary", up: world.field("up").text() },
    bounds: bounds.box(),
    floor: reader.field("floor").orNull((r) => r.number()),
    start: {
      cam_from_world: start.field("cam_from_world").pose(),
      vfov_deg: start.field("vfov_deg").number(1, 170),
      target: start.field("target").triple(),
      time: start.field("time").orNull((r) => r.number()),
    },
    splats: reader.field("splats").orNull(readSplats),
    mesh: reader.field("mesh").orNull((r) => ({
      file: r.field("file").path(),
      bytes: r.field("bytes").whole(MAX_MESH_BYTES),
      faces: r.field("faces").whole(),
    })),
    cameras: reader.field("cameras").list(readCamera, MAX_CAMERAS),
    moving: reader.field("moving").orNull(readMoving),
    notes: reader.field("notes").orNull((r) => r.path()),
  };
  if (!manifest.splats && !manifest.mesh && !manifest.moving) throw new PageError("manifest.json names neither splats nor a mesh: there is nothing to show.");
  return manifest;
}

function readSplats(reader: Reader): SplatSet {
  const tiles = reader.field("tiles").list((r) => ({ ...readFile(r), ...r.box() }), MAX_TILES);
  const count = reader.field("count").whole(MAX_SPLATS);
  const sum = tiles.reduce((total, tile) => total + tile.count, 0);
  if (sum !== count) throw new PageError(`${reader.where}: ${count} splats are announced, the tiles hold ${sum}. Publish the scene again.`);
  return {
    count,
    sh_degree: reader.field("sh_degree").whole(3),
    antialiased: reader.field("antialiased").truth(),
    budget: reader.field("budget").number(1),
    coarse: readFile(reader.field("coarse")),
    tiles,
  };
}

function readFile(reader: Reader): SplatFile {
  const count = reader.field("count").whole(MAX_SPLATS);
  return { file: reader.field("file").path(), count, bytes: reader.field("bytes").whole(1024 + MAX_BYTES_PER_SPLAT * count) };
}

function readMoving(reader: Reader): Moving {
  const count = reader.field("count").whole(MAX_SPLATS);
  const segments = reader.field("segments").list(
    (r) => ({ file: r.field("file").path(), bytes: r.field("bytes").whole(4096 + MAX_SEGMENT_BYTES_PER_SPLAT * count), start: r.field("start").number(), end: r.field("end").number() }),
    MAX_SEGMENTS,
  );
  const [start, end] = [reader.field("start").number(), reader.field("end").number()];
  const follow = segments.every((segment, i) => segment.start === (i === 0 ? start : segments[i - 1]!.end) && segment.end > segment.start);
  if (segments.length === 0 || !follow || segments.at(-1)!.end !== end)
    throw new PageError(`${reader.where}: its segments do not follow each other from start to end. Publish the scene again.`);
  return {
    start,
    end,
    fps: reader.field("fps").number(0.01, 1000),
    count,
    sh_degree: reader.field("sh_degree").whole(3),
    antialiased: reader.field("antialiased").truth(),
    file: reader.field("file").path(),
    bytes: reader.field("bytes").whole(MAX_HEADER_BYTES + 1024 + MAX_BYTES_PER_SPLAT * count),
    segments,
    coarse: reader.field("coarse").orNull(readFile),
  };
}

function readCamera(reader: Reader): CapturedCamera {
  return {
    name: reader.field("name").text(),
    cam_from_world: reader.field("cam_from_world").pose(),
    K: reader.field("K").lens(),
    size: reader.field("size").size(),
    split: reader.field("split").text() === "test" ? "test" : "train",
    photo: reader.field("photo").orNull((r) => r.path()),
    time: reader.field("time").orNull((r) => r.number()),
  };
}

/** A value of unknown shape, and where it stands. */
export class Reader {
  constructor(
    readonly value: unknown,
    readonly where: string,
  ) {}

  private fail(expected: string): never {
    throw new PageError(`${this.where}: expected ${expected}, found ${JSON.stringify(this.value)?.slice(0, 60) ?? "nothing"}. Publish the scene again.`);
  }
  field(name: string): Reader {
    if (typeof this.value !== "object" || this.value === null || Array.isArray(this.value)) this.fail("an object");
    return new Reader((this.value as Record<string, unknown>)[name], `${this.where}: ${name}`);
  }
  number(min = -Infinity, max = Infinity): number {
    const value = this.value;
    if (typeof value !== "number" || !Number.isFinite(value) || value < min || value > max) {
      this.fail(min === -Infinity && max === Infinity ? "a number" : `a number from ${min} to ${max}`);
    }
    return value;
  }
  /** A whole number from 0. */
  whole(max = Number.MAX_SAFE_INTEGER): number {
    if (!Number.isSafeInteger(this.value)) this.fail("a whole number");
    return this.number(0, max);
  }
  text(): string {
    if (typeof this.value !== "string" || this.value.length > 1000) this.fail("a text");
    return this.value;
  }
  truth(): boolean {
    if (typeof this.value !== "boolean") this.fail("true or false");
    return this.value;
  }
  numbers(length: number): number[] {
    if (!Array.isArray(this.value) || this.value.length !== length) this.fail(`${length} numbers`);
    return this.value.map((v, i) => new Reader(v, `${this.where}[${i}]`).number());
  }
  triple(): Triple {
    return this.numbers(3) as Triple;
  }
  box(): { min: Triple; max: Triple } {
    const [min, max] = [this.field("min").triple(), this.field("max").triple()];
    if (min.some((low, k) => low > max[k]!)) this.fail("a box whose min lies below its max");
    return { min, max };
  }
  /** A rotation and a translation, row-major 4x4. */
  pose(): number[] {
    const m = this.numbers(16);
    const row = (i: number) => [m[4 * i]!, m[4 * i + 1]!, m[4 * i + 2]!];
    const dot = (a: number[], b: number[]) => a[0]! * b[0]! + a[1]! * b[1]! + a[2]! * b[2]!;
    const [x, y, z] = [row(0), row(1), row(2)];
    const turned = [y[1]! * z[2]! - y[2]! * z[1]!, y[2]! * z[0]! - y[0]! * z[2]!, y[0]! * z[1]! - y[1]! * z[0]!];
    const off = [dot(x, x) - 1, dot(y, y) - 1, dot(z, z) - 1, dot(x, y), dot(y, z), dot(z, x), dot(x, turned) - 1, m[12]!, m[13]!, m[14]!, m[15]! - 1];
    if (off.some((value) => Math.abs(value) > 1e-3)) this.fail("a rotation and a translation");
    return m;
  }
  /** fx, fy, cx, cy. */
  lens(): [number, number, number, number] {
    const [fx, fy, cx, cy] = this.numbers(4) as [number, number, number, number];
    if (fx <= 0 || fy <= 0) this.fail("focal lengths above 0");
    return [fx, fy, cx, cy];
  }
  size(): [number, number] {
    const [width, height] = this.numbers(2) as [number, number];
    if (!(width >= 1 && height >= 1 && width <= 1e6 && height <= 1e6)) this.fail("a size in pixels");
    return [width, height];
  }
  list<T>(read: (reader: Reader) => T, most: number): T[] {
    if (!Array.isArray(this.value)) this.fail("a list");
    if (this.value.length > most) throw new PageError(`${this.where}: ${this.value.length} entries are more than this page holds (${most}).`);
    return this.value.map((v, i) => read(new Reader(v, `${this.where}[${i}]`)));
  }
  orNull<T>(read: (reader: Reader) => T): T | null {
    return this.value === null || this.value === undefined ? null : read(this);
  }
  /** A file beside the page: no other host, no way up. */
  path(): string {
    const path = this.text();
    if (!/^[\w-][\w.-]*(\/[\w-][\w.-]*)*$/.test(path)) this.fail("the path of a published file");
    return path;
  }
}
