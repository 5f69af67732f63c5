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
}
export interface Moving {
  start: number;
  end: number;
  fps: number;
  frames: ({ time: number } & SplatFile)[];
}
export interface Manifest {
  title: string;
  target: string;
  world: { scale: "metric" | "arbitrary"; up: string };
  bounds: { min: Triple; max: Triple };
  floor: number | null;
  start: { cam_from_world: number[]; vfov_deg: number; target: Triple };
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
    bounds: { min: bounds.field("min").triple(), max: bounds.field("max").triple() },
    floor: reader.field("floor").orNull((r) => r.number()),
    start: {
      cam_from_world: start.field("cam_from_world").numbers(16),
      vfov_deg: start.field("vfov_deg").number(1, 170),
      target: start.field("target").triple(),
    },
    splats: reader.field("splats").orNull(readSplats),
    mesh: reader.field("mesh").orNull((r) => ({ ...readFile(r, "faces"), faces: r.field("faces").number(0) })),
    cameras: reader.field("cameras").list(readCamera),
    moving: reader.field("moving").orNull((r) => ({
      start: r.field("start").number(),
      end: r.field("end").number(),
      fps: r.field("fps").number(0.01),
      frames: r.field("frames").list((f) => ({ time: f.field("time").number(), ...readFile(f) })),
    })),
    notes: reader.field("notes").orNull((r) => r.path()),
  };
  if (!manifest.splats && !manifest.mesh) throw new PageError("manifest.json names neither splats nor a mesh: there is nothing to show.");
  return manifest;
}

function readSplats(reader: Reader): SplatSet {
  const tiles = reader.field("tiles").list((r) => ({ ...readFile(r), min: r.field("min").triple(), max: r.field("max").triple() }));
  return {
    count: reader.field("count").number(0, MAX_SPLATS),
    sh_degree: reader.field("sh_degree").number(0, 3),
    antialiased: reader.field("antialiased").truth(),
    budget: reader.field("budget").number(1),
    coarse: readFile(reader.field("coarse")),
    tiles,
  };
}

function readFile(reader: Reader, count = "count"): SplatFile {
  return { file: reader.field("file").path(), count: reader.field(count).number(0, MAX_SPLATS), bytes: reader.field("bytes").number(0) };
}

function readCamera(reader: Reader): CapturedCamera {
  return {
    name: reader.field("name").text(),
    cam_from_world: reader.field("cam_from_world").numbers(16),
    K: reader.field("K").numbers(4) as [number, number, number, number],
    size: reader.field("size").numbers(2) as [number, number],
    split: reader.field("split").text() === "test" ? "test" : "train",
    photo: reader.field("photo").orNull((r) => r.path()),
  };
}

/** A value of unknown shape, and where it stands. */
class Reader {
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
    if (typeof value !== "number" || !Number.isFinite(value) || value < min || value > max) this.fail("a number");
    return value;
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
  list<T>(read: (reader: Reader) => T): T[] {
    if (!Array.isArray(this.value)) this.fail("a list");
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
