/** What was measured: the figures, what they say, and how they go into a link, a table and back. Knows no page. */

import type { Triple } from "../manifest";
import type { Units } from "../units";
import { angleDeg, chainLength, distance, heightAbove, inPlane, polygonArea } from "./geometry";

export type Kind = "distance" | "height" | "angle" | "area";
export const KINDS: readonly Kind[] = ["distance", "height", "angle", "area"];

export interface Figure {
  id: number;
  kind: Kind;
  points: Triple[];
}

/** How many points a figure of a kind needs, and may have. */
export const POINTS: Record<Kind, readonly [least: number, most: number]> = {
  distance: [2, 100],
  height: [1, 2],
  angle: [3, 3],
  area: [3, 100],
};
const MAX_FIGURES = 200;

/** A height over the floor needs a floor. */
export function isWhole(figure: Figure, floor: number | null): boolean {
  const least = figure.kind === "height" && floor === null ? 2 : POINTS[figure.kind][0];
  return figure.points.length >= least;
}

/** The number of a figure in units of the files (degrees for an angle); null while it lacks points. */
export function valueOf(figure: Figure, floor: number | null): number | null {
  const [a, b, c] = figure.points;
  if (!a || !isWhole(figure, floor)) return null;
  if (figure.kind === "distance") return chainLength(figure.points);
  if (figure.kind === "height") return b ? Math.abs(heightAbove(b, a)) : heightAbove(a, floor!);
  if (figure.kind === "angle") return angleDeg(a, b!, c!);
  return polygonArea(figure.points)?.area ?? null;
}

/** "1.250 m", "42.1°". */
export function describe(figure: Figure, floor: number | null, units: Units): string {
  const value = valueOf(figure, floor);
  if (value === null) return "–";
  if (figure.kind === "angle") return Number.isNaN(value) ? "two points coincide" : `${value.toFixed(1)}°`;
  return figure.kind === "area" ? units.area(value) : units.length(value);
}

/** What else there is to say of a figure. */
export function remarks(figure: Figure, floor: number | null, units: Units, upKnown: boolean): string[] {
  const { kind, points } = figure;
  if (kind === "distance" && points.length > 2)
    return [points.slice(1).map((p, i) => units.length(distance(points[i]!, p))).join(" + ")];
  if (kind === "height") {
    if (points.length === 1) return floor === null ? ["This place has no known floor: set a second point."] : ["above the floor"];
    return [upKnown ? "between the two points, straight up" : "between the two points along z: which way is up is not known here"];
  }
  const area = kind === "area" ? polygonArea(points) : null;
  if (!area) return [];
  const said = [`perimeter ${units.length(area.perimeter)}`];
  if (!inPlane(area)) said.push(`The points are up to ${units.length(area.off_plane)} off a plane; the area is that of the polygon laid onto it.`);
  if (area.crossed) said.push("The edges cross each other: set the points in order round the surface.");
  return said;
}

export const NAMES: Record<Kind, string> = { distance: "Distance", height: "Height", angle: "Angle", area: "Area" };

/** A table: one line a figure, the points in units of the files, the unit named in a column. */
export function toCsv(figures: readonly Figure[], floor: number | null, units: Units): string {
  const scale = units.scale;
  const lines = figures.map((figure, i) => {
    const value = valueOf(figure, floor);
    const isAngle = figure.kind === "angle";
    const power = figure.kind === "area" ? 2 : 1;
    const number = value === null || Number.isNaN(value) ? "" : Number((isAngle || scale === null ? value : value * scale ** power).toPrecision(7));
    const unit = isAngle ? "deg" : (scale === null ? "units" : "m") + (power === 2 ? "2" : "");
    const points = figure.points.map((p) => p.map((x) => Number(x.toPrecision(7))).join(" ")).join("; ");
    return [i + 1, figure.kind, number, unit, points].join(",");
  });
  return ["number,kind,value,unit,points_xyz_in_file_units", ...lines].join("\n") + "\n";
}

export function toText(figures: readonly Figure[], floor: number | null, units: Units, upKnown: boolean): string {
  return figures
    .map((figure, i) => `${i + 1}. ${NAMES[figure.kind]} ${[describe(figure, floor, units), ...remarks(figure, floor, units, upKnown)].join(", ")}`)
    .join("\n");
}

/** For a link: [kind, x, y, z, x, y, z, ...] each. */
export function pack(figures: readonly Figure[]): unknown {
  return figures.map((figure) => [KINDS.indexOf(figure.kind), ...figure.points.flat()]);
}

/** What a link or the browser's storage says; what does not fit is left out. */
export function unpack(value: unknown, firstId: number): Figure[] {
  if (!Array.isArray(value)) return [];
  const figures: Figure[] = [];
  for (const item of value.slice(0, MAX_FIGURES)) {
    if (!Array.isArray(item) || !item.every((v) => typeof v === "number" && Number.isFinite(v) && Math.abs(v) < 1e9)) continue;
    const [code, ...numbers] = item as number[];
    const kind = KINDS[code ?? -1];
    const count = numbers.length / 3;
    if (!kind || !Number.isInteger(count) || count < POINTS[kind][0] || count > POINTS[kind][1]) continue;
    const points = Array.from({ length: count }, (_, i): Triple => [numbers[3 * i]!, numbers[3 * i + 1]!, numbers[3 * i + 2]!]);
    figures.push({ id: firstId + figures.length, kind, points });
  }
  return figures;
}

/** The visitor's own figures and those of a link; what both have comes once. Links carry seven digits. */
export function joined(own: readonly Figure[], linked: readonly Figure[]): Figure[] {
  const key = ({ kind, points }: Figure) => `${kind} ${points.flat().map((v) => v.toPrecision(4)).join(" ")}`;
  const known = new Set(own.map(key));
  return [...own, ...linked.filter((figure) => !known.has(key(figure)))];
}
