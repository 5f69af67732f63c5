/** The panel of measuring: what to measure, the list, copying, the known distance. */

import { hint, iconButton, row, textButton, element } from "../ui/ui";
import { keepFocus } from "../ui/focus";
import { ICONS } from "../ui/icons";
import { type Figure, type Kind, KINDS, NAMES, remarks, toCsv, toText } from "./figures";
import type { KnownDistance } from "./known_distance";
import type { Measure } from "./measure";
import { fileName } from "../file_name";
import { copyText, download } from "./store";

export class MeasurePanel {
  private readonly kinds = new Map<Kind, HTMLButtonElement>();
  private readonly list = element("ol", { class: "list", "aria-label": "Measurements" });
  private readonly empty = hint("Choose what to measure, then click or tap in the picture. Hold a finger down for a magnifier. With the keyboard, move the view under the crosshair (arrows, W A S D) and press Enter.");
  private readonly after = element("div", { class: "stack" });
  private readonly scale = element("div", { class: "stack" });

  constructor(
    private readonly measure: Measure,
    private readonly known: KnownDistance,
  ) {
    measure.onChange(() => this.refresh());
    measure.page.units.onChange(() => this.refresh());
  }

  build(body: HTMLElement): void {
    const grid = element("div", { class: "kinds", role: "group", "aria-label": "What to measure" });
    for (const kind of KINDS) {
      const button = textButton(NAMES[kind], () => (this.measure.draft?.kind === kind ? this.measure.stop() : this.measure.start(kind)), "plain", ICONS[kind]);
      button.dataset["kind"] = kind;
      this.kinds.set(kind, button);
      grid.append(button);
    }
    body.append(grid, this.empty, this.list, this.after, this.scale);
    this.refresh();
  }
  refresh(): void {
    const { figures, draft } = this.measure;
    for (const [kind, button] of this.kinds) button.setAttribute("aria-pressed", String(draft?.kind === kind));
    this.empty.hidden = figures.length > 0;
    keepFocus(this.list, () => this.list.replaceChildren(...figures.map((figure, i) => this.item(figure, i))));
    this.list.hidden = !figures.length;
    keepFocus(this.after, () => this.after.replaceChildren(...(figures.length ? this.actions() : [])));
    keepFocus(this.scale, () => this.scale.replaceChildren(...this.aboutScale()));
  }

  private item(figure: Figure, index: number): HTMLLIElement {
    const { measure } = this;
    const { floor, page } = measure;
    const name = `${NAMES[figure.kind]} ${index + 1}`;
    const show = element("button", { type: "button", class: "entry note-entry", "aria-pressed": String(measure.selected === figure.id), "data-focus": `show-${figure.id}` });
    const more = remarks(figure, floor, page.units, measure.upKnown);
    show.append(
      element("span", { class: "number figure" }, String(index + 1)),
      element("span", { class: "entry-title" }, NAMES[figure.kind]),
      element("span", { class: "entry-value" }, measure.text(figure)),
      ...more.map((text) => element("span", { class: "entry-more" }, text)),
    );
    show.addEventListener("click", () => (measure.select(measure.selected === figure.id ? null : figure.id), this.refresh()));
    const remove = iconButton(`Delete ${name}`, ICONS.bin);
    remove.dataset["focus"] = `remove-${index}`;
    remove.addEventListener("click", () => measure.remove(figure.id));
    return element("li", { "data-figure": String(figure.id), "data-kind": figure.kind }, show, remove);
  }
  private actions(): HTMLElement[] {
    const { measure } = this;
    const { page, floor } = measure;
    const csv = () => toCsv(measure.figures, floor, page.units);
    return [
      row(
        textButton("Copy text", () => void copyText(page, "Measurements", toText(measure.figures, floor, page.units, measure.upKnown)), "plain", ICONS.copy),
        textButton("Copy CSV", () => void copyText(page, "Table", csv()), "plain", ICONS.copy),
      ),
      row(
        textButton("Save CSV", () => download(fileName(page.manifest.title, "measurements.csv"), csv(), "text/csv"), "plain", ICONS.save),
        textButton("Delete all", () => measure.clear(), "danger", ICONS.bin),
      ),
    ];
  }
  private aboutScale(): HTMLElement[] {
    const { known } = this;
    const heading = element("h3", {}, "Scale");
    const buttons = row(textButton(known.active ? "Change the known distance" : "Use a known distance", () => known.open(), "plain", ICONS.ruler));
    if (known.active) buttons.append(textButton("Reset the scale", () => known.reset(), "plain", ICONS.undo));
    return [heading, hint(known.says), buttons, ...(known.active ? known.howToKeep() : [])];
  }
}
