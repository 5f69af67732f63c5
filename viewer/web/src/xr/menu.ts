/** The menu in the room: a board of large buttons that rays press. Drawn on a canvas, so that its text is as sharp as needed. */

import * as THREE from "three";
import type { Pose } from "../view/frames";
import { heading, UP } from "./locomotion";

export interface MenuButton {
  id: string;
  label: string;
  /** What is chosen now, under the label. */
  value?: string;
  /** Of two columns: a wide button takes both. */
  wide?: boolean;
  act: () => void;
}

const COLUMNS = 2;
const CELL = { width: 380, height: 128, gap: 16, margin: 28 };
const HEAD = 92;
const FOOT = 60;
const METRES = 0.6; // the width of the board
const AWAY = 0.85;
/** Radians: a little below where somebody looks, and never at the feet or overhead. */
const BELOW = 0.2;
const [LOWEST, HIGHEST] = [-0.6, 0.3];
const INK = "#eef2f8";
const FONT = "system-ui, sans-serif";

export class Menu {
  readonly object = new THREE.Group();
  private readonly canvas = document.createElement("canvas");
  private readonly texture = new THREE.CanvasTexture(this.canvas);
  private readonly board: THREE.Mesh<THREE.PlaneGeometry, THREE.MeshBasicMaterial>;
  private buttons: { button: MenuButton; x: number; y: number; width: number }[] = [];
  private over: string | null = null;
  private foot = "";
  private drawn = "";

  constructor(
    private readonly title: string,
    private readonly list: () => MenuButton[],
  ) {
    this.texture.colorSpace = THREE.SRGBColorSpace;
    this.texture.generateMipmaps = true;
    this.texture.minFilter = THREE.LinearMipmapLinearFilter;
    this.texture.anisotropy = 4;
    const material = new THREE.MeshBasicMaterial({ map: this.texture, transparent: true, depthTest: false, depthWrite: false, toneMapped: false });
    this.board = new THREE.Mesh(new THREE.PlaneGeometry(1, 1), material);
    this.board.renderOrder = 900;
    this.object.add(this.board);
    this.object.visible = false;
    this.refresh();
  }
  get open(): boolean {
    return this.object.visible;
  }
  /** Open it in front of the person, or close it. */
  toggle(head: Pose): void {
    if (this.open) this.close();
    else this.show(head);
  }
  show(head: Pose): void {
    const gaze = new THREE.Vector3(0, 0, -1).applyQuaternion(head.quaternion);
    const pitch = THREE.MathUtils.clamp(Math.asin(gaze.y), LOWEST, HIGHEST) - BELOW;
    const ahead = new THREE.Vector3(0, Math.sin(pitch), -Math.cos(pitch)).multiplyScalar(AWAY).applyAxisAngle(UP, heading(head.quaternion));
    this.object.position.copy(head.position).add(ahead);
    this.object.lookAt(head.position);
    this.object.visible = true;
    this.refresh();
  }
  close(): void {
    this.object.visible = false;
    this.over = null;
  }
  /** A line below the buttons. */
  say(text: string): void {
    if (text === this.foot) return;
    this.foot = text;
    if (this.open) this.refresh();
  }
  /** Where a ray meets the board, and the button there; null beside it. */
  hit(ray: Pose): { at: THREE.Vector3; button: MenuButton | null } | null {
    if (!this.open) return null;
    this.object.updateMatrixWorld(true);
    const direction = new THREE.Vector3(0, 0, -1).applyQuaternion(ray.quaternion);
    const hit = new THREE.Raycaster(ray.position, direction).intersectObject(this.board, false)[0];
    if (!hit?.uv) return null;
    const [x, y] = [hit.uv.x * this.canvas.width, (1 - hit.uv.y) * this.canvas.height];
    const found = this.buttons.find((b) => x >= b.x && x < b.x + b.width && y >= b.y && y < b.y + CELL.height);
    return { at: hit.point, button: found?.button ?? null };
  }
  /** The middle of a button (room): what a ray has to meet. */
  spot(id: string): [number, number, number] | null {
    const found = this.buttons.find((b) => b.button.id === id);
    if (!found) return null;
    const { width, height } = this.canvas;
    const local = new THREE.Vector3((found.x + found.width / 2) / width - 0.5, 0.5 - (found.y + CELL.height / 2) / height, 0);
    this.object.updateMatrixWorld(true);
    return this.board.localToWorld(local).toArray();
  }
  /** Light up the button that a ray is on. */
  hover(button: MenuButton | null): void {
    if ((button?.id ?? null) === this.over) return;
    this.over = button?.id ?? null;
    this.refresh();
  }
  dispose(): void {
    this.texture.dispose();
    this.board.geometry.dispose();
    this.board.material.dispose();
  }

  /** Draw it again, when something on it has changed. */
  refresh(): void {
    this.layOut();
    const signature = JSON.stringify([this.buttons.map((b) => [b.button.id, b.button.label, b.button.value]), this.over, this.foot]);
    if (signature === this.drawn) return;
    this.drawn = signature;
    const pen = this.canvas.getContext("2d");
    if (!pen) return;
    const { width, height } = this.canvas;
    pen.clearRect(0, 0, width, height);
    pen.fillStyle = "rgba(16, 19, 25, 0.94)";
    round(pen, 0, 0, width, height, 36);
    pen.textAlign = "left";
    pen.textBaseline = "middle";
    write(pen, this.title, CELL.margin + 8, HEAD / 2 + 8, `600 40px ${FONT}`, INK, width - 2 * CELL.margin);
    for (const { button, x, y, width: w } of this.buttons) this.drawButton(pen, button, x, y, w);
    write(pen, this.foot, CELL.margin + 8, height - FOOT / 2 - 4, `28px ${FONT}`, "#aeb8c8", width - 2 * CELL.margin);
    this.texture.needsUpdate = true;
  }
  private drawButton(pen: CanvasRenderingContext2D, button: MenuButton, x: number, y: number, width: number): void {
    pen.fillStyle = button.id === this.over ? "#2f5fa8" : "#262d3a";
    round(pen, x, y, width, CELL.height, 22);
    const middle = y + CELL.height / 2;
    write(pen, button.label, x + 26, button.value === undefined ? middle : middle - 24, `600 38px ${FONT}`, INK, width - 52);
    if (button.value !== undefined) write(pen, button.value, x + 26, middle + 26, `34px ${FONT}`, "#a9cbff", width - 52);
  }
  private layOut(): void {
    const full = COLUMNS * CELL.width + (COLUMNS - 1) * CELL.gap;
    let [row, column] = [0, 0];
    this.buttons = this.list().map((button) => {
      if (button.wide && column > 0) [row, column] = [row + 1, 0];
      const place = { button, x: CELL.margin + column * (CELL.width + CELL.gap), y: HEAD + row * (CELL.height + CELL.gap), width: button.wide ? full : CELL.width };
      column += button.wide ? COLUMNS : 1;
      if (column >= COLUMNS) [row, column] = [row + 1, 0];
      return place;
    });
    const rows = row + (column > 0 ? 1 : 0);
    const [width, height] = [full + 2 * CELL.margin, HEAD + rows * (CELL.height + CELL.gap) + FOOT];
    if (this.canvas.width !== width || this.canvas.height !== height) {
      [this.canvas.width, this.canvas.height] = [width, height];
      this.texture.dispose(); // its size is fixed on the graphics card
      this.drawn = "";
      this.board.scale.set(METRES, (METRES * height) / width, 1);
    }
  }
}

function round(pen: CanvasRenderingContext2D, x: number, y: number, width: number, height: number, radius: number): void {
  pen.beginPath();
  pen.roundRect(x, y, width, height, radius);
  pen.fill();
}
function write(pen: CanvasRenderingContext2D, text: string, x: number, y: number, font: string, colour: string, width: number): void {
  pen.font = font;
  pen.fillStyle = colour;
  pen.fillText(text, x, y, width);
}
