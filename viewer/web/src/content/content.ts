/** Splats and mesh: loading with progress, a coarse picture first, what is shown, and what lies under a pixel. */

import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { SplatFileType, SplatMesh } from "@sparkjsdev/spark";
import { type Manifest, PageError, type SplatFile } from "../manifest";
import type { Stage } from "../view/stage";
import { fetchBytes } from "./fetch";

export type Shown = "splats" | "mesh" | "both";

/** loading: nothing to see yet. coarse: a small picture of the whole. ready: all that this view needs. */
export type LoadState = "loading" | "coarse" | "ready";

export interface Progress {
  state: LoadState;
  /** Of what is loading now, 0..1. */
  done: number;
}

export class Content {
  /** Under `world`: in the world frame of the files. */
  readonly splats = new THREE.Group();
  readonly mesh = new THREE.Group();
  private readonly listeners = new Set<(progress: Progress) => void>();
  private shownNow: Shown;
  progress: Progress = { state: "loading", done: 0 };

  constructor(
    readonly manifest: Manifest,
    private readonly stage: Stage,
    world: THREE.Group,
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
      this.splats.add(coarse);
      this.tell("coarse", 0);
      const total = set.tiles.reduce((sum, tile) => sum + tile.bytes, 0);
      let finished = 0;
      const tiles: SplatMesh[] = [];
      for (const tile of set.tiles) {
        tiles.push(await this.loadSplats(tile, (done) => this.tell("coarse", (finished + done * tile.bytes) / total)));
        finished += tile.bytes;
      }
      this.splats.add(...tiles);
      this.splats.remove(coarse);
      coarse.dispose();
    }
    this.tell("ready", 1);
  }

  private async loadSplats(file: SplatFile, onProgress: (done: number) => void): Promise<SplatMesh> {
    const fileBytes = await fetchBytes(file, onProgress);
    const mesh = new SplatMesh({ fileBytes, fileType: SplatFileType.SPZ, extSplats: true, raycastable: false });
    try {
      await mesh.initialized;
    } catch (error) {
      throw new PageError(`${file.file} is damaged (${error instanceof Error ? error.message : String(error)}). Publish the scene again.`);
    }
    return mesh;
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
