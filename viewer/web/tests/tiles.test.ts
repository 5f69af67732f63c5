/** Tiles against a server that answers when it is told to; nothing is drawn. */

import * as THREE from "three";
import { describe, expect, it, vi } from "vitest";
import type { Eye } from "../src/content/choice";
import type { LoadedSplats } from "../src/content/splat_file";
import { Tiles } from "../src/content/tiles";
import type { SplatFile, SplatSet } from "../src/manifest";

vi.mock("../src/content/splat_file", () => ({
  draftOf: () => new THREE.Object3D(),
  splitSplats: (whole: LoadedSplats, owner: Uint16Array, groups: number) =>
    Array.from({ length: groups }, (_, group) => {
      const count = owner.filter((o) => o === group).length;
      return count === 0 ? null : { mesh: fakeMesh(`coarse ${group}`), count, pick: whole.pick };
    }),
}));

function fakeMesh(name: string): any {
  const mesh = new THREE.Object3D() as any;
  mesh.name = name;
  mesh.dispose = () => (mesh.gone = true);
  return mesh;
}

/** Loads end when `come` is called with their file. */
class Server {
  asked: string[] = [];
  private readonly waiting = new Map<string, (error?: Error) => void>();
  load = (file: SplatFile, signal: AbortSignal): Promise<LoadedSplats> =>
    new Promise((resolve, reject) => {
      this.asked.push(file.file);
      signal.addEventListener("abort", () => {
        this.waiting.delete(file.file);
        reject(signal.reason);
      });
      const mean = new Float32Array([...Array(file.count).keys()].flatMap((i) => [i + 0.5, 0.5, 0.5]));
      this.waiting.set(file.file, (error) => (error ? reject(error) : resolve({ mesh: fakeMesh(file.file), count: file.count, pick: { mean } as LoadedSplats["pick"] })));
    });
  get open(): string[] {
    return [...this.waiting.keys()];
  }
  async come(file: string, error?: Error): Promise<void> {
    this.waiting.get(file)!(error);
    this.waiting.delete(file);
    await vi.advanceTimersByTimeAsync(500);
  }
  async comeAll(): Promise<void> {
    while (this.open.length > 0) await this.come(this.open[0]!);
  }
}

/** Eight tiles of ten splats in a row along x; the coarse set has one splat in each. */
const SET: SplatSet = {
  count: 80,
  sh_degree: 0,
  antialiased: false,
  budget: 1000,
  coarse: { file: "coarse", count: 8, bytes: 8 },
  tiles: Array.from({ length: 8 }, (_, i) => ({ file: `tile ${i}`, count: 10, bytes: 10, min: [i, 0, 0], max: [i + 1, 1, 1] })),
};

function setUp(budget: number) {
  vi.useFakeTimers();
  const server = new Server();
  const eye: { now: Eye } = { now: { position: [0.5, 0.5, 0.5], planes: [] } };
  const faults: unknown[] = [];
  const bytes: [number, number][] = [];
  const tiles = new Tiles(SET, budget, {
    load: (file, onBytes, signal) => server.load(file, signal).then((loaded) => (onBytes(file.bytes), loaded)),
    eye: () => eye.now,
    onBytes: (done, all) => bytes.push([done, all]),
    onShown: () => {},
    onFault: (error) => faults.push(error),
  });
  const shown = () => tiles.shown.map((loaded) => loaded.mesh.name).sort();
  const look = (x: number) => ((eye.now = { position: [x, 0.5, 0.5], planes: [] }), tiles.update());
  return { server, tiles, shown, look, faults, bytes };
}

/** Each region is shown exactly once: in full or coarse. */
function regions(shown: string[]): string[] {
  return shown.map((name) => name.split(" ")[1]!).sort();
}
const ALL = ["0", "1", "2", "3", "4", "5", "6", "7"];

describe("the tiles of a scene within the budget", () => {
  it("replace the coarse picture one by one, and never stand beside it", async () => {
    const { server, tiles, shown, bytes } = setUp(1000);
    const coarse = tiles.loadCoarse();
    await server.come("coarse");
    await coarse;
    expect(shown()).toEqual(ALL.map((i) => `coarse ${i}`));
    const done = vi.fn();
    void tiles.loadFirst().then(done);
    expect(server.open).toEqual(["tile 0", "tile 1", "tile 2", "tile 3"]); // nearest first, four at a time
    await server.come("tile 2");
    expect(shown()).toContain("tile 2");
    expect(shown()).not.toContain("coarse 2");
    expect(regions(shown())).toEqual(ALL);
    expect(done).not.toHaveBeenCalled();
    await server.comeAll();
    expect(done).toHaveBeenCalled();
    expect(shown()).toEqual(ALL.map((i) => `tile ${i}`));
    expect(bytes.at(-1)).toEqual([88, 88]);
    expect(bytes.every(([, all]) => all === 88)).toBe(true);
  });
  it("end in the error of the first that fails", async () => {
    const { server, tiles } = setUp(1000);
    const coarse = tiles.loadCoarse();
    await server.come("coarse");
    await coarse;
    const first = tiles.loadFirst();
    const failed = expect(first).rejects.toThrow("broken");
    await server.come("tile 1", new Error("broken"));
    await failed;
    expect(server.open).toEqual([]); // the others were stopped
  });
});

describe("the tiles of a scene beyond the budget", () => {
  async function started(budget: number) {
    const all = setUp(budget);
    const coarse = all.tiles.loadCoarse();
    await all.server.come("coarse");
    await coarse;
    void all.tiles.loadFirst();
    await all.server.comeAll();
    return all;
  }
  it("stand in full near the eye, coarse elsewhere, within the budget", async () => {
    const { server, tiles, shown, look } = await started(40); // 8 coarse + 3 tiles
    expect(tiles.streams).toBe(true);
    expect(shown().filter((name) => name.startsWith("tile"))).toEqual(["tile 0", "tile 1", "tile 2"]);
    expect(regions(shown())).toEqual(ALL);
    look(7.5);
    await server.comeAll();
    expect(shown().filter((name) => name.startsWith("tile"))).toEqual(["tile 5", "tile 6", "tile 7"]);
    expect(regions(shown())).toEqual(ALL);
    expect(tiles.shown.reduce((sum, { count }) => sum + count, 0)).toBeLessThanOrEqual(40);
  });
  it("are kept while there is room, and the longest unused goes first", async () => {
    const { server, shown, look } = await started(38); // 8 coarse + 3 tiles, no spare
    look(1.5); // wants 1, 0, 2 still
    expect(server.open).toEqual([]);
    look(3.5); // 3, 2, 4: drops 0 and 1
    await server.comeAll();
    expect(shown().filter((name) => name.startsWith("tile"))).toEqual(["tile 2", "tile 3", "tile 4"]);
    expect(server.asked.filter((file) => file === "tile 2")).toHaveLength(1);
  });
  it("are no longer fetched when the eye has gone on", async () => {
    const { server, look } = await started(40);
    look(7.5);
    expect(server.open).toEqual(["tile 7", "tile 6", "tile 5"]);
    look(0.5);
    await vi.advanceTimersByTimeAsync(10);
    expect(server.open).toEqual(["tile 0", "tile 1", "tile 2"]); // there was no room to keep them
  });
  it("that cannot be had leave the coarse picture and are told once", async () => {
    const { server, shown, look, faults } = await started(40);
    look(7.5);
    await server.come("tile 7", new Error("broken"));
    await server.comeAll();
    look(7.4);
    await server.comeAll();
    expect(faults).toHaveLength(1);
    expect(server.asked.filter((file) => file === "tile 7")).toHaveLength(1);
    expect(shown()).toContain("coarse 7");
    expect(regions(shown())).toEqual(ALL);
  });
});
