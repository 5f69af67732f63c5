/** A camera path: keyframes taken from the view, played in the page, saved as the JSON that `recon render` films. */

import * as THREE from "three";
import type { Page } from "../page";
import { ICONS } from "../ui/icons";
import { camFromWorld, type Pose, poseOf } from "../view/frames";
import { type Mark, Overlay } from "./overlay";
import { MAX_LINK_KEYFRAMES, MOST_KEYFRAMES, pathFromValue, PathError, pathToJson } from "./path_file";
import { type CameraPath, duration, type Keyframe, Sampler } from "./path_math";
import { PathPanel } from "./path_panel";
import { recall, remember } from "./store";

/** Seconds from one keyframe to the next, when it is added. */
const STEP_S = 3;
const CURVE_STEPS = 24;
/** The picture shows so many points of the curve, and so many cameras, of a long path. */
const MOST_CURVE_POINTS = 2400;
const MOST_SHOWN = 150;
/** Longer paths are not remembered by the browser, whose room is a few megabytes for all pages of a host. */
const MOST_REMEMBERED = 2000;
/** Of the diagonal of the subject's box. */
const FRUSTUM = 0.035;

export class Path {
  path: CameraPath = { fps: 30, loop: false, keyframes: [] };
  selected: number | null = null;
  playing = false;
  /** Seconds on the path's clock. */
  now = 0;
  private sampler: Sampler | null = null;
  /** Where the playing left the camera; elsewhere: somebody has moved it. */
  private left: Pose | null = null;
  private readonly listeners = new Set<() => void>();
  private readonly ticks = new Set<() => void>();

  constructor(readonly page: Page) {
    page.stage.onFrame((_, delta) => this.frame(delta));
    page.share.register("path", {
      save: () => (this.path.keyframes.length && this.path.keyframes.length <= MAX_LINK_KEYFRAMES ? pack(this.path) : undefined),
      load: (value) => {
        const own = this.path;
        if (!this.tryRead(() => unpack(value))) return false;
        if (own.keyframes.length) page.ui.say("The link's camera path stands in the place of yours.", 10, { label: "Take mine", act: () => this.replace(own) });
        return true;
      },
    });
    const stored = recall(page, "path");
    if (stored !== undefined) this.tryRead(() => pathFromValue(stored));
  }

  get duration(): number {
    return duration(this.path);
  }
  /** Whether the browser keeps it for the next visit. */
  get remembered(): boolean {
    return this.path.keyframes.length <= MOST_REMEMBERED;
  }
  get start(): number {
    return this.path.keyframes[0]?.time ?? 0;
  }
  /** Keyframes or settings have changed. */
  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }
  /** The moment that is shown has changed. */
  onTick(listener: () => void): void {
    this.ticks.add(listener);
  }
  replace(path: CameraPath): void {
    this.pause();
    this.path = path;
    this.selected = null;
    this.now = this.start;
    this.changed();
  }
  add(): void {
    const { keyframes } = this.path;
    if (keyframes.length >= MOST_KEYFRAMES) return this.page.ui.say(`A path has at most ${MOST_KEYFRAMES} keyframes.`);
    const last = keyframes.at(-1);
    keyframes.push({ ...this.viewNow(), time: last ? last.time + STEP_S : 0 });
    this.selected = keyframes.length - 1;
    this.now = keyframes[this.selected]!.time;
    this.changed();
    this.page.ui.say(`Keyframe ${keyframes.length} added.`);
  }
  /** Take the present view as that of a keyframe. */
  update(index: number): void {
    const keyframe = this.path.keyframes[index];
    if (!keyframe) return;
    Object.assign(keyframe, this.viewNow());
    this.changed();
    this.page.ui.say(`Keyframe ${index + 1} shows this view now.`);
  }
  remove(index: number): void {
    const { keyframes } = this.path;
    const before = structuredClone(this.path);
    keyframes.splice(index, 1);
    this.selected = null;
    this.changed();
    this.page.ui.say(`Keyframe ${index + 1} deleted.`, 6, { label: "Undo", act: () => this.replace(before) });
  }
  /** Exchange with the neighbour; the times stay where they are. */
  move(index: number, by: -1 | 1): void {
    const { keyframes } = this.path;
    const [a, b] = [keyframes[index], keyframes[index + by]];
    if (!a || !b) return;
    [keyframes[index], keyframes[index + by]] = [{ ...b, time: a.time }, { ...a, time: b.time }];
    this.selected = index + by;
    this.changed();
  }
  /** A keyframe's time; others stay, and the order follows the times. False: another keyframe is at this time. */
  setTime(index: number, time: number): boolean {
    const keyframe = this.path.keyframes[index];
    if (!keyframe || !Number.isFinite(time) || Math.abs(time) > 80_000) return false;
    if (this.path.keyframes.some((k, i) => i !== index && Math.abs(k.time - time) < 1e-3)) return false;
    keyframe.time = time;
    this.path.keyframes.sort((a, b) => a.time - b.time);
    this.selected = this.path.keyframes.indexOf(keyframe);
    this.changed();
    return true;
  }
  /** Spread the same motion over another time. */
  setDuration(seconds: number): void {
    const old = this.duration;
    if (!(old > 0) || !(seconds >= 0.1 && seconds <= 36_000)) return;
    const start = this.start;
    for (const keyframe of this.path.keyframes) keyframe.time = start + ((keyframe.time - start) * seconds) / old;
    this.changed();
  }
  set(options: { fps?: number; loop?: boolean }): void {
    Object.assign(this.path, options);
    this.changed();
  }
  goTo(index: number): void {
    const keyframe = this.path.keyframes[index];
    if (!keyframe) return;
    this.pause();
    this.selected = index;
    this.now = keyframe.time;
    void this.page.navigation.goTo(poseOf(keyframe.cam_from_world), { vfov_deg: keyframe.vfov_deg }, 0.8);
    this.page.content.showMoment(keyframe.scene_time);
    this.changed();
  }
  play(): void {
    if (this.path.keyframes.length < 2) return;
    if (!this.path.loop && this.now >= this.start + this.duration - 1e-6) this.now = this.start;
    this.playing = true;
    this.left = null;
    this.draw();
    for (const listener of this.listeners) listener();
  }
  pause(): void {
    if (!this.playing) return;
    this.playing = false;
    this.draw();
    for (const listener of this.listeners) listener();
  }
  /** Show a moment of the path's clock. */
  seek(time: number): void {
    if (!this.sampler) return;
    this.now = time;
    const view = this.sampler.at(time);
    void this.page.navigation.goTo(poseOf(view.cam_from_world), { vfov_deg: view.vfov_deg }, 0);
    this.left = this.page.navigation.pose;
    if (view.scene_time !== null) this.page.content.showMoment(view.scene_time);
    for (const tick of this.ticks) tick();
  }
  draw(): void {
    const shown = this.page.ui.openPanel === "path" && !this.playing;
    Overlay.of(this.page).set("path", shown ? this.marks() : []);
  }
  json(): string {
    return pathToJson(this.path);
  }

  private viewNow(): Omit<Keyframe, "time"> {
    const { navigation, stage, content } = this.page;
    return { cam_from_world: camFromWorld(navigation.pose), vfov_deg: Math.min(170, Math.max(0.5, stage.vfovDeg)), scene_time: content.time };
  }
  /** Whether a link or the storage said something that fits; otherwise there is no path. */
  private tryRead(read: () => CameraPath): boolean {
    try {
      this.replace(read());
      return true;
    } catch (error) {
      if (!(error instanceof PathError)) throw error;
      return false;
    }
  }
  private frame(delta: number): void {
    if (!this.playing || this.page.renderer.xr.isPresenting) return;
    if (this.moved()) return this.pause();
    if (this.page.content.waits) return;
    const end = this.start + this.duration;
    let time = this.now + delta;
    if (this.path.loop && time > end) time -= this.duration;
    this.seek(Math.min(time, end));
    if (time >= end && !this.path.loop) this.pause();
  }
  private moved(): boolean {
    const { position, quaternion } = this.page.navigation.pose;
    return this.left !== null && (position.distanceTo(this.left.position) > 1e-9 * (1 + position.length()) || quaternion.angleTo(this.left.quaternion) > 1e-6);
  }
  private changed(): void {
    const { keyframes } = this.path;
    this.now = Math.min(Math.max(this.now, this.start), this.start + this.duration);
    this.sampler = keyframes.length ? new Sampler(this.path) : null;
    if (keyframes.length < 2) this.playing = false;
    remember(this.page, "path", keyframes.length && this.remembered ? JSON.parse(this.json()) : undefined);
    this.draw();
    for (const listener of this.listeners) listener();
  }
  private marks(): Mark[] {
    const { keyframes } = this.path;
    const { sampler } = this;
    if (!sampler) return [];
    const { bounds } = this.page.manifest;
    const size = FRUSTUM * new THREE.Vector3(...bounds.max).distanceTo(new THREE.Vector3(...bounds.min));
    const steps = Math.min(CURVE_STEPS * keyframes.length, MOST_CURVE_POINTS);
    const every = Math.ceil(keyframes.length / MOST_SHOWN);
    const curve = Array.from({ length: steps + 1 }, (_, i) => new THREE.Vector3(...sampler.centre(this.start + (sampler.duration * i) / steps)));
    const marks: Mark[] = keyframes.length > 1 ? [{ kind: "line", points: curve, class: "path" }] : [];
    keyframes.forEach((keyframe, i) => {
      if (i % every !== 0 && i !== this.selected) return;
      const style = `path thin${i === this.selected ? " selected" : ""}`;
      const { points, centre } = frustum(keyframe, size);
      marks.push({ kind: "line", points, class: style, apart: 2 * size });
      marks.push({ kind: "label", at: centre, text: String(i + 1), class: `path key${i === this.selected ? " selected" : ""}` });
    });
    return marks;
  }
}

/** A little pyramid where a keyframe's camera stands, as one line. */
function frustum(keyframe: Keyframe, size: number): { points: THREE.Vector3[]; centre: THREE.Vector3 } {
  const worldFromCam = new THREE.Matrix4().set(...(keyframe.cam_from_world as Parameters<THREE.Matrix4["set"]>)).invert();
  const high = Math.min(1, Math.tan(THREE.MathUtils.degToRad(keyframe.vfov_deg) / 2)) * size;
  const wide = 1.5 * high;
  const at = (x: number, y: number, z: number) => new THREE.Vector3(x, y, z).applyMatrix4(worldFromCam);
  const [a, b, c, d] = [at(-wide, -high, size), at(wide, -high, size), at(wide, high, size), at(-wide, high, size)];
  const centre = at(0, 0, 0);
  return { points: [centre, a, b, centre, c, b, c, d, centre, d, a], centre };
}

/** For a link: fps, loop, and 15 numbers a keyframe. */
function pack({ fps, loop, keyframes }: CameraPath): unknown {
  return [fps, loop ? 1 : 0, ...keyframes.map((k) => [k.time, k.vfov_deg, k.scene_time, ...k.cam_from_world.slice(0, 12)])];
}

function unpack(value: unknown): CameraPath {
  const [fps, loop, ...rows] = Array.isArray(value) ? (value as unknown[]) : [];
  const keyframes = rows.slice(0, MAX_LINK_KEYFRAMES).map((row) => {
    const [time, vfov_deg, scene_time, ...matrix] = Array.isArray(row) ? (row as unknown[]) : [];
    return { time, vfov_deg, scene_time, cam_from_world: [...matrix, 0, 0, 0, 1] };
  });
  return pathFromValue({ recon_path: 1, fps, loop: loop === 1, keyframes });
}

export function installPath(page: Page): void {
  const path = new Path(page);
  const panel = new PathPanel(path);
  page.ui.addPanel({
    id: "path",
    title: "Camera path",
    short: "Path",
    icon: ICONS.film,
    key: "p",
    group: "tools",
    order: 40,
    build: (body) => panel.build(body),
    onOpen: () => path.draw(),
    onClose: () => path.draw(),
  });
  page.ui.addKey({ key: "i", does: "Add this view to the camera path", act: () => path.add() });
}
