/** Hands on the canvas: mouse, touch, pen, keyboard and gamepad become turns, shifts, zooms and taps. Knows nothing of cameras. */

export interface Steering {
  /** A drag that turns, CSS pixels. */
  turn(dx: number, dy: number): void;
  /** A drag that shifts the picture, CSS pixels. */
  pan(dx: number, dy: number): void;
  /** Towards (factor < 1) or away from what lies under a point of the window. */
  zoom(factor: number, clientX: number, clientY: number): void;
  /** A double click or tap. */
  doubleTap(clientX: number, clientY: number): void;
  /** A button of a gamepad was pressed, in the standard mapping. */
  button(index: number): void;
}

/** What is held down now: -1..1 each. */
export interface Axes {
  right: number;
  up: number;
  forward: number;
  turnRight: number;
  turnUp: number;
  fast: boolean;
}

const DOUBLE_TAP_MS = 400;
const TAP_PIXELS = 6;
const DEAD_ZONE = 0.14;
const WHEEL_PER_LINE = 16;
const WHEEL_STRENGTH = 0.0016;

/** KeyboardEvent.code, so that the keys lie in the same place on every keyboard. */
const KEYS: Record<string, [keyof Omit<Axes, "fast">, number]> = {
  KeyW: ["forward", 1],
  KeyS: ["forward", -1],
  KeyA: ["right", -1],
  KeyD: ["right", 1],
  KeyQ: ["up", -1],
  KeyE: ["up", 1],
  ArrowLeft: ["turnRight", -1],
  ArrowRight: ["turnRight", 1],
  ArrowUp: ["turnUp", 1],
  ArrowDown: ["turnUp", -1],
};
/** Elements that use arrows and letters themselves. */
const TAKES_KEYS = "input, textarea, select, [contenteditable], [role=slider], [role=listbox], [role=tab], dialog *";

interface Pointer {
  x: number;
  y: number;
  startX: number;
  startY: number;
  moved: boolean;
  button: number;
}

export class Input {
  enabled = true;
  private readonly pointers = new Map<number, Pointer>();
  private readonly held = new Set<string>();
  private fast = false;
  private lastTap = { time: -Infinity, x: 0, y: 0 };
  private pads = false;
  private readonly padButtons = new Map<number, boolean>();

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly steering: Steering,
  ) {
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerup", (event) => this.up(event));
    canvas.addEventListener("pointercancel", (event) => this.pointers.delete(event.pointerId));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    window.addEventListener("keydown", (event) => this.keyDown(event));
    window.addEventListener("keyup", (event) => this.keyUp(event));
    window.addEventListener("blur", () => this.release());
    window.addEventListener("gamepadconnected", () => (this.pads = true));
  }

  /** Let go of everything. */
  release(): void {
    this.held.clear();
    this.pointers.clear();
    this.fast = false;
  }
  /** Keys and sticks held down now. */
  axes(): Axes {
    const axes: Axes = { right: 0, up: 0, forward: 0, turnRight: 0, turnUp: 0, fast: this.fast };
    for (const code of this.held) {
      const [axis, value] = KEYS[code]!;
      axes[axis] += value;
    }
    if (this.pads) this.readPads(axes);
    return axes;
  }

  private down(event: PointerEvent): void {
    if (!this.enabled) return;
    this.canvas.focus({ preventScroll: true });
    this.canvas.setPointerCapture(event.pointerId);
    const button = event.button === 0 && (event.shiftKey || event.ctrlKey || event.metaKey) ? 2 : event.button;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY, startX: event.clientX, startY: event.clientY, moved: false, button });
  }
  private move(event: PointerEvent): void {
    const pointer = this.pointers.get(event.pointerId);
    if (!pointer || !this.enabled) return;
    const [dx, dy] = [event.clientX - pointer.x, event.clientY - pointer.y];
    if (Math.hypot(event.clientX - pointer.startX, event.clientY - pointer.startY) > TAP_PIXELS) pointer.moved = true;
    if (this.pointers.size === 2) this.pinch(event.pointerId, pointer, dx, dy);
    [pointer.x, pointer.y] = [event.clientX, event.clientY];
    if (this.pointers.size !== 1 || !pointer.moved) return;
    if (pointer.button === 0) this.steering.turn(dx, dy);
    else this.steering.pan(dx, dy);
  }
  /** One of two fingers has moved: their middle shifts the picture, their distance zooms it. */
  private pinch(id: number, moved: Pointer, dx: number, dy: number): void {
    const other = [...this.pointers].find(([key]) => key !== id)![1];
    const before = Math.hypot(moved.x - other.x, moved.y - other.y);
    const after = Math.hypot(moved.x + dx - other.x, moved.y + dy - other.y);
    moved.moved = other.moved = true;
    this.steering.pan(dx / 2, dy / 2);
    if (before > 1 && after > 1) this.steering.zoom(before / after, (moved.x + dx + other.x) / 2, (moved.y + dy + other.y) / 2);
  }
  private up(event: PointerEvent): void {
    const pointer = this.pointers.get(event.pointerId);
    this.pointers.delete(event.pointerId);
    if (!pointer || pointer.moved || event.button !== 0 || !this.enabled) return;
    const { time, x, y } = this.lastTap;
    const near = Math.hypot(event.clientX - x, event.clientY - y) < 4 * TAP_PIXELS;
    if (near && event.timeStamp - time < DOUBLE_TAP_MS) {
      this.lastTap.time = -Infinity;
      this.steering.doubleTap(event.clientX, event.clientY);
    } else this.lastTap = { time: event.timeStamp, x: event.clientX, y: event.clientY };
  }
  private wheel(event: WheelEvent): void {
    event.preventDefault(); // a browser would zoom the page when fingers pinch a touch pad
    if (!this.enabled) return;
    const pixels = event.deltaY * (event.deltaMode === WheelEvent.DOM_DELTA_LINE ? WHEEL_PER_LINE : event.deltaMode === WheelEvent.DOM_DELTA_PAGE ? 100 : 1);
    const strength = event.ctrlKey ? 6 * WHEEL_STRENGTH : WHEEL_STRENGTH;
    this.steering.zoom(Math.exp(strength * Math.max(-300, Math.min(300, pixels))), event.clientX, event.clientY);
  }
  private keyDown(event: KeyboardEvent): void {
    this.fast = event.shiftKey;
    if (!this.enabled || event.ctrlKey || event.metaKey || event.altKey || !(event.code in KEYS)) return;
    const { target } = event;
    if (target instanceof Element && target.matches(TAKES_KEYS)) return;
    if (event.code.startsWith("Arrow") && target !== this.canvas && target !== document.body) return; // panels scroll by them
    this.held.add(event.code);
    event.preventDefault();
  }
  private keyUp(event: KeyboardEvent): void {
    this.fast = event.shiftKey;
    this.held.delete(event.code);
  }
  private readPads(axes: Axes): void {
    for (const pad of navigator.getGamepads()) {
      if (!pad || pad.mapping !== "standard") continue;
      const [right, back, turnRight, turnDown] = pad.axes.map((value) => (Math.abs(value) < DEAD_ZONE ? 0 : value));
      axes.right += right ?? 0;
      axes.forward -= back ?? 0;
      axes.turnRight += turnRight ?? 0;
      axes.turnUp -= turnDown ?? 0;
      axes.up += (pad.buttons[7]?.value ?? 0) - (pad.buttons[6]?.value ?? 0);
      axes.fast ||= pad.buttons[10]?.pressed ?? false;
      pad.buttons.forEach(({ pressed }, index) => {
        const key = 100 * pad.index + index;
        if (pressed && !this.padButtons.get(key)) this.steering.button(index);
        this.padButtons.set(key, pressed);
      });
    }
  }
}
