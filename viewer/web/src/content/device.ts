/** What the visitor's device can hold. */

export interface Device {
  /** Gigabytes, as far as the browser tells (it says 8 for everything larger); null: it does not tell. */
  memoryGb: number | null;
  mobile: boolean;
}

interface Hints {
  deviceMemory?: number;
  userAgentData?: { mobile: boolean };
}

export function thisDevice(): Device {
  const hints = navigator as Navigator & Hints;
  const mobile = hints.userAgentData?.mobile ?? (/Android|iPhone|iPad|Mobile|OculusBrowser/.test(navigator.userAgent) || (navigator.maxTouchPoints > 1 && /Mac/.test(navigator.userAgent)));
  return { memoryGb: hints.deviceMemory ?? null, mobile };
}

/** A splat held in full takes about 300 bytes (places, three bands of colour, three buffers of the renderer): at most an eighth of the memory. */
const SPLATS_PER_GB = 400_000;
/** Phones and headsets end a page that takes more, whatever memory they report. */
const MOBILE_SPLATS = 2_000_000;
const UNKNOWN_MOBILE_SPLATS = 1_500_000;
/** Beyond so many splats the short encoding (16-bit places) saves the memory that the exact one would take. */
const EXACT_SPLATS = 4_000_000;
const EXACT_SPLATS_MOBILE = 1_500_000;

/** How many splats to hold at once: what was published for the target, lowered by what the device has. */
export function deviceBudget(published: number, device: Device): number {
  const { memoryGb, mobile } = device;
  const byMemory = memoryGb === null || memoryGb >= 8 ? Infinity : memoryGb * SPLATS_PER_GB;
  const byKind = !mobile ? Infinity : memoryGb === null ? UNKNOWN_MOBILE_SPLATS : MOBILE_SPLATS;
  return Math.floor(Math.min(published, byMemory, byKind));
}

/** Whether so many splats are held with float32 places. */
export function holdsExactly(splats: number, device: Device): boolean {
  return splats <= (device.mobile ? EXACT_SPLATS_MOBILE : EXACT_SPLATS);
}
