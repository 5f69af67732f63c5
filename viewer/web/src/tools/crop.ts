/** The crop box: what is outside of it is hidden. Dragged by its handles, or set by sliders and numbers. It begins round all that can be
 * seen, and cuts nothing, not even what floats far away, until it is moved. */

import * as THREE from "three";
import { SplatEdit, SplatEditRgbaBlendMode, SplatEditSdf, SplatEditSdfType } from "@sparkjsdev/spark";
import type { Page } from "../page";
import { ICONS } from "../ui/icons";
import { type Slider, slider, toggle } from "../ui/fields";
import { element, hint, row, textButton } from "../ui/ui";
import { axesOf, corners, type CropBox, EDGES, moveSide, nearestOnLine, planes, quaternionOf, readCrop, type Side, sideCentre, SIDES, writeCrop } from "./crop_math";
import { extentOf } from "./extent";
import { type Mark, Overlay } from "./overlay";
import { Placer } from "./placer";
import { type Grip, Pointer } from "./pointer";

/** How far beyond the box its turning handle stands, of its half depth. */
const TURN_ARM = 1.3;
const AXIS_NAMES = ["Width", "Depth", "Height"] as const;
const PLACE_NAMES = ["Place along x", "Place along y", "Place along z"] as const;

export class Crop {
  box: CropBox;
  private on = false;
  /** Whether somebody has set the box. */
  private moved = false;
  /** Round all that can be seen, but for what floats far away; as it was when somebody last looked. */
  whole: CropBox;
  private readonly edit: SplatEdit;
  private readonly sdf: SplatEditSdf;
  private readonly least: number;
  private clipped = 0;
  private readonly seenWorld = new THREE.Matrix4();
  private readonly clipping: THREE.Plane[] = SIDES.map(() => new THREE.Plane());
  private readonly listeners = new Set<() => void>();

  constructor(readonly page: Page) {
    this.box = this.whole = this.subjectBox();
    this.least = 1e-3 * Math.max(...this.box.half);
    this.sdf = new SplatEditSdf({ type: SplatEditSdfType.BOX, invert: true, opacity: 0, color: new THREE.Color(1, 1, 1) });
    this.edit = new SplatEdit({ name: "crop", rgbaBlendMode: SplatEditRgbaBlendMode.MULTIPLY, sdfs: [this.sdf] });
    this.edit.add(this.sdf);
    Pointer.of(page).add({ grips: () => this.grips() });
    page.stage.onFrame(() => this.keepMesh());
    page.share.register("crop", {
      save: () => (this.cuts ? writeCrop(this.box) : undefined),
      load: (value) => {
        const box = readCrop(value);
        if (box) this.set(box, true);
        return box !== null;
      },
    });
  }

  get active(): boolean {
    return this.on;
  }
  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }
  private get cuts(): boolean {
    return this.on && this.moved;
  }
  switch(on: boolean): void {
    this.apply(this.box, on, this.moved);
  }
  /** Somebody looks at the box: what it begins round has been loaded since. */
  look(): void {
    this.whole = this.wholeBox();
    if (this.moved) this.draw();
    else this.reset();
  }
  /** Begin anew, round all that can be seen. */
  reset(): void {
    this.apply(this.whole, this.on, false);
  }
  set(box: CropBox, on = this.on): void {
    this.apply(box, on, true);
  }
  private apply(box: CropBox, on: boolean, moved: boolean): void {
    this.box = box;
    this.on = on;
    this.moved = moved;
    const { page } = this;
    if (this.cuts) page.world.add(this.edit);
    else this.edit.removeFromParent(); // Spark builds no shader for edits until there is one
    this.sdf.position.set(...box.centre);
    this.sdf.quaternion.copy(quaternionOf(box));
    this.sdf.scale.set(...box.half);
    Placer.of(page).crop = this.cuts ? box : null;
    this.clipMesh();
    this.draw();
    page.stage.invalidate();
    for (const listener of this.listeners) listener();
  }
  /** Tightly round what the captured cameras look at. */
  subjectBox(): CropBox {
    const { min, max } = this.page.manifest.bounds;
    return this.boxOf(new THREE.Box3(new THREE.Vector3(...min), new THREE.Vector3(...max)));
  }
  private wholeBox(): CropBox {
    const { content, world, manifest } = this.page;
    const seen = extentOf(content.pickables, manifest.bounds) ?? manifest.bounds;
    const box = new THREE.Box3(new THREE.Vector3(...seen.min), new THREE.Vector3(...seen.max));
    world.updateWorldMatrix(true, true);
    const mesh = new THREE.Box3().setFromObject(content.mesh);
    if (!mesh.isEmpty()) box.union(mesh.applyMatrix4(world.matrixWorld.clone().invert()));
    return this.boxOf(box);
  }
  private boxOf(box: THREE.Box3): CropBox {
    const half = box.getSize(new THREE.Vector3()).multiplyScalar(0.5);
    const least = 1e-3 * (Math.max(half.x, half.y, half.z) || 1);
    return { centre: box.getCenter(new THREE.Vector3()).toArray(), half: [Math.max(half.x, least), Math.max(half.y, least), Math.max(half.z, least)], yaw_deg: 0 };
  }
  draw(): void {
    const shown = this.on && this.page.ui.openPanel === "crop";
    Overlay.of(this.page).set("crop", shown ? this.marks() : []);
  }

  private marks(): Mark[] {
    const at = corners(this.box);
    const centre = new THREE.Vector3(...this.box.centre);
    const marks = EDGES.map(([a, b]): Mark => ({ kind: "line", points: [at[a]!, at[b]!], class: "crop thin" }));
    marks.push({ kind: "line", points: [sideCentre(this.box, { axis: 0, sign: 1 }), this.turnHandle()], class: "crop thin", dashed: true });
    for (const side of SIDES) marks.push({ kind: "dot", at: sideCentre(this.box, side), class: "crop", radius: 8 });
    marks.push({ kind: "dot", at: centre, class: "crop centre", radius: 8 }, { kind: "dot", at: this.turnHandle(), class: "crop turn", radius: 8 });
    return marks;
  }
  private turnHandle(): THREE.Vector3 {
    const reach = this.box.half[0] + (TURN_ARM - 1) * Math.max(this.box.half[0], this.box.half[1]);
    return new THREE.Vector3(...this.box.centre).addScaledVector(axesOf(this.box)[0], reach);
  }
  private grips(): Grip[] {
    if (!this.on || this.page.ui.openPanel !== "crop") return [];
    const overlay = Overlay.of(this.page);
    const grip = (at: THREE.Vector3, cursor: string, drag: (x: number, y: number) => void): Grip[] => {
      const place = overlay.project(at);
      return place ? [{ x: place[0], y: place[1], cursor, drag }] : [];
    };
    return [
      ...SIDES.flatMap((side) => grip(sideCentre(this.box, side), "grab", (x, y) => this.dragSide(side, x, y))),
      ...grip(this.turnHandle(), "ew-resize", (x, y) => this.dragTurn(x, y)),
      ...grip(new THREE.Vector3(...this.box.centre), "move", (x, y) => this.dragCentre(x, y)),
    ];
  }
  private dragSide(side: Side, x: number, y: number): void {
    const along = nearestOnLine(new THREE.Vector3(...this.box.centre), axesOf(this.box)[side.axis], this.ray(x, y));
    if (along !== null) this.set(moveSide(this.box, side, along, this.least));
  }
  private dragTurn(x: number, y: number): void {
    const at = this.onLevel(x, y);
    if (at) this.set({ ...this.box, yaw_deg: THREE.MathUtils.radToDeg(Math.atan2(at.y - this.box.centre[1], at.x - this.box.centre[0])) });
  }
  private dragCentre(x: number, y: number): void {
    const at = this.onLevel(x, y);
    if (at) this.set({ ...this.box, centre: at.toArray() });
  }
  /** Where the ray meets the level of the box's centre. */
  private onLevel(x: number, y: number): THREE.Vector3 | null {
    const level = new THREE.Plane(new THREE.Vector3(0, 0, 1), -this.box.centre[2]);
    const at = this.ray(x, y).intersectPlane(level, new THREE.Vector3());
    const far = 20 * Math.max(...this.subjectBox().half, ...this.box.half);
    return at && at.distanceTo(new THREE.Vector3(...this.box.centre)) < far ? at : null;
  }
  /** The ray through a place of the canvas, in the world frame of the files. */
  private ray(x: number, y: number): THREE.Ray {
    const { camera, world, stage } = this.page;
    const [width, height] = stage.cssSize();
    camera.updateMatrixWorld();
    world.updateWorldMatrix(true, false);
    const origin = new THREE.Vector3().setFromMatrixPosition(camera.matrixWorld);
    const through = new THREE.Vector3((2 * x) / width - 1, 1 - (2 * y) / height, 0.5).unproject(camera);
    return new THREE.Ray(origin, through.sub(origin).normalize()).applyMatrix4(world.matrixWorld.clone().invert());
  }
  /** Meshes come late, and the rig may move. */
  private keepMesh(): void {
    if (!this.cuts) return;
    const { content, world } = this.page;
    if (content.mesh.children.length !== this.clipped || !this.seenWorld.equals(world.matrixWorld)) this.clipMesh();
  }
  private clipMesh(): void {
    const { content, world, renderer } = this.page;
    world.updateWorldMatrix(true, false);
    this.seenWorld.copy(world.matrixWorld);
    this.clipped = content.mesh.children.length;
    planes(this.box).forEach((plane, i) => this.clipping[i]!.copy(plane).applyMatrix4(world.matrixWorld));
    renderer.localClippingEnabled ||= this.cuts;
    content.mesh.traverse((node) => {
      if (!(node instanceof THREE.Mesh)) return;
      for (const material of [node.material].flat() as THREE.Material[]) {
        const wanted = this.cuts ? this.clipping : null;
        const foreign = material.clippingPlanes !== null && material.clippingPlanes !== this.clipping; // a table-top model in AR ends at its own box
        if (material.clippingPlanes !== wanted && !foreign) {
          material.clippingPlanes = wanted;
          material.needsUpdate = true;
        }
      }
    });
  }
}

class CropPanel {
  private readonly body = element("div", { class: "stack" });
  private sliders: { slider: Slider; read: (box: CropBox) => number }[] = [];
  private readonly switch = toggle("Hide what is outside of the box", false, (on) => this.crop.switch(on), "crop-on");

  constructor(private readonly crop: Crop) {
    crop.onChange(() => this.refresh());
    crop.page.units.onChange(() => this.fill());
  }
  build(body: HTMLElement): void {
    const fit = textButton("Fit to the subject", () => this.crop.set(this.crop.subjectBox(), true), "plain", ICONS.target);
    const reset = textButton("Reset the box", () => this.crop.reset(), "plain", ICONS.undo);
    fit.id = "crop-fit";
    reset.id = "crop-reset";
    const about = hint("The box begins round everything and hides nothing until it is moved. Drag the dots: sides move, the middle shifts the box, the outer dot turns it.");
    body.append(this.switch.root, about, row(fit, reset), this.body);
  }
  fill(): void {
    const { crop } = this;
    const scale = crop.page.units.scale ?? 1;
    const unit = crop.page.units.scale === null ? "" : "m";
    const { whole } = crop;
    const size = 2 * scale * Math.max(...whole.half);
    const digits = Math.min(6, Math.max(0, 3 - Math.floor(Math.log10(size))));
    const change = (part: "centre" | "half", axis: 0 | 1 | 2, value: number) => {
      const next = [...crop.box[part]] as CropBox["half"];
      next[axis] = value;
      crop.set({ ...crop.box, [part]: next }, true);
    };
    const axes = [0, 1, 2] as const;
    const extents = axes.map((axis) => ({
      read: (box: CropBox) => 2 * scale * box.half[axis],
      slider: slider(AXIS_NAMES[axis], { min: size / 500, max: 2 * size, step: "any", value: 0, unit, digits, id: `crop-size-${axis}` }, (v) => v > 0 && change("half", axis, v / (2 * scale))),
    }));
    const places = axes.map((axis) => ({
      read: (box: CropBox) => scale * box.centre[axis],
      slider: slider(PLACE_NAMES[axis], { min: scale * whole.centre[axis] - size, max: scale * whole.centre[axis] + size, step: "any", value: 0, unit, digits, id: `crop-centre-${axis}` }, (v) => change("centre", axis, v / scale)),
    }));
    const turn = {
      read: (box: CropBox) => box.yaw_deg,
      slider: slider("Turn", { min: -180, max: 180, step: 0.5, value: 0, unit: "°", digits: 1, id: "crop-turn" }, (v) => crop.set({ ...crop.box, yaw_deg: v }, true)),
    };
    this.sliders = [...extents, turn, ...places];
    this.body.replaceChildren(...this.sliders.map((s) => s.slider.root));
    this.refresh();
  }
  private refresh(): void {
    this.switch.input.checked = this.crop.active;
    for (const { slider, read } of this.sliders) slider.set(read(this.crop.box));
  }
}

export function installCrop(page: Page): void {
  const crop = new Crop(page);
  const panel = new CropPanel(crop);
  page.ui.addPanel({
    id: "crop",
    title: "Crop box",
    short: "Crop",
    icon: ICONS.box,
    key: "t",
    group: "tools",
    order: 30,
    build: (body) => panel.build(body),
    onOpen: () => (crop.look(), panel.fill()),
    onClose: () => crop.draw(),
  });
}
