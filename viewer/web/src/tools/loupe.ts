/** A round window that magnifies what lies under a finger or a resting mouse, with a cross at the exact place. */

import { element } from "../ui/elements";
import type { Page } from "../page";

const SIZE_PX = 124;
const ZOOM = 3;
const AWAY_PX = 92;

export class Loupe {
  readonly root = element("div", { class: "loupe", "aria-hidden": "true", hidden: "" });
  private readonly picture = element("canvas");
  private readonly pen = this.picture.getContext("2d");

  constructor(private readonly page: Page) {
    const scale = Math.min(2, window.devicePixelRatio);
    this.picture.width = this.picture.height = SIZE_PX * scale;
    this.root.append(this.picture);
    page.ui.root.append(this.root);
  }
  /** Show what lies round (x, y) of the canvas, beside it: above a finger. */
  show(x: number, y: number): void {
    const { canvas } = this.page.stage;
    const [width, height] = this.page.stage.cssSize();
    if (!this.pen) return;
    const ratio = canvas.width / width;
    const part = (SIZE_PX / ZOOM) * ratio;
    this.pen.fillStyle = "#000";
    this.pen.fillRect(0, 0, this.picture.width, this.picture.height);
    this.pen.drawImage(canvas, x * ratio - part / 2, y * ratio - part / 2, part, part, 0, 0, this.picture.width, this.picture.height);
    const top = y - AWAY_PX - SIZE_PX / 2 < 8 ? y + AWAY_PX : y - AWAY_PX;
    const left = Math.min(Math.max(x, SIZE_PX / 2 + 8), width - SIZE_PX / 2 - 8);
    this.root.style.transform = `translate(${left - SIZE_PX / 2}px, ${Math.min(top, height - SIZE_PX / 2 - 8) - SIZE_PX / 2}px)`;
    this.root.hidden = false;
  }
  hide(): void {
    this.root.hidden = true;
  }
}
