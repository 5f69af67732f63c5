/** Splats and mesh: loading with progress, a coarse picture first, what is shown, and what lies under a pixel. */

import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { SplatFileType, SplatMesh } from "@sparkjsdev/spark";
import { type Manifest, PageError, type SplatFile } from "../manifest";
import type { Stage } from "../view/stage";
import { fetchBytes } from "./fetch";
import { medianDistance, type Pickable, pickable } from "./pick";
import { inflateSpz } from "./spz";

export type Shown = "splats" | "mesh" | "both";

/** loading: nothing to see yet. coarse: a small picture of the whole. ready: all that this view needs. */
export type LoadState = "loading" | "coarse" | "ready";

export interface Progress {
  state: LoadState;
  /** Of what is loading now, 0..1. */
  done: number;
}

/** A place under a pixel: in the world frame of the files, and how far it is from the eye in units of the files. */
export interface Picked {
  world: THREE.Vector3;
  distance: number;
}

interface Loaded {
  mesh: SplatMesh;
  count: number;
  pick: Pickable;
}

export class Content {
  /** Under `world`: in the world frame of the files. */
  readonly splats = new THREE.Group();
  readonly mesh = new THREE.Group();
  private readonly listeners = new Set<(progress: Progress) => void>();
  private shownNow: Shown;
  private loaded: Loaded[] = [];
  private budget: number | null = null;
  progress: Progress = { state: "loading", done: 0 };

  constructor(
    readonly manifest: Manifest,
    private readonly stage: Stage,
    private readonly world: THREE.Group,
  ) {
    this.shownNow = manifest.splats ? "splats" : "mesh";
    world.add(this.splats, this.mesh);
    const turn = new THREE.Quaternion().setFromAxisAngle(new THREE.Vector3(1, 0, 0), Math.PI / 2);
    this.mesh.quaternion.copy(turn); // a glTF is +Y up
    this.mesh.add(new THREE.AmbientLight(0xffffff, Math.PI));
    this.show(this.shownNow);
  }

  get shown(): Shown {
    return this.shownNow;
  }
  /** What of the two can be shown. */
  get choices(): Shown[] {
    const { splats, mesh } = this.manifest;
    return splats && mesh ? ["splats", "mesh", "both"] : splats ? ["splats"] : ["mesh"];
  }
  show(what: Shown): void {
    if (!this.choices.includes(what)) return;
    this.shownNow = what;
    this.splats.visible = what !== "mesh";
    this.mesh.visible = what !== "splats";
    if (this.mesh.visible) void this.loadMesh();
    this.stage.invalidate();
  }
  /** Draw at most so many splats, the most important ones of each tile; null: all. At once. */
  setBudget(count: number | null): void {
    this.budget = count;
    const total = this.loaded.reduce((sum, loaded) => sum + loaded.count, 0);
    const share = count === null ? 1 : Math.min(1, Math.max(0, count) / Math.max(1, total));
    for (const { mesh, count: all } of this.loaded) if (mesh.extSplats) mesh.extSplats.numSplats = Math.floor(all * share);
    this.stage.invalidate();
  }
  /** How many splats are drawn now. */
  get drawn(): number {
    return this.splats.visible ? this.loaded.reduce((sum, { mesh }) => sum + (mesh.extSplats?.numSplats ?? 0), 0) : 0;
  }
  /** What lies under a pixel of the canvas (-1..1, y up): where half of the light has met splats, or the mesh when it is nearer. */
  pick(ndcX: number, ndcY: number): Picked | null {
    const camera = this.stage.camera;
    camera.updateMatrixWorld();
    const origin = new THREE.Vector3().setFromMatrixPosition(camera.matrixWorld);
    const through = new THREE.Vector3(ndcX, ndcY, 0.5).unproject(camera);
    const height = this.stage.canvas.height || 1;
    return this.pickRay(new THREE.Ray(origin, through.sub(origin).normalize()), 2 / (camera.projectionMatrix.elements[5]! * height));
  }
  /** The same along a ray in the frame of three.js; `pixel` is the angle that a pixel has, radians. */
  pickRay(ray: THREE.Ray, pixel = 1e-3): Picked | null {
    this.world.updateWorldMatrix(true, false);
    const local = ray.clone().applyMatrix4(this.world.matrixWorld.clone().invert());
    local.direction.normalize();
    const origin = local.origin.toArray();
    const direction = local.direction.toArray();
    let distance = Infinity;
    if (this.splats.visible) {
      const antialiased = this.manifest.splats?.antialiased ?? false;
      distance = medianDistance(this.loaded.map(({ pick }) => pick), { origin, direction, pixel, antialiased }) ?? Infinity;
    }
    if (this.mesh.visible) {
      const hit = new THREE.Raycaster(ray.origin, ray.direction).intersectObject(this.mesh, true)[0];
      if (hit) distance = Math.min(distance, this.world.worldToLocal(hit.point.clone()).distanceTo(local.origin));
    }
    return distance === Infinity ? null : { world: local.at(distance, new THREE.Vector3()), distance };
  }
  onProgress(listener: (progress: Progress) => void): void {
    this.listeners.add(listener);
    listener(this.progress);
  }
  /** Load what the manifest names. Rejects with a PageError that says what is wrong. */
  async load(): Promise<void> {
    const set = this.manifest.splats;
    if (!set) {
      await this.loadMesh();
    } else {
      const coarse = await this.loadSplats(set.coarse, (done) => this.tell("loading", done));
      this.place([coarse]);
      this.tell("coarse", 0);
      const total = set.tiles.reduce((sum, tile) => sum + tile.bytes, 0);
      let finished = 0;
      const tiles: Loaded[] = [];
      for (const tile of set.tiles) {
        tiles.push(await this.loadSplats(tile, (done) => this.tell("coarse", (finished + done * tile.bytes) / total)));
        finished += tile.bytes;
      }
      this.place(tiles);
      coarse.mesh.dispose();
    }
    this.tell("ready", 1);
  }

  private async loadSplats(file: SplatFile, onProgress: (done: number) => void): Promise<Loaded> {
    const fileBytes = await fetchBytes(file, onProgress);
    const pick = pickable(await inflateSpz(file.file, fileBytes, file.count));
    const mesh = new SplatMesh({ fileBytes, fileType: SplatFileType.SPZ, extSplats: true, raycastable: false });
    try {
      await mesh.initialized;
    } catch (error) {
      throw new PageError(`${file.file} is damaged (${error instanceof Error ? error.message : String(error)}). Publish the scene again.`);
    }
    return { mesh, count: file.count, pick };
  }
  private place(shown: Loaded[]): void {
    this.splats.clear();
    this.loaded = shown;
    this.splats.add(...shown.map(({ mesh }) => mesh));
    this.setBudget(this.budget);
  }
  private meshLoading: Promise<void> | null = null;
  private loadMesh(): Promise<void> {
    const file = this.manifest.mesh;
    this.meshLoading ??= (async () => {
      if (!file) return;
      const bytes = await fetchBytes(file, () => {});
      const gltf = await new GLTFLoader().parseAsync(bytes.buffer as ArrayBuffer, "");
      this.mesh.add(gltf.scene);
      this.stage.invalidate();
    })();
    return this.meshLoading;
  }
  private tell(state: LoadState, done: number): void {
    this.progress = { state, done };
    for (const listener of this.listeners) listener(this.progress);
    this.stage.invalidate();
  }
}
