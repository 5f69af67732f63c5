/** Measuring: distance, height, angle and area, drawn in the scene, placed by pointer or keyboard, dragged to refine. */

import * as THREE from "three";
import type { Page } from "../page";
import { describe, type Figure, isWhole, type Kind, NAMES, pack, POINTS, unpack, joined } from "./figures";
import { distanceDialogPart } from "./known_distance";
import { distance } from "./geometry";
import { figureMarks } from "./measure_marks";
import { MeasurePanel } from "./measure_panel";
import { Overlay } from "./overlay";
import { Placer } from "./placer";
import { type Grip, Pointer } from "./pointer";
import { recall, remember } from "./store";
import { ICONS } from "../ui/icons";

const PROMPTS: Record<Kind, (count: number) => string> = {
  distance: (n) => (n === 0 ? "Point at where the distance begins." : n === 1 ? "Point at where it ends." : "Add points, or finish."),
  height: (n) => (n === 0 ? "Point at the place whose height you want." : "Add a second point to measure from there, or finish."),
  angle: (n) => ["Point at the end of one leg.", "Point at the corner.", "Point at the end of the other leg."][n] ?? "",
  area: (n) => (n < 3 ? "Point at the corners, in order round the surface." : "Add corners, or finish."),
};

export class Measure {
  figures: Figure[] = [];
  /** What is being set; null: nothing. */
  draft: Figure | null = null;
  private preview: THREE.Vector3 | null = null;
  private nextId = 1;
  private readonly listeners = new Set<() => void>();
  selected: number | null = null;

  constructor(readonly page: Page) {
    Pointer.of(page).add({ grips: () => this.grips() });
    page.units.onChange(() => this.changed());
    page.share.register("measure", {
      save: () => (this.figures.length ? pack(this.figures) : undefined),
      load: (value) => {
        const figures = unpack(value, this.nextId);
        this.replace(joined(this.figures, figures));
        return figures.length > 0;
      },
    });
    this.replace(unpack(recall(page, "measure"), 1));
  }

  get floor(): number | null {
    return this.page.manifest.floor;
  }
  /** Whether z is known to be up. */
  get upKnown(): boolean {
    return this.page.manifest.world.up !== "unknown";
  }
  onChange(listener: () => void): void {
    this.listeners.add(listener);
  }
  /** Begin figures of a kind; they follow each other until `stop`. */
  start(kind: Kind): void {
    this.stop(false);
    this.draft = { id: this.nextId++, kind, points: [] };
    this.selected = null;
    if (this.page.ui.narrow) this.page.ui.close();
    Placer.of(this.page).start({
      place: (world) => this.place(world),
      preview: (world) => {
        const last = this.draft?.points.at(-1);
        this.preview = world && last && distance(last, world.toArray()) < 1e-9 ? null : world; // the mouse still rests on it
        this.draw();
      },
      interrupted: () => this.stop(false),
    });
    this.changed();
  }
  /** Keep what is whole, and begin another one. */
  finish(): void {
    const { draft } = this;
    if (!draft) return;
    if (isWhole(draft, this.floor)) {
      this.figures.push(draft);
      this.selected = draft.id;
    }
    this.draft = { id: this.nextId++, kind: draft.kind, points: [] };
    this.preview = null;
    this.changed();
  }
  /** Keep what is whole, and rest; on a narrow screen the panel comes back. */
  stop(back = true): void {
    if (!this.draft) return;
    this.finish();
    this.draft = null;
    Placer.of(this.page).stop();
    this.page.ui.hud(null);
    this.changed();
    if (back && this.page.ui.narrow && this.figures.length) this.page.ui.open("measure");
  }
  /** Take back the last point; without one, the last figure is opened again. */
  undo(): void {
    const { draft } = this;
    if (!draft) return;
    if (draft.points.length) draft.points.pop();
    else {
      const last = this.figures.at(-1);
      if (!last) return;
      this.figures.pop();
      this.draft = last;
      last.points.pop();
    }
    this.changed();
  }
  remove(id: number): void {
    const index = this.figures.findIndex((f) => f.id === id);
    const [figure] = index < 0 ? [] : this.figures.splice(index, 1);
    if (!figure) return;
    this.changed();
    this.page.ui.say(`${NAMES[figure.kind]} deleted.`, 6, { label: "Undo", act: () => (this.figures.splice(index, 0, figure), this.changed()) });
  }
  clear(): void {
    const old = this.figures;
    this.replace([]);
    this.page.ui.say("All measurements deleted.", 6, { label: "Undo", act: () => this.replace(old) });
  }
  select(id: number | null): void {
    this.selected = id;
    this.draw();
  }
  text(figure: Figure): string {
    return describe(figure, this.floor, this.page.units);
  }

  private replace(figures: Figure[]): void {
    this.figures = figures;
    this.nextId = Math.max(this.nextId, ...figures.map((f) => f.id + 1));
    this.changed();
  }
  private place(world: THREE.Vector3): void {
    const { draft } = this;
    if (!draft) return;
    const last = draft.points.at(-1);
    if (last && distance(last, world.toArray()) < 1e-9) return this.page.ui.say("This is the place of the last point. Move the view, or point elsewhere.");
    draft.points.push(world.toArray());
    this.preview = null;
    if (draft.points.length >= POINTS[draft.kind][1]) this.finish();
    else this.changed();
  }
  private changed(): void {
    remember(this.page, "measure", this.figures.length ? pack(this.figures) : undefined);
    if (this.draft) this.showHud(this.draft);
    this.draw();
    for (const listener of this.listeners) listener();
  }
  private showHud(draft: Figure): void {
    const value = isWhole(draft, this.floor) && draft.points.length > (draft.kind === "height" ? 0 : 1) ? `${this.text(draft)}. ` : "";
    this.page.ui.hud({
      text: value + PROMPTS[draft.kind](draft.points.length),
      actions: [
        { label: "Place", key: "Enter", act: () => Placer.of(this.page).placeCentre(), weight: "primary" },
        { label: "Undo", key: "Backspace", act: () => this.undo(), disabled: !draft.points.length && !this.figures.length },
        draft.points.length && isWhole(draft, this.floor)
          ? { label: "Finish", key: "Shift+Enter", act: () => this.finish() }
          : { label: "Done", key: "Shift+Enter", act: () => this.stop() },
      ],
      cancel: () => this.stop(),
    });
  }
  private draw(): void {
    const shown = this.draft?.points.length || this.preview ? [...this.figures, this.draft].filter((f) => f !== null) : this.figures;
    const marks = shown.flatMap((figure) => {
      const isDraft = figure === this.draft;
      return figureMarks(figure, { floor: this.floor, units: this.page.units, preview: isDraft ? this.preview : null, selected: isDraft || figure.id === this.selected });
    });
    Overlay.of(this.page).set("measure", marks);
  }
  private grips(): Grip[] {
    if (this.page.ui.openPanel !== "measure" && !this.draft) return [];
    const overlay = Overlay.of(this.page);
    const all = this.draft ? [...this.figures, this.draft] : this.figures;
    return all.flatMap((figure) =>
      figure.points.flatMap((point, index) => {
        const at = overlay.project(new THREE.Vector3(...point));
        return at ? [{ x: at[0], y: at[1], cursor: "grab", drag: (x: number, y: number) => this.drag(figure, index, x, y), end: () => this.endDrag(), tap: () => this.tapped(figure, index) }] : [];
      }),
    );
  }
  private drag(figure: Figure, index: number, x: number, y: number): void {
    const placer = Placer.of(this.page);
    const found = placer.at(x, y);
    if (found) figure.points[index] = found.toArray();
    this.selected = figure.id;
    placer.loupe.show(x, y);
    this.draw();
  }
  private endDrag(): void {
    Placer.of(this.page).loupe.hide();
    this.changed();
  }
  /** A tap on the first corner closes an area, one on the last point ends a chain. */
  private tapped(figure: Figure, index: number): void {
    const { draft } = this;
    if (figure === draft && isWhole(draft, this.floor) && (draft.kind === "area" ? index === 0 : index === draft.points.length - 1)) this.finish();
    else this.select(figure.id);
    for (const listener of this.listeners) listener();
  }
}

export function installMeasure(page: Page): void {
  const measure = new Measure(page);
  const known = distanceDialogPart(page, measure);
  const panel = new MeasurePanel(measure, known);
  page.ui.addPanel({
    id: "measure",
    title: "Measure",
    icon: ICONS.ruler,
    key: "m",
    group: "tools",
    order: 10,
    build: (body) => panel.build(body),
    onOpen: () => panel.refresh(),
    onClose: () => {
      if (!page.ui.narrow) measure.stop();
    },
  });
}
