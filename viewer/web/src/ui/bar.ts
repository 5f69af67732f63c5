/** The tool bar: buttons in groups, along the right edge, or along the bottom of a narrow screen. What does not fit stands behind "More". */

import { element, iconButton } from "./elements";
import { ICONS } from "./icons";

/** In the order of the bar: looking at the place, working in it, stepping into it, the page itself. */
export type Group = "view" | "tools" | "xr" | "page";
const GROUPS: readonly { id: Group; label: string }[] = [
  { id: "view", label: "View" },
  { id: "tools", label: "Tools" },
  { id: "xr", label: "VR and AR" },
  { id: "page", label: "Page" },
];
const BUTTON_PX = 46;
const SEPARATOR_PX = 9;
/** On a narrow screen the buttons have captions. */
const NARROW_BUTTON_PX = 62;
export const NARROW = "(max-width: 640px)";
export const LOW = "(max-height: 480px)";

interface Entry {
  button: HTMLButtonElement;
  group: Group;
  order: number;
}

export class Bar {
  readonly root = element("nav", { class: "bar", "aria-label": "Tools" });
  readonly more = iconButton("More tools", ICONS.more, undefined, "More");
  /** Where the buttons stand that do not fit. */
  readonly rest = element("div", { class: "rest" });
  private readonly entries: Entry[] = [];
  private readonly groups = new Map<Group, HTMLElement>();
  private pending = false;

  constructor(private readonly container: HTMLElement) {
    for (const { id, label } of GROUPS) {
      const group = element("div", { class: "group", role: "group", "aria-label": label, hidden: "" });
      this.groups.set(id, group);
      this.root.append(group);
    }
    this.more.hidden = true;
    this.more.id = "more";
    this.root.append(this.more);
    new ResizeObserver(() => this.arrange()).observe(container);
  }

  add(button: HTMLButtonElement, group: Group, order: number): void {
    this.entries.push({ button, group, order });
    this.root.append(button); // at once in the page; in its place with the next arrangement
    if (this.pending) return;
    this.pending = true;
    queueMicrotask(() => this.arrange());
  }
  /** Whether a button stands behind "More". */
  hides(button: HTMLElement): boolean {
    return this.rest.contains(button);
  }

  private arrange(): void {
    this.pending = false;
    const focused = document.activeElement;
    const rank = (entry: Entry) => GROUPS.findIndex((g) => g.id === entry.group);
    const sorted = this.entries.filter((e) => !e.button.hidden).sort((a, b) => rank(a) - rank(b) || a.order - b.order);
    const room = this.room();
    const kept = sorted.length <= room ? sorted : sorted.slice(0, room - 1);
    for (const { button, group } of kept) this.groups.get(group)!.append(button);
    this.rest.replaceChildren(...sorted.slice(kept.length).map((e) => e.button));
    this.more.hidden = kept.length === sorted.length;
    for (const group of this.groups.values()) group.hidden = !group.hasChildNodes();
    if (focused instanceof HTMLElement && focused !== document.activeElement && this.root.contains(focused)) focused.focus();
  }
  /** How many buttons fit. */
  private room(): number {
    if (window.matchMedia(NARROW).matches) return Math.max(2, Math.floor((this.container.clientWidth - 8) / NARROW_BUTTON_PX));
    return Math.max(2, Math.floor((this.container.clientHeight - 32 - SEPARATOR_PX * (GROUPS.length - 1)) / BUTTON_PX));
  }
}
