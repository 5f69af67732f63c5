/** How a figure is drawn. */

import * as THREE from "three";
import type { Triple } from "../manifest";
import type { Units } from "../units";
import { describe, type Figure, POINTS } from "./figures";
import { angleDeg, distance, norm } from "./geometry";
import type { Mark } from "./overlay";

export interface MarkOptions {
  floor: number | null;
  units: Units;
  /** Where the next point would be. */
  preview: THREE.Vector3 | null;
  selected: boolean;
}

const ARC_STEPS = 24;
const v = (p: Triple) => new THREE.Vector3(...p);
const middle = (a: Triple, b: Triple) => v(a).lerp(v(b), 0.5);

export function figureMarks(figure: Figure, options: MarkOptions): Mark[] {
  const more = options.preview && figure.points.length < POINTS[figure.kind][1] ? [options.preview.toArray() as Triple] : [];
  const shown: Figure = { ...figure, points: [...figure.points, ...more] };
  const style = options.selected ? "measure selected" : "measure";
  const marks = BY_KIND[figure.kind](shown, options, style);
  for (const point of figure.points) marks.push({ kind: "dot", at: v(point), class: style, radius: options.selected ? 7 : 5 });
  if (more[0]) marks.push({ kind: "dot", at: v(more[0]), class: `${style} preview`, radius: 5 });
  return marks;
}

type Draw = (figure: Figure, options: MarkOptions, style: string) => Mark[];

const BY_KIND: Record<Figure["kind"], Draw> = {
  distance: ({ points, id }, { units }, style) => {
    if (points.length < 2) return [];
    const marks: Mark[] = [{ kind: "line", points: points.map(v), class: style }];
    const last = points.length - 1;
    for (let i = 1; i <= last; i++) marks.push(label(middle(points[i - 1]!, points[i]!), units.length(distance(points[i - 1]!, points[i]!)), style, last === 1 ? id : undefined));
    if (last > 1) marks.push(label(v(points[last]!), `Σ ${units.length(total(points))}`, `${style} total`, id));
    return marks;
  },
  height: (figure, { floor, units }, style) => {
    const [a, b] = figure.points;
    if (!a || (!b && floor === null)) return [];
    const base: Triple = b ? [a[0], a[1], a[2]] : [a[0], a[1], floor!];
    const top: Triple = b ?? a;
    const corner: Triple = b ? [a[0], a[1], b[2]] : a;
    const marks: Mark[] = [{ kind: "line", points: [v(base), v(corner)], class: style }];
    if (b) marks.push({ kind: "line", points: [v(corner), v(top)], class: style, dashed: true });
    else marks.push({ kind: "line", points: cross(base, Math.abs(a[2] - base[2]) * 0.12), class: style, dashed: true });
    marks.push(label(middle(base, corner), describe(figure, floor, units), style, figure.id));
    return marks;
  },
  angle: ({ points, id }, _, style) => {
    const [a, at, b] = points;
    if (!a || !at) return [];
    const marks: Mark[] = [{ kind: "line", points: points.map(v), class: style }];
    const degrees = b ? angleDeg(a, at, b) : NaN;
    if (!b || Number.isNaN(degrees)) return marks;
    const arc = arcOf(v(a), v(at), v(b));
    marks.push({ kind: "line", points: arc, class: `${style} thin` });
    marks.push(label(arc[arc.length >> 1]!, `${degrees.toFixed(1)}°`, style, id));
    return marks;
  },
  area: (figure, { floor, units }, style) => {
    const { points } = figure;
    if (points.length < 2) return [];
    const marks: Mark[] = [];
    if (points.length > 2) marks.push({ kind: "surface", points: points.map(v), class: style });
    marks.push({ kind: "line", points: points.map(v), class: style, closed: points.length > 2 });
    const centre = points.reduce((sum, p) => sum.addScaledVector(v(p), 1 / points.length), new THREE.Vector3());
    if (points.length > 2) marks.push(label(centre, describe(figure, floor, units), style, figure.id));
    return marks;
  },
};

function label(at: THREE.Vector3, text: string, style: string, id?: number): Mark {
  return { kind: "label", at, text, class: style, ...(id === undefined ? {} : { id: `measure-${id}` }) };
}

function total(points: readonly Triple[]): number {
  return points.slice(1).reduce((sum, p, i) => sum + distance(points[i]!, p), 0);
}

/** A small cross on the floor. */
function cross(at: Triple, size: number): THREE.Vector3[] {
  const [x, y, z] = at;
  return [[x - size, y, z], [x + size, y, z], [x, y, z], [x, y - size, z], [x, y + size, z]].map((p) => v(p as Triple));
}

/** Part of a circle round the corner, from one leg to the other. */
function arcOf(a: THREE.Vector3, at: THREE.Vector3, b: THREE.Vector3): THREE.Vector3[] {
  const [u, w] = [a.clone().sub(at), b.clone().sub(at)];
  const radius = 0.3 * Math.min(norm(u.toArray()), norm(w.toArray()));
  const [p, q] = [u.normalize(), w.normalize()];
  const angle = Math.acos(Math.max(-1, Math.min(1, p.dot(q))));
  const side = q.clone().addScaledVector(p, -p.dot(q)).normalize();
  return Array.from({ length: ARC_STEPS + 1 }, (_, i) => {
    const t = (angle * i) / ARC_STEPS;
    return at.clone().addScaledVector(p, radius * Math.cos(t)).addScaledVector(side, radius * Math.sin(t));
  });
}
