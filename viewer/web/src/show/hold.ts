/** After a jump the splats stand in the order of the view before, which looks like a smear until they are sorted anew: on a device without a
 * graphics card for seconds. So the old picture stays until the new one is in order, and fades; where sorting takes long, a flight is such
 * a jump too. A small sign says when the order is behind. */

import * as THREE from "three";
import type { Page } from "../page";
import { element } from "../ui/ui";
import type { Pose } from "../view/frames";
import { apart, Order } from "../view/order";

/** A step of this share of the subject's size is a long one. */
const FAR = 0.15;
/** Where sorting takes longer, nobody flies. */
const SLOW_MS = 350;
/** The sign comes when the order has been behind for so long. */
const SIGN_MS = 400;
/** Whatever happens, nobody sees an old picture for longer. */
const MOST_MS = 15_000;
const FADE_MS = 200;

export function installHold(page: Page): void {
  const hold = new Hold(page);
  page.navigation.beforeJump = (to, still) => hold.begin(to, still);
  page.stage.onFrame(() => hold.frame(performance.now()));
}

class Hold {
  private readonly order: Order;
  private readonly picture = element("canvas", { class: "held", "aria-hidden": "true", hidden: "" });
  private readonly sign = element("div", { class: "sorting", "aria-hidden": "true", hidden: "" }, "Sorting");
  private readonly far: number;
  /** Where the camera went when the picture was held. */
  private held: { to: Pose; since: number } | null = null;
  private behindSince: number | null = null;
  private fading = 0;

  constructor(private readonly page: Page) {
    const { min, max } = page.manifest.bounds;
    this.far = FAR * (new THREE.Vector3(...min).distanceTo(new THREE.Vector3(...max)) || 1);
    this.order = new Order(page.spark);
    page.stage.canvas.after(this.picture);
    page.ui.root.append(this.sign);
  }

  /** Asked before a jump or a flight; true: the picture is held, and the camera goes there at once. */
  begin(to: Pose, still: boolean): boolean {
    const { camera, stage, content, renderer } = this.page;
    const jump = apart(sight({ position: camera.position, quaternion: camera.quaternion }), sight(to), this.far);
    const ready = content.progress.state === "ready" && content.splats.visible && !renderer.xr.isPresenting;
    if (!ready || !jump || !(still || this.order.ms > SLOW_MS)) return false;
    if (!this.held) {
      // a picture that is held already is in order, what is behind it is not
      window.clearTimeout(this.fading);
      [this.picture.width, this.picture.height] = [stage.canvas.width, stage.canvas.height];
      this.picture.getContext("2d")?.drawImage(stage.canvas, 0, 0);
      this.picture.classList.remove("fading");
      this.picture.hidden = false;
    }
    this.held = { to, since: performance.now() };
    return true;
  }
  frame(now: number): void {
    const { camera, content, renderer, stage } = this.page;
    this.order.look(now);
    const here = sight({ position: camera.position, quaternion: camera.quaternion });
    const behind = content.progress.state === "ready" && content.splats.visible && !renderer.xr.isPresenting && !stage.drawsDraft && !this.order.fits(here.place, here.ahead, this.far);
    this.behindSince = behind ? (this.behindSince ?? now) : null;
    this.sign.hidden = this.behindSince === null || now - this.behindSince < SIGN_MS;
    if (!this.held) return;
    const elsewhere = apart(here, sight(this.held.to), 0.2 * this.far); // somebody moves on: show what there is
    if (!behind || elsewhere || now - this.held.since > MOST_MS) this.release();
  }

  private release(): void {
    this.held = null;
    this.picture.classList.add("fading");
    this.fading = window.setTimeout(() => (this.picture.hidden = true), FADE_MS);
  }
}

/** From where and in which direction a pose looks. */
function sight({ position, quaternion }: Pose): { place: THREE.Vector3; ahead: THREE.Vector3 } {
  return { place: position.clone(), ahead: new THREE.Vector3(0, 0, -1).applyQuaternion(quaternion) };
}
