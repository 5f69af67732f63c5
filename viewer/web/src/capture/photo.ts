/** The photo of a captured camera over the splats, on the pixels that the camera saw. */

import type { CapturedCamera } from "../manifest";
import type { Page } from "../page";
import { element } from "../ui/ui";
import { frameOf, lensOf } from "../view/frames";

export class Photo {
  private readonly image = element("img", { id: "photo", class: "photo", alt: "", hidden: "" });
  private camera: CapturedCamera | null = null;
  private opacity = 0;
  private held = false;

  constructor(private readonly page: Page) {
    page.stage.canvas.after(this.image);
    page.stage.onResize(() => this.place());
    this.image.addEventListener("error", () => {
      if (this.camera) page.ui.say(`The photo ${this.camera.name} cannot be loaded.`);
      this.image.hidden = true;
    });
  }

  /** Show what this camera saw; null: nothing. */
  show(camera: CapturedCamera | null): void {
    this.camera = camera?.photo ? camera : null;
    this.held = false;
    if (this.camera?.photo) {
      this.image.src = `./${this.camera.photo}`;
      this.image.alt = `Photo ${this.camera.name}`;
    } else this.image.removeAttribute("src");
    this.place();
  }
  /** 0: the splats alone, 1: the photo alone. */
  setOpacity(opacity: number): void {
    this.opacity = opacity;
    this.place();
  }
  /** The photo alone, as long as it is held. */
  hold(on: boolean): void {
    this.held = on;
    this.place();
  }

  private place(): void {
    const opacity = this.held ? 1 : this.opacity;
    this.image.hidden = this.camera === null || opacity === 0;
    if (!this.camera) return;
    const frame = frameOf(lensOf(this.camera), ...this.page.stage.cssSize());
    const { style } = this.image;
    style.left = `${frame.x}px`;
    style.top = `${frame.y}px`;
    style.width = `${frame.width}px`;
    style.height = `${frame.height}px`;
    style.opacity = String(opacity);
  }
}
