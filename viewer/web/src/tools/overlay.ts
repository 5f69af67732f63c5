/** Marks over the picture: lines, surfaces, dots and labels at places of the world frame, as SVG and HTML above the canvas.
 * They stay crisp and readable at every distance, and take no pointer events. */

import * as THREE from "three";
import { element } from "../ui/elements";
import type { Page } from "../page";

export type Mark =
  /** A line through places, with a dark edge for reading over any picture; hidden when the eye is nearer to its first place than `apart`. */
  | { kind: "line"; points: readonly THREE.Vector3[]; class?: string; closed?: boolean; dashed?: boolean; apart?: number }
  | { kind: "surface"; points: readonly THREE.Vector3[]; class?: string }
  | { kind: "dot"; at: THREE.Vector3; class?: string; radius?: number }
  /** A label beside (default) or above a place. */
  | { kind: "label"; at: THREE.Vector3; text: string; class?: string; id?: string };

type Point = readonly [number, number];

interface Shape {
  mark: Mark;
  nodes: (SVGElement | HTMLElement)[];
}

const SVG = "http://www.w3.org/2000/svg";

export class Overlay {
  private static readonly made = new WeakMap<Page, Overlay>();
  /** The overlay of a page; made when it is first asked for. */
  static of(page: Page): Overlay {
    let overlay = Overlay.made.get(page);
    if (!overlay) Overlay.made.set(page, (overlay = new Overlay(page)));
    return overlay;
  }

  readonly root = element("div", { class: "overlay", "aria-hidden": "true" });
  private readonly layers = new Map<string, { svg: SVGGElement; labels: HTMLElement; shapes: Shape[] }>();
  private readonly svg = document.createElementNS(SVG, "svg");
  private readonly view = new THREE.Matrix4();
  private readonly seen = new THREE.Matrix4();
  private readonly seenLens = new THREE.Matrix4();
  private dirty = true;

  private constructor(private readonly page: Page) {
    this.root.append(this.svg);
    page.stage.canvas.after(this.root);
    page.stage.onFrame(() => this.frame());
    page.stage.onResize(() => (this.dirty = true));
  }

  /** What a tool shows; replaces what it showed. */
  set(layer: string, marks: readonly Mark[]): void {
    let entry = this.layers.get(layer);
    if (!entry) {
      entry = { svg: document.createElementNS(SVG, "g"), labels: element("div"), shapes: [] };
      entry.svg.dataset["layer"] = layer;
      entry.labels.dataset["layer"] = layer;
      this.svg.append(entry.svg);
      this.root.append(entry.labels);
      this.layers.set(layer, entry);
    }
    entry.shapes = marks.map(shapeOf);
    entry.svg.replaceChildren(...entry.shapes.filter((s) => s.mark.kind !== "label").flatMap((s) => s.nodes));
    entry.labels.replaceChildren(...entry.shapes.filter((s) => s.mark.kind === "label").flatMap((s) => s.nodes));
    this.look();
    for (const shape of entry.shapes) this.place(shape, ...this.page.stage.cssSize()); // now: the next frame may take its time
  }
  /** Where a place of the world frame is in the canvas, CSS pixels; null behind the camera. */
  project(place: THREE.Vector3): [number, number] | null {
    this.look();
    const [width, height] = this.page.stage.cssSize();
    const v = place.clone().applyMatrix4(this.view);
    return v.z > -this.page.camera.near ? null : this.screen(v, width, height);
  }

  private look(): void {
    const { camera, world } = this.page;
    camera.updateMatrixWorld();
    world.updateWorldMatrix(true, false);
    this.view.multiplyMatrices(camera.matrixWorldInverse, world.matrixWorld);
  }
  private frame(): void {
    this.root.hidden = this.page.renderer.xr.isPresenting;
    if (this.root.hidden) return;
    this.look();
    const lens = this.page.camera.projectionMatrix;
    if (!this.dirty && this.seen.equals(this.view) && this.seenLens.equals(lens)) return;
    this.dirty = false;
    this.seen.copy(this.view);
    this.seenLens.copy(lens);
    const [width, height] = this.page.stage.cssSize();
    for (const { shapes } of this.layers.values()) for (const shape of shapes) this.place(shape, width, height);
  }
  private place({ mark, nodes }: Shape, width: number, height: number): void {
    if (mark.kind === "line" || mark.kind === "surface") {
      const closed = mark.kind === "surface" || mark.closed === true;
      const near = mark.kind === "line" && mark.apart !== undefined && mark.points[0]!.clone().applyMatrix4(this.view).length() < mark.apart;
      const d = near ? "" : pathOf(this.visible(mark.points, closed, width, height), closed);
      for (const node of nodes) node.setAttribute("d", d);
      return;
    }
    const at = this.project(mark.at);
    if (at && mark.kind === "label") keepInside(at, mark.text, width, height);
    for (const node of nodes) {
      node.style.display = at ? "" : "none";
      if (at) node.style.transform = `translate(${at[0].toFixed(1)}px, ${at[1].toFixed(1)}px)`;
    }
  }
  /** Points in the canvas, runs that lie before the camera; what passes behind it is cut off at the near plane. */
  private visible(points: readonly THREE.Vector3[], closed: boolean, width: number, height: number): Point[][] {
    const near = -1.001 * this.page.camera.near;
    const viewed = points.map((p) => p.clone().applyMatrix4(this.view));
    if (closed && viewed[0]) viewed.push(viewed[0]);
    const runs: Point[][] = [];
    let run: Point[] = [];
    for (const [i, b] of viewed.entries()) {
      const a = viewed[i - 1];
      if (a && a.z > near !== b.z > near) {
        const cut = this.screen(a.clone().lerp(b, (near - a.z) / (b.z - a.z)), width, height);
        run.push(cut);
        if (b.z > near) {
          runs.push(run);
          run = [];
        }
      }
      if (b.z <= near) run.push(this.screen(b, width, height));
    }
    if (run.length) runs.push(run);
    return closed && runs.length > 1 ? [runs.flat()] : runs;
  }
  private screen(view: THREE.Vector3, width: number, height: number): [number, number] {
    const ndc = view.clone().applyMatrix4(this.page.camera.projectionMatrix);
    const limit = (x: number) => Math.max(-1e5, Math.min(1e5, x));
    return [limit(((ndc.x + 1) / 2) * width), limit(((1 - ndc.y) / 2) * height)];
  }
}

/** A label whose place is in the canvas is read in full: its middle stays so far from the edges. */
function keepInside(at: [number, number], text: string, width: number, height: number): void {
  const [x, y] = at;
  if (x < 0 || y < 0 || x > width || y > height) return;
  const half = Math.min(width / 2, 14 + Math.min(110, 4.3 * text.length));
  at[0] = Math.min(Math.max(x, half), width - half);
}

function shapeOf(mark: Mark): Shape {
  const style = mark.class ?? "";
  const svg = (tag: "path" | "circle", name: string) => {
    const node = document.createElementNS(SVG, tag);
    node.setAttribute("class", `${name} ${style}`);
    return node;
  };
  if (mark.kind === "line") {
    const line = svg("path", "line");
    if (mark.dashed) line.classList.add("dashed");
    return { mark, nodes: [svg("path", "halo"), line] };
  }
  if (mark.kind === "surface") return { mark, nodes: [svg("path", "surface")] };
  if (mark.kind === "dot") {
    const dot = svg("circle", "dot");
    dot.setAttribute("r", String(mark.radius ?? 6));
    return { mark, nodes: [dot] };
  }
  const label = element("div", { class: `label ${style}` }, element("span", {}, mark.text));
  if (mark.id) label.dataset["id"] = mark.id;
  return { mark, nodes: [label] };
}

function pathOf(runs: Point[][], closed: boolean): string {
  return runs.map((run) => `M${run.map(([x, y]) => `${x.toFixed(1)} ${y.toFixed(1)}`).join("L")}${closed ? "Z" : ""}`).join("");
}
