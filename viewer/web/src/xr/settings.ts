/** Comfort: how somebody likes to move in a headset. Remembered in the browser. */

export interface Comfort {
  turn: "snap" | "smooth";
  /** Degrees of one snap. */
  angle: 30 | 45;
  /** Metres a second at the end of the stick. */
  speed: number;
  /** 0: none. 1: a narrow view while the stick moves. */
  vignette: number;
  /** Metres that the person is lifted: who sits sees as if standing. */
  height: number;
  /** The hand that turns, teleports and points; the other one walks. */
  hand: "left" | "right";
  /** Of the headset's own resolution; takes effect with the next session. */
  sharpness: number;
}

export const DEFAULTS: Comfort = { turn: "snap", angle: 30, speed: 1.5, vignette: 0.6, height: 0, hand: "right", sharpness: 1 };
export const SPEEDS = [0.75, 1.5, 3, 6] as const;
export const VIGNETTES = [0, 0.6, 1] as const;
export const SHARPNESS = [0.75, 1, 1.25] as const;
export const HEIGHT_STEP = 0.1;
const HEIGHTS = [-0.5, 1.2] as const;
const KEY = "recon-xr";

type Listener = (comfort: Comfort) => void;

export class Settings {
  private value: Comfort;
  private readonly listeners = new Set<Listener>();

  constructor(private readonly store: Pick<Storage, "getItem" | "setItem"> | null) {
    this.value = parseComfort(read(store));
  }
  get comfort(): Comfort {
    return this.value;
  }
  change(part: Partial<Comfort>): void {
    this.value = checked({ ...this.value, ...part });
    try {
      this.store?.setItem(KEY, JSON.stringify(this.value));
    } catch (error) {
      console.info("comfort settings are not remembered:", error); // private windows have no room
    }
    for (const listener of this.listeners) listener(this.value);
  }
  onChange(listener: Listener): void {
    this.listeners.add(listener);
  }
}

/** What was stored, checked; whatever does not fit takes its default. */
export function parseComfort(text: string | null): Comfort {
  let raw: unknown = null;
  try {
    raw = text === null ? null : JSON.parse(text);
  } catch {
    raw = null;
  }
  return checked(typeof raw === "object" && raw !== null ? (raw as Partial<Record<keyof Comfort, unknown>>) : {});
}

function checked(raw: Partial<Record<keyof Comfort, unknown>>): Comfort {
  const number = (key: keyof Comfort, min: number, max: number) => {
    const value = raw[key];
    return typeof value === "number" && Number.isFinite(value) ? Math.min(max, Math.max(min, value)) : (DEFAULTS[key] as number);
  };
  return {
    turn: raw.turn === "smooth" ? "smooth" : "snap",
    angle: raw.angle === 45 ? 45 : 30,
    speed: number("speed", 0.1, 20),
    vignette: number("vignette", 0, 1),
    height: Math.round(100 * number("height", ...HEIGHTS)) / 100,
    hand: raw.hand === "left" ? "left" : "right",
    sharpness: number("sharpness", 0.5, 1.5),
  };
}

function read(store: Pick<Storage, "getItem"> | null): string | null {
  try {
    return store?.getItem(KEY) ?? null;
  } catch {
    return null; // storage is forbidden here
  }
}
/** The browser's store, or null where the page may not use it. */
export function browserStore(): Storage | null {
  try {
    return window.localStorage;
  } catch {
    return null;
  }
}
