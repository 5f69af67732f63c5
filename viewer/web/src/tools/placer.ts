/** Places in the scene that the visitor points at: by click or tap, by holding a finger down under a loupe, and by keyboard, with a
 * crosshair at the canvas's centre that the view is moved under. One tool at a time. */

import * as THREE from "three";
import type { Page } from "../page";
import { element } from "../ui/elements";
import { clipInterval, type CropBox } from "./crop_math";
import { Loupe } from "./loupe";
import { Pointer } from "./pointer";

export interface Placing {
  /** A place was pointed at, in the world frame. */
  place: (world: THREE.Vector3) => void;
  /** What lies under the mouse now; null: nothing, or no mouse. */
  preview?: (world: THREE.Vector3 | null) => void;
  /** Another tool begins to place. */
  interrupted: () => void;
}

const REST_MS = 420;
/** Previews come at most so often, and rarer where picking is slow. */
const PREVIEW_MS = 60;

export class Placer {
  private static readonly made = new WeakMap<Page, Placer>();
  static of(page: Page): Placer {
    let placer = Placer.made.get(page);
    if (!placer) Placer.made.set(page, (placer = new Placer(page)));
    return placer;
  }

  readonly loupe: Loupe;
  /** Only what is inside this box can be pointed at. */
  crop: CropBox | null = null;
  private readonly cross = element("div", { class: "crosshair", "aria-hidden": "true", hidden: "" });
  private placing: Placing | null = null;
  private restTimer = 0;
  private previewAt = 0;
  private previewTimer = 0;
  private holding: [number, number] | null = null;

  private constructor(private readonly page: Page) {
    this.loupe = new Loupe(page);
    page.stage.canvas.after(this.cross);
    Pointer.of(page).add({
      grips: () => [],
      tap: (x, y) => this.placing !== null && (this.placeAt(x, y), true),
      hover: (at) => this.hover(at),
      hold: (x, y) => this.placing !== null && (this.held(x, y), true),
      held: (x, y) => this.held(x, y),
      release: () => this.release(),
    });
  }

  get active(): boolean {
    return this.placing !== null;
  }
  start(placing: Placing): void {
    const before = this.placing;
    this.placing = null;
    before?.interrupted();
    this.placing = placing;
    this.page.content.player?.pause(); // what runs away cannot be pointed at
    this.page.ui.root.classList.add("placing");
    this.page.navigation.doubleTapFlies = false;
    this.cross.hidden = false;
  }
  stop(): void {
    this.placing = null;
    this.page.ui.root.classList.remove("placing");
    this.page.navigation.doubleTapFlies = true;
    this.cross.hidden = true;
    this.hover(null);
  }
  /** Place what lies under the crosshair. */
  placeCentre(): void {
    const [width, height] = this.page.stage.cssSize();
    this.placeAt(width / 2, height / 2);
  }
  /** What lies at (x, y) of the canvas, in the world frame, inside the crop box. */
  at(x: number, y: number): THREE.Vector3 | null {
    const [width, height] = this.page.stage.cssSize();
    const [ndcX, ndcY] = [(2 * x) / width - 1, 1 - (2 * y) / height];
    const { content, camera, world } = this.page;
    if (!this.crop) return content.pick(ndcX, ndcY)?.world ?? null;
    camera.updateMatrixWorld();
    world.updateWorldMatrix(true, false);
    const origin = new THREE.Vector3().setFromMatrixPosition(camera.matrixWorld);
    const direction = new THREE.Vector3(ndcX, ndcY, 0.5).unproject(camera).sub(origin).normalize();
    const local = new THREE.Ray(origin, direction).applyMatrix4(world.matrixWorld.clone().invert());
    const span = clipInterval(this.crop, local.origin, local.direction);
    if (!span) return null;
    const found = content.pickRay(new THREE.Ray(origin.clone().addScaledVector(direction, span[0]), direction));
    return found && found.world.distanceTo(local.origin) <= span[1] * local.direction.length() ? found.world : null;
  }

  private placeAt(x: number, y: number): void {
    const found = this.at(x, y);
    if (found) this.placing?.place(found);
    else this.page.ui.say("There is nothing at this place. Point at a surface.");
  }
  private hover(at: readonly [number, number] | null): void {
    window.clearTimeout(this.restTimer);
    window.clearTimeout(this.previewTimer);
    if (!this.holding) this.loupe.hide();
    this.cross.classList.toggle("aside", at !== null);
    if (!this.placing) return;
    if (!at) return this.placing.preview?.(null);
    const [x, y] = at;
    this.restTimer = window.setTimeout(() => this.loupe.show(x, y), REST_MS);
    const wait = Math.max(0, this.previewAt - performance.now());
    this.previewTimer = window.setTimeout(() => this.preview(x, y), wait);
  }
  private preview(x: number, y: number): void {
    if (!this.placing?.preview) return;
    const start = performance.now();
    this.placing.preview(this.at(x, y));
    this.previewAt = performance.now() + Math.max(PREVIEW_MS, 4 * (performance.now() - start));
  }
  private held(x: number, y: number): void {
    this.holding = [x, y];
    this.loupe.show(x, y);
    if (performance.now() >= this.previewAt) this.preview(x, y);
  }
  private release(): void {
    const at = this.holding;
    this.holding = null;
    this.loupe.hide();
    if (at) this.placeAt(...at);
  }
}
