/** Lengths as people write them, and scales from outside. */

export const METRES: Record<string, number> = { m: 1, cm: 0.01, mm: 0.001, ft: 0.3048, in: 0.0254 };
/** A scale beyond these is a slip of the hand or of a link: metres per unit of the files. */
const LIMITS = [1e-9, 1e9] as const;

/** Metres in one unit of the files, from a link or the browser's storage; null where it does not fit. */
export function readScale(value: unknown): number | null {
  return typeof value === "number" && value > LIMITS[0] && value < LIMITS[1] ? value : null;
}

/** "1.25" or "1,25" -> metres; null where it is no positive number. */
export function metresOf(text: string, unit: string): number | null {
  const trimmed = text.trim();
  if (!/^\d{0,9}([.,]\d{1,9})?$/.test(trimmed) || trimmed === "") return null;
  const metres = Number(trimmed.replace(",", ".")) * (METRES[unit] ?? NaN);
  return metres > 0 && Number.isFinite(metres) ? metres : null;
}
