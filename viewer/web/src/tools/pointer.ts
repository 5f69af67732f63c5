/** Taps, drags and hovering on the canvas for the tools. It listens before the navigation does: a grip that is dragged takes the
 * pointer away from it; a tap is seen by both (a tap moves no camera). */

import type { Page } from "../page";

/** Something that can be dragged, in canvas pixels. */
export interface Grip {
  x: number;
  y: number;
  cursor?: string;
  /** Called while it is dragged; and with `null` at the end. */
  drag: (x: number, y: number, touch: boolean) => void;
  end?: () => void;
  /** Pressed and let go without moving. */
  tap?: () => void;
}

export interface PointerTool {
  /** Asked at each press and while the mouse moves; empty when the tool rests. */
  grips: () => Grip[];
  /** A tap on the canvas; true: it was meant for this tool. */
  tap?: (x: number, y: number, touch: boolean) => boolean;
  /** The mouse moves over the canvas with no button down; null: it has left. */
  hover?: (at: readonly [number, number] | null) => void;
  /** A finger rests; true: from now on it drags this tool (`held` moves, `release` ends). */
  hold?: (x: number, y: number) => boolean;
  held?: (x: number, y: number) => void;
  release?: () => void;
}

const SLOP_PX = 7;
const DOUBLE_CLICK_MS = 500;
const HOLD_MS = 380;
const REACH_PX = { mouse: 12, touch: 24 };

interface Press {
  id: number;
  x: number;
  y: number;
  touch: boolean;
  moved: boolean;
  grip: Grip | null;
  holding: PointerTool | null;
}

export class Pointer {
  private static readonly made = new WeakMap<Page, Pointer>();
  static of(page: Page): Pointer {
    let pointer = Pointer.made.get(page);
    if (!pointer) Pointer.made.set(page, (pointer = new Pointer(page)));
    return pointer;
  }

  private readonly tools: PointerTool[] = [];
  private press: Press | null = null;
  private fingers = 0;
  private holdTimer = 0;
  private swallowUntil = 0;

  private constructor(private readonly page: Page) {
    const listen = <K extends keyof HTMLElementEventMap>(type: K, act: (event: HTMLElementEventMap[K]) => void) =>
      page.ui.root.addEventListener(type, (event) => (event.target === this.canvas || this.press?.grip || this.press?.holding) && act(event), { capture: true });
    listen("pointerdown", (event) => this.down(event));
    listen("pointermove", (event) => this.move(event));
    listen("pointerup", (event) => this.up(event, false));
    listen("pointercancel", (event) => this.up(event, true));
    listen("dblclick", (event) => event.timeStamp < this.swallowUntil && stop(event));
    this.canvas.addEventListener("pointerleave", () => this.tools.forEach((tool) => tool.hover?.(null)));
  }

  /** Later tools are asked first. */
  add(tool: PointerTool): void {
    this.tools.unshift(tool);
  }

  private get canvas(): HTMLCanvasElement {
    return this.page.stage.canvas;
  }
  private at(event: PointerEvent): [number, number] {
    const box = this.canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }
  private gripAt(x: number, y: number, touch: boolean): Grip | null {
    let best: Grip | null = null;
    let nearest = touch ? REACH_PX.touch : REACH_PX.mouse;
    for (const tool of this.tools)
      for (const grip of tool.grips()) {
        const distance = Math.hypot(grip.x - x, grip.y - y);
        if (distance < nearest) [best, nearest] = [grip, distance];
      }
    return best;
  }
  private down(event: PointerEvent): void {
    this.fingers++;
    window.clearTimeout(this.holdTimer);
    if (this.fingers > 1 || event.button !== 0) {
      if (this.press && !this.press.grip && !this.press.holding) this.press = null; // two fingers are the navigation's
      return;
    }
    const [x, y] = this.at(event);
    const touch = event.pointerType === "touch";
    const grip = this.gripAt(x, y, touch);
    this.press = { id: event.pointerId, x, y, touch, moved: false, grip, holding: null };
    if (grip) {
      stop(event);
      this.canvas.focus({ preventScroll: true });
      this.canvas.setPointerCapture(event.pointerId);
    } else if (touch) {
      this.holdTimer = window.setTimeout(() => this.hold(x, y), HOLD_MS);
    }
  }
  private hold(x: number, y: number): void {
    const press = this.press;
    if (!press || press.moved) return;
    press.holding = this.tools.find((tool) => tool.hold?.(x, y)) ?? null;
    if (press.holding) this.page.navigation.enabled = false;
  }
  private move(event: PointerEvent): void {
    const [x, y] = this.at(event);
    const press = this.press;
    if (!press) return this.hover(event, x, y);
    if (press.id !== event.pointerId) return;
    if (Math.hypot(x - press.x, y - press.y) > SLOP_PX) {
      press.moved = true;
      if (!press.holding) window.clearTimeout(this.holdTimer);
    }
    if (press.grip) {
      stop(event);
      if (press.moved) press.grip.drag(x, y, press.touch);
    } else if (press.holding) {
      stop(event);
      press.holding.held?.(x, y);
    }
  }
  private hover(event: PointerEvent, x: number, y: number): void {
    if (event.pointerType !== "mouse" || event.buttons) return;
    for (const tool of this.tools) tool.hover?.([x, y]);
    const grip = this.gripAt(x, y, false);
    this.canvas.style.cursor = grip?.cursor ?? (grip ? "grab" : "");
  }
  private up(event: PointerEvent, cancelled: boolean): void {
    this.fingers = Math.max(0, this.fingers - 1);
    window.clearTimeout(this.holdTimer);
    const press = this.press;
    if (!press || press.id !== event.pointerId) return;
    this.press = null;
    const [x, y] = this.at(event);
    if (press.grip) {
      stop(event);
      if (press.moved) press.grip.end?.();
      else if (!cancelled) press.grip.tap?.();
      this.swallowUntil = event.timeStamp + DOUBLE_CLICK_MS;
    } else if (press.holding) {
      press.holding.release?.();
      this.page.navigation.enabled = true;
    } else if (!cancelled && !press.moved) {
      if (this.tools.some((tool) => tool.tap?.(x, y, press.touch))) this.swallowUntil = event.timeStamp + DOUBLE_CLICK_MS;
    }
  }
}

function stop(event: Event): void {
  event.stopImmediatePropagation();
  event.preventDefault();
}
