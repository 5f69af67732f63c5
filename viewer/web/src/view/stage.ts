/** Canvas, renderer, camera and the loop. A picture is drawn when something has changed; in VR, always. */

import * as THREE from "three";
import { SplatRenderer } from "./splat_renderer";
import { PageError } from "../manifest";
import { DRAFT_LAYER, DRAFT_PIXELS } from "./draft";
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
  readonly spark: SplatRenderer;
  private readonly draftSpark: SplatRenderer;
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
  /** Seconds that the last frame took to come; null: none was drawn. */
  lastFrame: number | null = null;
  private readonly pressed = new Set<number>();
  private wantsDraft = false;
  private drafting = false;
  private swapping = false;
  private share = 1;

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
    const options = {
      renderer: this.renderer,
      onDirty: () => this.invalidate(),
      maxStdDev: MAX_STD_DEV,
      minAlpha: 1 / 255,
      preBlurAmount: antialiased ? 0 : SCREEN_FILTER,
      blurAmount: antialiased ? SCREEN_FILTER : 0,
      sortRadial: false,
      accumExtSplats: true,
    };
    this.spark = new SplatRenderer(options);
    this.draftSpark = new SplatRenderer(options, DRAFT_LAYER);
    this.draftSpark.visible = false;
    this.scene.add(this.spark, this.draftSpark);
    new ResizeObserver(() => this.resize()).observe(container);
    this.resize();
    this.renderer.setAnimationLoop((time, frame) => this.tick(time / 1000, frame));
    canvas.addEventListener("pointerdown", ({ pointerId }) => this.pressed.add(pointerId));
    for (const end of ["pointerup", "pointercancel"] as const) window.addEventListener(end, ({ pointerId }) => this.pressed.delete(pointerId));
    canvas.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.onLost();
    });
  }

  /** Whether a mouse button or a finger is down on the canvas. */
  get held(): boolean {
    return this.pressed.size > 0;
  }
  /** Called when the graphics driver gave up. */
  onLost: () => void = () => {};

  get canvas(): HTMLCanvasElement {
    return this.renderer.domElement;
  }
  /** Whether there is no GPU, going by the name of the renderer. */
  get drawsOnCpu(): boolean {
    const gl = this.renderer.getContext();
    const names = gl.getExtension("WEBGL_debug_renderer_info");
    return names !== null && /swiftshader|llvmpipe|softpipe|software|basic render/i.test(String(gl.getParameter(names.UNMASKED_RENDERER_WEBGL)));
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
      if (drawn && !this.drafting && !this.wantsDraft && spark.collected) break;
    }
    forget();
  }
  /** Draw the splats of DRAFT_LAYER in place of the others, and fewer pixels: as soon as these, or the others, are sorted. */
  set draft(on: boolean) {
    this.wantsDraft = on;
    this.spark.autoUpdate = !on;
    if (!this.swapping) void this.swap();
  }
  /** Whether a draft is what the canvas shows. */
  get drawsDraft(): boolean {
    return this.drafting;
  }
  /** Of the canvas's sides, how much is drawn while all splats are: 1, or less where a device is slow. */
  set sharpness(share: number) {
    if (share === this.share || this.renderer.xr.isPresenting) return;
    this.share = share;
    this.resize();
  }
  /** Draw now, with all pixels, and give the canvas to `use` before it goes back to what it was. */
  withAllPixels(use: (canvas: HTMLCanvasElement) => void): void {
    const { share } = this;
    this.sharpness = 1;
    this.draw();
    use(this.canvas);
    this.sharpness = share;
  }
  private async swap(): Promise<void> {
    this.swapping = true;
    while (this.drafting !== this.wantsDraft) {
      const draft = this.wantsDraft;
      await (draft ? this.draftSpark : this.spark).collect(this.scene, this.camera, performance.now() + PICTURE_MS);
      if (draft !== this.wantsDraft) continue;
      this.drafting = this.draftSpark.visible = draft;
      this.spark.visible = !draft;
      this.resize();
    }
    this.swapping = false;
  }
  resize(): void {
    const parent = this.canvas.parentElement;
    if (!parent || this.renderer.xr.isPresenting) return;
    this.renderer.setPixelRatio((this.drafting ? DRAFT_PIXELS : this.share) * Math.min(window.devicePixelRatio, MAX_PIXEL_RATIO));
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
    this.lastFrame = this.drew && this.last > 0 ? seconds - this.last : null;
    if (this.lastFrame !== null) this.frameMs = this.frameMs === null ? 1000 * this.lastFrame : 0.9 * this.frameMs + 100 * this.lastFrame;
    this.last = seconds;
    for (const listener of this.listeners) listener(seconds, delta, frame);
    const waits = this.wantsDraft && !this.drafting; // one more picture of the whole would only hold the draft up
    this.drew = (this.dirty && !waits) || this.renderer.xr.isPresenting;
    if (!this.drew) return;
    this.dirty = false;
    this.draw();
  }
}
