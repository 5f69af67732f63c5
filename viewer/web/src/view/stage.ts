/** Canvas, renderer, camera and the loop. A picture is drawn when something has changed; in VR, always. */

import * as THREE from "three";
import { SparkRenderer } from "@sparkjsdev/spark";
import { PageError } from "../manifest";
import { applyLens, type Lens, vfovDeg } from "./frames";

/** Splats end where their alpha falls below 1/255, as in recon's own rasterizer: at sqrt(2 ln 255) standard deviations. */
const MAX_STD_DEV = Math.sqrt(2 * Math.log(255));
const SCREEN_FILTER = 0.3;
const MAX_PIXEL_RATIO = 2;
/** However slow a device sorts, nobody waits longer, milliseconds. */
const PICTURE_MS = 20_000;

export type FrameListener = (seconds: number, delta: number, frame?: XRFrame) => void;

export class Stage {
  readonly renderer: THREE.WebGLRenderer;
  readonly spark: SparkRenderer;
  readonly scene = new THREE.Scene();
  readonly camera = new THREE.PerspectiveCamera(50, 1, 0.01, 1000);
  private currentLens: Lens = { vfov_deg: 50 };
  private readonly listeners = new Set<FrameListener>();
  private readonly resized = new Set<() => void>();
  private dirty = true;
  private last = 0;
  /** Milliseconds from frame to frame while frames follow each other, smoothed; null before there were any. */
  frameMs: number | null = null;
  private drew = false;

  constructor(container: HTMLElement, antialiased: boolean) {
    const canvas = document.createElement("canvas");
    canvas.id = "view";
    canvas.tabIndex = 0;
    canvas.setAttribute("role", "application");
    canvas.setAttribute("aria-label", "The place in three dimensions. Arrow keys turn, W A S D move, H lists all keys.");
    container.append(canvas);
    try {
      this.renderer = new THREE.WebGLRenderer({ canvas, antialias: false, powerPreference: "high-performance", preserveDrawingBuffer: true });
    } catch {
      throw new PageError("This browser draws no WebGL 2. Switch on graphics acceleration, or open the page in a current Chrome, Edge, Firefox or Safari.");
    }
    this.renderer.outputColorSpace = THREE.SRGBColorSpace;
    this.renderer.setClearColor(0x000000, 1);
    this.renderer.xr.enabled = true;
    this.spark = new SparkRenderer({
      renderer: this.renderer,
      onDirty: () => this.invalidate(),
      maxStdDev: MAX_STD_DEV,
      minAlpha: 1 / 255,
      preBlurAmount: antialiased ? 0 : SCREEN_FILTER,
      blurAmount: antialiased ? SCREEN_FILTER : 0,
      sortRadial: false,
      accumExtSplats: true,
    });
    this.scene.add(this.spark);
    new ResizeObserver(() => this.resize()).observe(container);
    this.resize();
    this.renderer.setAnimationLoop((time, frame) => this.tick(time / 1000, frame));
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.onLost();
    });
  }

  /** Called when the graphics driver gave up. */
  onLost: () => void = () => {};

  get canvas(): HTMLCanvasElement {
    return this.renderer.domElement;
  }
  get lens(): Lens {
    return this.currentLens;
  }
  set lens(lens: Lens) {
    this.currentLens = lens;
    this.applyLens();
  }
  /** The vertical angle that the canvas shows, degrees. */
  get vfovDeg(): number {
    return vfovDeg(this.currentLens, ...this.cssSize());
  }
  cssSize(): [number, number] {
    return [Math.max(1, this.canvas.clientWidth), Math.max(1, this.canvas.clientHeight)];
  }
  setClip(near: number, far: number): void {
    this.camera.near = near;
    this.camera.far = far;
    this.applyLens();
  }
  /** Draw again at the next chance. */
  invalidate(): void {
    this.dirty = true;
  }
  /** Called before each tick of the display, whether a picture is drawn or not. Returns what takes the listener away. */
  onFrame(listener: FrameListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  onResize(listener: () => void): () => void {
    this.resized.add(listener);
    return () => this.resized.delete(listener);
  }
  /** Draw now. */
  draw(): void {
    this.renderer.render(this.scene, this.camera);
  }
  /** Resolves when the picture shows all splats that stand in the scene: they are sorted elsewhere, and shown when that is done. */
  async picture(): Promise<void> {
    const { spark } = this;
    const deadline = performance.now() + PICTURE_MS;
    let drawn = false;
    this.invalidate();
    const forget = this.onFrame(() => (drawn ||= !this.dirty)); // what was asked for before this tick has been drawn
    while (performance.now() < deadline && !document.hidden) {
      await new Promise((resolve) => setTimeout(resolve, 16));
      if (drawn && !spark.sorting && !spark.sortDirty && spark.display.mappingVersion === spark.current.mappingVersion) break;
    }
    forget();
  }
  resize(): void {
    const parent = this.canvas.parentElement;
    if (!parent || this.renderer.xr.isPresenting) return;
    this.renderer.setPixelRatio(Math.min(window.devicePixelRatio, MAX_PIXEL_RATIO));
    this.renderer.setSize(Math.max(1, parent.clientWidth), Math.max(1, parent.clientHeight), true);
    this.applyLens();
    for (const listener of this.resized) listener();
  }

  private applyLens(): void {
    applyLens(this.camera, this.currentLens, ...this.cssSize());
    this.invalidate();
  }
  private tick(seconds: number, frame?: XRFrame): void {
    const delta = Math.min(0.1, Math.max(0, seconds - this.last));
    if (this.drew && this.last > 0) {
      const ms = 1000 * (seconds - this.last);
      this.frameMs = this.frameMs === null ? ms : 0.9 * this.frameMs + 0.1 * ms;
    }
    this.last = seconds;
    for (const listener of this.listeners) listener(seconds, delta, frame);
    this.drew = this.dirty || this.renderer.xr.isPresenting;
    if (!this.drew) return;
    this.dirty = false;
    this.draw();
  }
}
