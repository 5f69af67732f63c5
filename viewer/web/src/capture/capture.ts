/** The captured cameras: pyramids in the scene, a list, jumps to exactly what each one saw, its photo over the splats. */

import * as THREE from "three";
import type { CapturedCamera } from "../manifest";
import type { Page } from "../page";
import { wordSlider } from "../show/controls";
import { toggle } from "../ui/fields";
import { element, hint, iconButton, textButton } from "../ui/ui";
import { lensOf, poseOf } from "../view/frames";
import { Frustums } from "./frustums";
import { Photo } from "./photo";
import "./capture.css";

const ICON = '<path d="M4 8h3l1.5-2.5h7L17 8h3a1.5 1.5 0 0 1 1.5 1.5v8A1.5 1.5 0 0 1 20 19H4a1.5 1.5 0 0 1-1.5-1.5v-8A1.5 1.5 0 0 1 4 8z"/><circle cx="12" cy="13" r="3.5"/>';
const ICON_BACK = '<path d="M15 5l-7 7 7 7"/>';
const ICON_ON = '<path d="M9 5l7 7-7 7"/>';
const ICON_CLOSE = '<path d="M6 6l12 12M18 6L6 18"/>';
/** A click that moved farther was a drag, CSS pixels. */
const CLICK_PIXELS = 5;

export function installCapture(page: Page): void {
  const { cameras } = page.manifest;
  if (cameras.length === 0) return;
  const capture = new Capture(page, cameras);
  page.ui.addPanel({ id: "capture", title: "Captured cameras", icon: ICON, key: "c", short: "Cameras", build: (body) => capture.build(body) });
  page.ui.addKey({ key: "[", does: "Previous captured camera", act: () => capture.step(-1) });
  page.ui.addKey({ key: "]", does: "Next captured camera", act: () => capture.step(1) });
  page.navigation.padButtons.set(4, () => capture.step(-1));
  page.navigation.padButtons.set(5, () => capture.step(1));
  page.share.register("camera", {
    save: () => capture.current ?? undefined,
    load: (value) => {
      const fits = typeof value === "number" && Number.isInteger(value) && value >= 0 && value < cameras.length;
      if (fits) void capture.jump(value, 0, false); // the link has a time of its own
      return fits;
    },
  });
}

export function label({ name, split, time }: CapturedCamera): string {
  const when = time === null ? "" : ` · ${time.toFixed(2)} s`;
  return split === "test" ? `${name}${when} (held out)` : `${name}${when}`;
}

class Capture {
  current: number | null = null;
  private last = -1;
  private readonly frustums: Frustums;
  private readonly photo: Photo;
  private readonly strip: HTMLElement;
  private readonly name = element("output", { id: "camera-name" });
  private readonly photoTools: HTMLElement;
  private list: HTMLSelectElement | null = null;
  private marks: HTMLInputElement | null = null;

  constructor(
    private readonly page: Page,
    private readonly cameras: readonly CapturedCamera[],
  ) {
    this.frustums = new Frustums(cameras);
    page.world.add(this.frustums.lines);
    this.photo = new Photo(page);
    this.photoTools = this.buildPhotoTools();
    const back = iconButton("Previous captured camera", ICON_BACK);
    const on = iconButton("Next captured camera", ICON_ON);
    const leave = iconButton("Leave this camera", ICON_CLOSE);
    back.addEventListener("click", () => this.step(-1));
    on.addEventListener("click", () => this.step(1));
    leave.addEventListener("click", () => page.navigation.home());
    this.strip = element("div", { class: "camera-strip", role: "region", "aria-label": "Captured camera", hidden: "" }, back, this.name, on, this.photoTools, leave);
    page.ui.root.append(this.strip);
    page.navigation.onLeave(() => this.left());
    this.watchPointer();
    page.stage.onFrame(() => {
      if (this.frustums.lines.visible && this.frustums.leaveOut(page.camera.position)) page.stage.invalidate();
    });
  }

  build(body: HTMLElement): void {
    const marks = toggle("Show them in the scene", this.frustums.lines.visible, (on) => this.showFrustums(on), "frustums");
    this.marks = marks.input;
    const held = this.cameras.filter(({ split }) => split === "test").length;
    const list = element("select", { id: "camera-list", size: "10", "aria-label": "Captured cameras" });
    list.append(...this.cameras.map((camera, i) => element("option", { value: String(i), "data-split": camera.split }, label(camera))));
    list.selectedIndex = this.current ?? -1;
    list.addEventListener("change", () => void this.jump(list.selectedIndex));
    this.list = list;
    const counted = `${this.cameras.length} cameras${held > 0 ? `, ${held} of them held out: training never saw those` : ""}.`;
    body.append(marks.root, list, hint(`${counted} The keys [ and ] step through them.`));
    this.showFrustums(true);
  }
  step(by: number): void {
    const n = this.cameras.length;
    const from = this.current ?? this.last;
    void this.jump(from < 0 ? (by > 0 ? 0 : n - 1) : (from + by + n) % n);
  }
  /** See exactly what a camera saw, and when. */
  async jump(index: number, seconds = 0.9, itsMoment = true): Promise<void> {
    const camera = this.cameras[index];
    if (!camera) return;
    const arrival = this.page.navigation.goTo(poseOf(camera.cam_from_world), lensOf(camera), seconds);
    if (itsMoment) this.page.content.showMoment(camera.time);
    this.current = this.last = index;
    this.name.textContent = label(camera);
    this.strip.hidden = false;
    this.strip.dataset["index"] = String(index);
    this.photoTools.hidden = camera.photo === null;
    if (this.list) this.list.selectedIndex = index;
    this.page.stage.invalidate();
    await arrival;
    if (this.current === index) this.photo.show(camera);
  }

  private left(): void {
    if (this.current === null) return;
    this.current = null;
    this.photo.show(null);
    this.strip.hidden = true;
    if (this.list) this.list.selectedIndex = -1;
    this.page.stage.invalidate();
  }
  private showFrustums(on: boolean): void {
    this.frustums.lines.visible = on;
    if (this.marks) this.marks.checked = on;
    this.page.stage.invalidate();
  }
  private buildPhotoTools(): HTMLElement {
    const opacity = wordSlider(
      "Photo",
      "photo-opacity",
      { min: 0, max: 1, step: 0.05, value: 0 },
      (value) => `${Math.round(100 * value)} %`,
      (value) => this.photo.setOpacity(value),
    );
    const compare = textButton("Hold to compare", () => {});
    compare.id = "compare";
    const hold = (on: boolean) => {
      compare.setAttribute("aria-pressed", String(on));
      this.photo.hold(on);
    };
    compare.setAttribute("aria-pressed", "false");
    compare.addEventListener("pointerdown", () => hold(true));
    for (const end of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"]) compare.addEventListener(end, () => hold(false));
    compare.addEventListener("contextmenu", (event) => event.preventDefault()); // a long press is what it is for
    compare.addEventListener("keydown", (event) => {
      if (event.key === " " || event.key === "Enter") hold(true);
    });
    return element("div", { class: "photo-tools" }, opacity.root, compare);
  }
  private watchPointer(): void {
    const { canvas } = this.page.stage;
    let down = { x: 0, y: 0 };
    canvas.addEventListener("pointerdown", ({ clientX: x, clientY: y }) => (down = { x, y }));
    canvas.addEventListener("click", ({ clientX, clientY }) => {
      if (Math.hypot(clientX - down.x, clientY - down.y) > CLICK_PIXELS) return;
      const index = this.under(clientX, clientY);
      if (index !== null) void this.jump(index);
    });
    canvas.addEventListener("pointermove", ({ clientX, clientY, buttons }) => {
      if (buttons !== 0 || !this.frustums.lines.visible) return;
      const index = this.under(clientX, clientY);
      if (index !== null) canvas.style.cursor = "pointer"; // tools take it back with the next move
      if (this.frustums.mark(index)) this.page.stage.invalidate();
    });
  }
  /** The camera whose pyramid lies under a point of the window. */
  private under(clientX: number, clientY: number): number | null {
    if (!this.frustums.lines.visible || !this.page.navigation.doubleTapFlies) return null;
    const box = this.page.stage.canvas.getBoundingClientRect();
    const caster = new THREE.Raycaster();
    caster.setFromCamera(new THREE.Vector2((2 * (clientX - box.left)) / box.width - 1, 1 - (2 * (clientY - box.top)) / box.height), this.page.camera);
    return this.frustums.hit(caster.ray);
  }
}
