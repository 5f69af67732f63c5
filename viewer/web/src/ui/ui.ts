/** Tool bar, panels, messages, and what a tool says while it is at work. Text from files is only ever set as text. */

import { Bar, type Group, LOW, NARROW } from "./bar";
import { type DialogAction, openDialog } from "./dialog";
import { element, iconButton, textButton } from "./elements";
import { Hud, type HudSpec } from "./hud";
import { ICONS } from "./icons";
import { sheetHandle } from "./sheet";
import { setTheme, startTheme, theme } from "./theme";
import { startTooltips } from "./tooltip";

export type { Group } from "./bar";
export type { HudSpec } from "./hud";
export { element, hint, iconButton, row, textButton } from "./elements";

/** Where a button stands, and what it is called where there is little room. */
export interface Placing {
  /** Default: "view". */
  group?: Group;
  /** Within the group, ascending; default: in the order of being added. */
  order?: number;
  /** One short word below the icon. */
  short?: string;
  /** The element's id; a panel's button has `open-ID`. */
  id?: string;
}

export interface Panel extends Placing {
  /** Unique; also the element's id: `panel-ID`. */
  id: string;
  /** Heading, and the button's label. */
  title: string;
  /** Inner SVG of a 24x24 icon, drawn with strokes. */
  icon: string;
  /** The key that opens it: one lower-case letter or digit. */
  key?: string;
  /** Fill the panel; called once, when it is opened first. */
  build: (body: HTMLElement) => void;
  onOpen?: () => void;
  onClose?: () => void;
}

export interface Shortcut {
  /** KeyboardEvent.key, lower case. */
  key: string;
  does: string;
  act: (event: KeyboardEvent) => void;
}

interface Entry {
  panel: Panel;
  button: HTMLButtonElement;
  section: HTMLElement;
  built: boolean;
}

export class Ui {
  readonly root: HTMLElement;
  private readonly bar: Bar;
  private readonly drawer: HTMLElement;
  private readonly status: HTMLElement;
  private readonly meter: HTMLProgressElement;
  private readonly progress: HTMLElement;
  private readonly hudBox = new Hud();
  private readonly panels = new Map<string, Entry>();
  private readonly keys = new Map<string, Shortcut>();
  private openNow: string | null = null;
  private quiet = 0;
  private added = 0;

  constructor(container: HTMLElement, title: string) {
    this.root = container;
    document.title = title;
    const heading = element("h1", { class: "title" }, title);
    this.bar = new Bar(container);
    this.drawer = element("aside", { class: "drawer", hidden: "", "aria-label": "Panel" });
    this.drawer.append(sheetHandle(this.drawer, () => this.close()));
    this.status = element("div", { class: "status", role: "status", "aria-live": "polite" });
    this.meter = element("progress", { class: "meter", max: "1", value: "0", "aria-label": "Loading" });
    this.progress = element("span", { class: "progress" }, "Loading");
    const card = element("section", { class: "card", "aria-label": "Loading" }, element("p", { class: "card-title", "aria-hidden": "true" }, title), this.meter, this.progress);
    container.append(element("header", {}, heading), card, this.bar.root, this.drawer, this.hudBox.root, this.status);
    window.addEventListener("keydown", (event) => this.pressed(event));
    startTooltips(container);
    this.addPanel({ id: "more", title: "More tools", icon: "", build: (body) => body.append(this.bar.rest) });
    this.addThemeButton();
  }

  addPanel(panel: Panel): void {
    const button = panel.id === "more" ? this.bar.more : iconButton(panel.title, panel.icon, panel.key, panel.short);
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-controls", `panel-${panel.id}`);
    button.addEventListener("click", () => this.toggle(panel.id));
    const section = element("section", { id: `panel-${panel.id}`, class: "panel", hidden: "", "aria-label": panel.title });
    const close = iconButton("Close", ICONS.close);
    close.addEventListener("click", () => this.close());
    section.append(element("header", {}, element("h2", {}, panel.title), close));
    this.drawer.append(section);
    if (panel.id !== "more") {
      button.id = `open-${panel.id}`;
      this.bar.add(button, panel.group ?? "view", panel.order ?? this.added++);
    }
    this.panels.set(panel.id, { panel, button, section, built: false });
    if (panel.key) this.addKey({ key: panel.key, does: panel.title, act: () => this.toggle(panel.id) });
  }
  /** A button of the tool bar that opens no panel. */
  addButton(label: string, icon: string, act: () => void, key?: string, placing: Placing = {}): HTMLButtonElement {
    const button = iconButton(label, icon, key, placing.short);
    if (placing.id) button.id = placing.id;
    button.addEventListener("click", () => {
      if (this.bar.hides(button)) this.close();
      act();
    });
    this.bar.add(button, placing.group ?? "view", placing.order ?? this.added++);
    if (key) this.addKey({ key, does: label, act });
    return button;
  }
  addKey(shortcut: Shortcut): void {
    if (this.keys.has(shortcut.key)) throw new Error(`the key ${shortcut.key} has two meanings`);
    this.keys.set(shortcut.key, shortcut);
  }
  get shortcuts(): Shortcut[] {
    return [...this.keys.values()];
  }
  get openPanel(): string | null {
    return this.openNow;
  }
  /** Whether panels leave little of the picture: tools that take clicks close theirs. */
  get narrow(): boolean {
    return window.matchMedia(`${NARROW}, ${LOW}`).matches;
  }
  toggle(id: string): void {
    if (this.openNow === id) this.close();
    else this.open(id);
  }
  open(id: string): void {
    const entry = this.panels.get(id);
    if (!entry || this.openNow === id) return;
    this.close();
    this.openNow = id;
    if (!entry.built) {
      entry.built = true;
      const body = element("div", { class: "body" });
      entry.section.append(body);
      entry.panel.build(body);
      if (!body.querySelector("button, input, select, textarea, a")) body.tabIndex = 0; // to be scrolled by keyboard
    }
    this.drawer.hidden = entry.section.hidden = false;
    this.root.dataset["panel"] = id;
    this.markOpen(entry, true);
    entry.panel.onOpen?.();
    const first = (where: string) => entry.section.querySelector<HTMLElement>(where);
    const controls = ":is(button:not([disabled]), input:not([type=radio]), input:checked, select, textarea)";
    (first(`.body ${controls}`) ?? first("header button"))?.focus({ preventScroll: true });
  }
  close(): void {
    const entry = this.openNow === null ? undefined : this.panels.get(this.openNow);
    this.openNow = null;
    if (!entry) return;
    const focused = entry.section.contains(document.activeElement) || document.activeElement === document.body;
    this.drawer.hidden = entry.section.hidden = true;
    delete this.root.dataset["panel"];
    this.markOpen(entry, false);
    if (focused) (this.bar.hides(entry.button) ? this.bar.more : entry.button).focus();
    entry.panel.onClose?.();
  }
  /** Say something for a few seconds; with a button, such as Undo, where there is something to do about it. */
  say(text: string, seconds = 4, action?: { label: string; act: () => void }): void {
    const button = action && textButton(action.label, () => (this.silence(), action.act()));
    this.status.replaceChildren(element("span", {}, text), ...(button ? [button] : []));
    window.clearTimeout(this.quiet);
    this.quiet = window.setTimeout(() => this.silence(), 1000 * seconds);
  }
  /** 0..1 of the loading; 1 hides the bar. */
  loading(done: number): void {
    this.meter.value = done;
    this.meter.hidden = done >= 1;
    const percent = `${Math.floor(100 * Math.min(1, done))} %`;
    this.progress.textContent = document.documentElement.dataset["recon"] === "loading" ? `Loading ${percent}` : `Sharpening ${percent}`;
  }
  /** What a tool that is at work says and offers, beside the picture; null takes it away. */
  hud(spec: HudSpec | null): void {
    this.hudBox.show(spec);
    this.root.classList.toggle("working", spec !== null);
  }
  /** A question in the way of everything else. The primary action is also what Enter does. */
  dialog(id: string, title: string, body: Node[], actions: readonly DialogAction[]): HTMLDialogElement {
    return openDialog(this.root, id, title, body, actions);
  }

  private silence(): void {
    window.clearTimeout(this.quiet);
    this.status.replaceChildren();
  }
  private markOpen(entry: Entry, open: boolean): void {
    entry.button.setAttribute("aria-expanded", String(open));
    if (this.bar.hides(entry.button)) this.bar.more.classList.toggle("holds-open", open);
  }
  private addThemeButton(): void {
    const button = this.addButton("Light colours", ICONS.sun, () => show(theme() === "dark" ? "light" : "dark"), undefined, { group: "page", order: 900, short: "Colours", id: "theme" });
    const icon = (name: "sun" | "moon") => {
      const fresh = iconButton("", ICONS[name]).firstElementChild;
      if (fresh) button.firstElementChild?.replaceWith(fresh);
    };
    const show = (now: "dark" | "light") => {
      setTheme(now);
      button.setAttribute("aria-label", now === "dark" ? "Light colours" : "Dark colours");
      icon(now === "dark" ? "sun" : "moon");
    };
    startTheme((now) => show(now));
    show(theme());
  }
  private pressed(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target as HTMLElement;
    if (this.hudBox.press(event)) return;
    if (event.key === "Escape") return this.close();
    if (target.matches("input:not([type=radio], [type=checkbox], [type=range]), textarea, select, [contenteditable]")) return;
    if (target.matches("input") && (event.key.length > 1 || event.key === " ")) return; // arrows and the space bar are the control's own
    const shortcut = this.keys.get(event.key.toLowerCase());
    if (!shortcut) return;
    event.preventDefault();
    shortcut.act(event);
  }
}
