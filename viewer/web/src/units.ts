/** How lengths are written: metres where the scene is metric or the visitor has told a distance, else "units". */

type Listener = () => void;

export class Units {
  /** Metres in one unit of the files; null where nothing is known. */
  private metresPerUnit: number | null;
  private readonly listeners = new Set<Listener>();

  constructor(metric: boolean) {
    this.metresPerUnit = metric ? 1 : null;
  }
  /** Metres in one unit of the files, or null. */
  get scale(): number | null {
    return this.metresPerUnit;
  }
  /** From a distance that is known: `length` in units of the files is `metres`. */
  setKnownDistance(length: number, metres: number): void {
    if (!(length > 0) || !(metres > 0) || !Number.isFinite(metres / length)) throw new RangeError("a length and its metres are positive numbers");
    this.setScale(metres / length);
  }
  setScale(metresPerUnit: number | null): void {
    this.metresPerUnit = metresPerUnit;
    for (const listener of this.listeners) listener();
  }
  onChange(listener: Listener): void {
    this.listeners.add(listener);
  }
  /** "1.250 m", "3.2 mm", "0.412 units". */
  length(value: number): string {
    if (this.metresPerUnit === null) return `${significant(value)} units`;
    const metres = value * this.metresPerUnit;
    if (Math.abs(metres) >= 1000) return `${significant(metres / 1000)} km`;
    if (Math.abs(metres) >= 1) return `${significant(metres)} m`;
    if (Math.abs(metres) >= 0.01) return `${significant(metres * 100)} cm`;
    return `${significant(metres * 1000)} mm`;
  }
  /** "2.40 m²", "0.31 units²". */
  area(value: number): string {
    if (this.metresPerUnit === null) return `${significant(value)} units²`;
    const square = value * this.metresPerUnit ** 2;
    return Math.abs(square) >= 0.1 ? `${significant(square)} m²` : `${significant(square * 1e4)} cm²`;
  }
}

/** Four significant digits, no exponent for what people measure. */
export function significant(value: number): string {
  if (value === 0) return "0";
  const digits = Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value))));
  return value.toFixed(Math.min(digits, 8));
}
