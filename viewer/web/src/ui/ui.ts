/** Tool bar, panels and messages. Text from files is only ever set as text. */

export interface Panel {
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

export class Ui {
  readonly root: HTMLElement;
  private readonly bar: HTMLElement;
  private readonly drawer: HTMLElement;
  private readonly status: HTMLElement;
  private readonly meter: HTMLProgressElement;
  private readonly panels = new Map<string, { panel: Panel; button: HTMLButtonElement; section: HTMLElement; built: boolean }>();
  private readonly keys = new Map<string, Shortcut>();
  private openNow: string | null = null;
  private quiet = 0;

  constructor(container: HTMLElement, title: string) {
    this.root = container;
    document.title = title;
    const heading = element("h1", { class: "title" }, title);
    this.bar = element("nav", { class: "bar", "aria-label": "Tools" });
    this.drawer = element("aside", { class: "drawer", hidden: "" });
    this.status = element("div", { class: "status", role: "status", "aria-live": "polite" });
    this.meter = element("progress", { class: "meter", max: "1", value: "0", "aria-label": "Loading" });
    container.append(heading, this.meter, this.bar, this.drawer, this.status);
    window.addEventListener("keydown", (event) => this.pressed(event));
  }

  addPanel(panel: Panel): void {
    const button = iconButton(panel.title, panel.icon, panel.key);
    button.setAttribute("aria-expanded", "false");
    button.setAttribute("aria-controls", `panel-${panel.id}`);
    button.addEventListener("click", () => this.toggle(panel.id));
    const section = element("section", { id: `panel-${panel.id}`, class: "panel", hidden: "", "aria-label": panel.title });
    const close = iconButton("Close", '<path d="M6 6l12 12M18 6L6 18"/>');
    close.addEventListener("click", () => this.close());
    section.append(element("header", {}, element("h2", {}, panel.title), close));
    this.drawer.append(section);
    this.bar.append(button);
    this.panels.set(panel.id, { panel, button, section, built: false });
    if (panel.key) this.addKey({ key: panel.key, does: panel.title, act: () => this.toggle(panel.id) });
  }
  /** A button of the tool bar that opens no panel. */
  addButton(label: string, icon: string, act: () => void, key?: string): HTMLButtonElement {
    const button = iconButton(label, icon, key);
    button.addEventListener("click", act);
    this.bar.append(button);
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
    }
    this.drawer.hidden = entry.section.hidden = false;
    entry.button.setAttribute("aria-expanded", "true");
    entry.panel.onOpen?.();
    entry.section.querySelector<HTMLElement>(".body button, .body input, .body select, header button")?.focus();
  }
  close(): void {
    const entry = this.openNow === null ? undefined : this.panels.get(this.openNow);
    this.openNow = null;
    if (!entry) return;
    this.drawer.hidden = entry.section.hidden = true;
    entry.button.setAttribute("aria-expanded", "false");
    if (entry.section.contains(document.activeElement) || document.activeElement === document.body) entry.button.focus();
    entry.panel.onClose?.();
  }
  /** Say something for a few seconds. */
  say(text: string, seconds = 4): void {
    this.status.textContent = text;
    window.clearTimeout(this.quiet);
    this.quiet = window.setTimeout(() => (this.status.textContent = ""), 1000 * seconds);
  }
  /** 0..1 of the loading; 1 hides the bar. */
  loading(done: number): void {
    this.meter.value = done;
    this.meter.hidden = done >= 1;
  }

  private pressed(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    const target = event.target as HTMLElement;
    if (event.key === "Escape") return this.close();
    if (target.matches("input, textarea, select, [contenteditable]")) return;
    const shortcut = this.keys.get(event.key.toLowerCase());
    if (!shortcut) return;
    event.preventDefault();
    shortcut.act(event);
  }
}

/** An element with attributes and children; strings become text. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

export function iconButton(label: string, icon: string, key?: string): HTMLButtonElement {
  const button = element("button", { type: "button", class: "icon", "aria-label": label, title: key ? `${label} (${key.toUpperCase()})` : label });
  button.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true">${icon}</svg>`; // icons are ours, never from a file
  if (key) button.setAttribute("aria-keyshortcuts", key);
  return button;
}

export function textButton(label: string, act: () => void): HTMLButtonElement {
  const button = element("button", { type: "button" }, label);
  button.addEventListener("click", act);
  return button;
}
