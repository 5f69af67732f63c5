/** Splats and mesh: loading with progress, a coarse picture first, what is shown, and what lies under a pixel. */

import * as THREE from "three";
import { type Manifest, type Moving, type SplatFile } from "../manifest";
import { Draft } from "../view/draft";
import { Sharpness } from "../view/sharpness";
import type { Stage } from "../view/stage";
import { deviceBudget, holdsExactly, thisDevice } from "./device";
import { MovingSplats, segmentAt } from "./moving";
import { loadBody, loadSegment, type MovingBody } from "./moving_file";
import { medianDistance, type Pickable } from "./pick";
import { Player } from "./player";
import { drawFirst, drawnOf, frustumPlanes, type LoadedSplats, loadSplats } from "./splat_file";
import { Surface } from "./surface";
import { Tiles } from "./tiles";

export type Shown = "splats" | "mesh" | "both";

/** loading: nothing to see yet. coarse: a small picture of the whole. ready: all that this view needs. */
export type LoadState = "loading" | "coarse" | "ready";

export interface Progress {
  state: LoadState;
  /** Of all bytes that the first view takes, 0..1. */
  done: number;
}

/** A place under a pixel: in the world frame of the files, and how far it is from the eye, in the units of the files. */
export interface Picked {
  world: THREE.Vector3;
  distance: number;
}

/** While the eye moves through a scene that streams, tiles are chosen anew at most so often. */
const CHOOSE_SECONDS = 0.3;

/** More splats than this take a renderer without a GPU longer than a frame should last. */
const CPU_SPLATS = 30_000;

export class Content {
  /** Under `world`: in the world frame of the files. */
  readonly splats = new THREE.Group();
  /** Under `world`; what hangs in it is turned from glTF's +Y up. */
  readonly mesh = new THREE.Group();
  /** How many splats this device may hold at once. */
  readonly deviceBudget: number;
  private readonly tiles: Tiles | null = null;
  private readonly moving: MovingSplats<number> | null = null;
  /** What plays it. */
  readonly player: Player | null = null;
  private body: MovingBody | null = null;
  private coming: Promise<MovingBody> | null = null;
  /** A few splats of a moving scene at the moment of its start, until all are there. */
  private coarse: LoadedSplats | null = null;
  private readonly surface: Surface | null = null;
  private readonly listeners = new Set<(progress: Progress) => void>();
  private readonly faults = new Set<(error: unknown) => void>();
  private shownNow: Shown;
  private drawLimit: number | null = null;
  /** What is drawn while the view moves on a slow device. */
  readonly draft: Draft;
  private readonly sharpness: Sharpness;
  private readonly viewBefore = new THREE.Matrix4();
  private timeNow: number | null = null;
  private readonly timeListeners = new Set<() => void>();
  /** Where a moving scene begins; a share link may say another time than the manifest. */
  startTime: number | null;
  private shDegree = 3;
  progress: Progress = { state: "loading", done: 0 };

  constructor(
    readonly manifest: Manifest,
    private readonly stage: Stage,
    private readonly world: THREE.Group,
  ) {
    this.startTime = manifest.moving ? (manifest.start.time ?? manifest.moving.start) : null;
    const device = thisDevice();
    const set = manifest.splats;
    this.deviceBudget = deviceBudget(set?.budget ?? Infinity, device);
    this.shownNow = manifest.splats || manifest.moving ? "splats" : "mesh";
    world.add(this.splats, this.mesh);
    const exact = holdsExactly(Math.min(this.deviceBudget, set?.count ?? 0), device);
    const load = (file: SplatFile, more: { exact: boolean; signal: AbortSignal; onBytes?: (bytes: number) => void }) =>
      loadSplats(file, { ...more, shDegree: this.shDegree });
    if (set) {
      this.tiles = new Tiles(set, this.deviceBudget, {
        load: (file, onBytes, signal, coarse) => load(file, { exact: exact || coarse, signal, onBytes }),
        eye: () => ({ position: this.eye().toArray(), planes: frustumPlanes(stage.camera, world) }),
        onBytes: (done, all) => this.count(done, all),
        onShown: () => this.changed(),
        onFault: (error) => this.fault(error),
      });
      this.splats.add(this.tiles.group, this.tiles.drafts);
    }
    if (manifest.moving) {
      this.moving = new MovingSplats<number>(manifest.moving.segments, {
        load: (index, signal) => this.loadSegment(index, signal),
        show: async (index, share) => {
          await this.body?.pose(index, share);
          if (this.coarse) this.showBody();
          this.stage.invalidate();
        },
        drop: (index) => this.body?.forget(index),
        onFault: (error) => {
          if (this.waits) this.player?.pause();
          this.fault(error);
        },
      });
      this.player = new Player(manifest.moving, this);
    }
    if (manifest.mesh) {
      this.surface = new Surface(manifest.mesh, () => stage.invalidate());
      this.mesh.add(this.surface.group);
    }
    this.show(this.shownNow);
    this.draft = new Draft((on) => (stage.draft = on), () => this.tiles?.timesCoarse ?? 1, stage.drawsOnCpu && (set?.count ?? 0) > CPU_SPLATS);
    this.sharpness = new Sharpness((share) => (stage.sharpness = share));
    stage.onFrame((seconds) => {
      this.follow(seconds);
      this.player?.tick(seconds);
      if (stage.renderer.xr.isPresenting) {
        this.draft.stop();
        this.sharpness.stop();
      } else if (this.moving) this.sharpness.tick(this.moves(), seconds, stage.lastFrame);
      else if (this.progress.state === "ready" && this.tiles) this.draft.tick(stage.camera.matrixWorld, seconds, stage.held, stage.lastFrame);
    });
  }

  get shown(): Shown {
    return this.shownNow;
  }
  /** What of the two can be shown. */
  get choices(): Shown[] {
    const splats = this.manifest.splats ?? this.manifest.moving;
    return splats && this.manifest.mesh ? ["splats", "mesh", "both"] : splats ? ["splats"] : ["mesh"];
  }
  show(what: Shown): void {
    if (!this.choices.includes(what)) return;
    this.shownNow = what;
    this.splats.visible = what !== "mesh";
    this.mesh.visible = what !== "splats";
    if (this.mesh.visible && this.progress.state === "ready") this.surface?.load().catch((error: unknown) => this.fault(error));
    this.stage.invalidate();
  }
  /** Whether there are splats whose colour depends on where one looks from. */
  get hasViewDependentColour(): boolean {
    return ((this.manifest.splats ?? this.manifest.moving)?.sh_degree ?? 0) > 0;
  }
  get viewDependentColour(): boolean {
    return this.shDegree > 0;
  }
  set viewDependentColour(on: boolean) {
    this.shDegree = on ? 3 : 0;
    this.changed();
  }
  onProgress(listener: (progress: Progress) => void): void {
    this.listeners.add(listener);
    listener(this.progress);
  }
  /** Called when something could not be loaded after the page was ready: what is there stays. */
  onFault(listener: (error: unknown) => void): void {
    this.faults.add(listener);
  }

  /** Draw at most so many splats, the most important ones of each tile; null: all. At once. */
  setBudget(count: number | null): void {
    this.drawLimit = count;
    const shown = this.loaded;
    const total = shown.reduce((sum, loaded) => sum + loaded.count, 0);
    const share = count === null ? 1 : Math.min(1, Math.max(0, count) / Math.max(1, total));
    for (const loaded of shown) drawFirst(loaded, share);
    this.stage.invalidate();
  }
  /** How many splats are drawn now. */
  get drawn(): number {
    return this.splats.visible ? this.loaded.reduce((sum, loaded) => sum + drawnOf(loaded), 0) : 0;
  }
  /** How many splats stand in the scene, drawn or not. */
  get held(): number {
    return this.loaded.reduce((sum, { count }) => sum + count, 0);
  }

  /** The splats that stand in the scene, as they are pointed at. */
  get pickables(): Pickable[] {
    this.body?.refreshPick();
    return this.loaded.map(({ pick }) => pick);
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
  /** The same for a point of the window, in CSS pixels as in a pointer event. */
  raycastPixel(clientX: number, clientY: number): Picked | null {
    const box = this.stage.canvas.getBoundingClientRect();
    return this.pick((2 * (clientX - box.left)) / box.width - 1, 1 - (2 * (clientY - box.top)) / box.height);
  }
  /** The same along a ray in the frame of three.js; `pixel` is the angle of a pixel, radians. The place is in the world frame of the files,
   * whatever the rig does to it. */
  pickRay(ray: THREE.Ray, pixel = 1e-3): Picked | null {
    this.world.updateWorldMatrix(true, false);
    const local = ray.clone().applyMatrix4(this.world.matrixWorld.clone().invert());
    local.direction.normalize();
    let distance = Infinity;
    if (this.splats.visible) {
      const antialiased = (this.manifest.splats ?? this.manifest.moving)?.antialiased ?? false;
      distance = medianDistance(this.pickables, { origin: local.origin.toArray(), direction: local.direction.toArray(), pixel, antialiased }) ?? Infinity;
    }
    const hit = this.mesh.visible ? this.surface?.pick(ray) : null;
    if (hit) distance = Math.min(distance, this.world.worldToLocal(hit.clone()).distanceTo(local.origin));
    return distance === Infinity ? null : { world: local.at(distance, new THREE.Vector3()), distance };
  }

  /** Load what the manifest names. Rejects with a PageError that says what is wrong. */
  async load(): Promise<void> {
    const { mesh, moving } = this.manifest;
    if (this.tiles) {
      await this.tiles.loadCoarse();
      this.tell("coarse", this.progress.done);
      if (!moving) await this.tiles.loadFirst();
    }
    if (moving) await this.loadMoving(moving);
    if (this.mesh.visible || (!this.tiles && !moving)) await this.surface?.load((bytes) => this.count(bytes, mesh?.bytes ?? 1));
    await this.stage.picture();
    this.tell("ready", 1);
  }
  /** Show a moving scene at a time, seconds. Resolves when the picture is there. */
  async setTime(seconds: number): Promise<void> {
    try {
      await this.goToTime(seconds);
    } catch (error) {
      this.player?.pause();
      this.fault(error);
    }
  }
  /** Pause, and show a moment: that of a photo, of a note. Nothing happens where the scene stands still, or the moment is not known. */
  showMoment(seconds: number | null | undefined): void {
    if (!this.player || seconds === null || seconds === undefined) return;
    if (this.progress.state === "ready") void this.player.show(seconds);
    else {
      this.startTime = Math.min(this.player.span.end, Math.max(this.player.span.start, seconds));
      if (this.coming) void this.setTime(this.startTime);
    }
  }
  /** The time of a moving scene that was asked for last, seconds; null: nothing moves. */
  get time(): number | null {
    return this.timeNow;
  }
  /** Called when another time is asked for. */
  onTime(listener: () => void): void {
    this.timeListeners.add(listener);
  }
  /** Whether the time that was asked for is the one shown. */
  get settled(): boolean {
    return this.moving?.settled ?? true;
  }
  /** Whether that time is still on its way from the server. */
  get waits(): boolean {
    return this.moving?.waits ?? false;
  }
  /** Whether a scene that moves has come, and can be played. */
  get plays(): boolean {
    return this.body !== null;
  }

  /** First a few splats at the moment of the start; then all of them, at the time that is asked for. What is broken is said, and what has come
   * stays: rejects where nothing has. */
  private async loadMoving(moving: Moving): Promise<void> {
    const [coarse, first] = [moving.coarse, moving.segments[segmentAt(moving.segments, this.startTime!)]!];
    const before = coarse?.bytes ?? 0;
    const [done, all] = [[0, 0, 0], before + moving.bytes + first.bytes];
    const count = (part: number) => (bytes: number) => ((done[part] = bytes), this.count(done[0]! + done[1]! + done[2]!, all));
    this.firstBytes = count(2);
    if (coarse) {
      this.coarse = await loadSplats(coarse, { exact: true, shDegree: this.shDegree, onBytes: count(0) });
      this.splats.add(this.coarse.mesh);
      this.changed();
      this.tell("coarse", this.progress.done);
    }
    this.coming = loadBody(moving, this.shDegree, count(1));
    const shown = this.goToTime(this.startTime!); // its segment comes beside the body
    shown.catch(() => undefined);
    try {
      this.body = await this.coming;
    } catch (error) {
      if (!this.coarse && !this.manifest.mesh) throw error;
      if (!this.coarse) this.show("mesh");
      return this.fault(error);
    }
    if (!this.coarse && this.startTime === moving.start) this.showBody(); // the body is that moment
    await shown.catch((error: unknown) => this.fault(error));
    this.showBody();
    this.firstBytes = null;
  }
  private showBody(): void {
    if (!this.body || this.body.parts.every(({ mesh }) => mesh.parent)) return;
    for (const { mesh } of this.body.parts) this.splats.add(mesh);
    this.coarse?.mesh.removeFromParent();
    this.coarse?.mesh.dispose();
    this.coarse = null;
    this.changed();
    if (this.progress.state === "loading") this.tell("coarse", this.progress.done);
  }
  /** Hears of the bytes of the first segment that is shown. */
  private firstBytes: ((bytes: number) => void) | null = null;
  private loadSegment(index: number, signal: AbortSignal): Promise<number> {
    const moving = this.manifest.moving!;
    const { start, end } = moving.segments[index]!;
    const awaited = this.timeNow !== null && this.timeNow >= start && this.timeNow <= end; // those fetched ahead are no part of the first picture
    return loadSegment(moving, this.coming!, index, (bytes) => awaited && this.firstBytes?.(bytes), signal);
  }
  /** Whether the scene or the view moves. */
  private moves(): boolean {
    const { camera } = this.stage;
    const moved = !camera.matrixWorld.equals(this.viewBefore);
    this.viewBefore.copy(camera.matrixWorld);
    return this.progress.state === "ready" && (moved || (this.player!.playing && !this.waits));
  }
  private async goToTime(seconds: number): Promise<void> {
    if (!this.moving) return;
    this.timeNow = seconds;
    for (const listener of this.timeListeners) listener();
    await this.moving.setTime(seconds);
  }
  private get loaded(): LoadedSplats[] {
    if (this.coarse) return [this.coarse];
    return this.body?.parts ?? this.tiles?.shown ?? [];
  }
  private changed(): void {
    if (this.tiles && this.moving) this.tiles.group.visible = this.body === null;
    for (const { mesh } of this.loaded) {
      if (mesh.maxSh === this.shDegree) continue;
      mesh.maxSh = this.shDegree;
      mesh.updateGenerator();
    }
    this.setBudget(this.drawLimit);
  }
  private eye(): THREE.Vector3 {
    this.stage.camera.updateMatrixWorld();
    this.world.updateWorldMatrix(true, false);
    return this.world.worldToLocal(new THREE.Vector3().setFromMatrixPosition(this.stage.camera.matrixWorld));
  }
  private chosenAt = 0;
  private readonly chosenFrom = new THREE.Matrix4();
  /** Which tiles a scene that streams needs depends on where the eye is. */
  private follow(seconds: number): void {
    if (!this.tiles?.streams || this.manifest.moving || this.progress.state !== "ready" || seconds - this.chosenAt < CHOOSE_SECONDS) return;
    const view = this.stage.camera.matrixWorld.clone().premultiply(this.world.matrixWorld.clone().invert());
    if (view.equals(this.chosenFrom)) return;
    this.chosenAt = seconds;
    this.chosenFrom.copy(view);
    this.tiles.update();
  }
  private count(done: number, all: number): void {
    const share = all > 0 ? done / all : 1;
    if (this.progress.state !== "ready") this.tell(this.progress.state, Math.min(0.999, share));
  }
  private fault(error: unknown): void {
    for (const listener of this.faults) listener(error);
  }
  private tell(state: LoadState, done: number): void {
    this.progress = { state, done };
    for (const listener of this.listeners) listener(this.progress);
    this.stage.invalidate();
  }
}

