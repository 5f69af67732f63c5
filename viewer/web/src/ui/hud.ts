/** What a tool that is at work says: one sentence, its buttons, and the keys that mean something while it is at work. */

import { element, textButton, type Weight } from "./elements";

export interface HudAction {
  label: string;
  act: () => void;
  /** KeyboardEvent.key that does the same; "Shift+Enter" is understood. */
  key?: string;
  weight?: Weight;
  disabled?: boolean;
}

export interface HudSpec {
  /** What to do now. */
  text: string;
  actions: readonly HudAction[];
  /** Escape. */
  cancel: () => void;
}

export class Hud {
  readonly root = element("section", { class: "hud", "aria-label": "Tool at work", hidden: "" });
  private readonly text = element("p", { "aria-live": "polite" });
  private readonly buttons = element("div", { class: "row" });
  private spec: HudSpec | null = null;

  constructor() {
    this.root.append(this.text, this.buttons);
  }

  show(spec: HudSpec | null): void {
    this.spec = spec;
    this.root.hidden = spec === null;
    if (!spec) return;
    if (this.text.textContent !== spec.text) this.text.textContent = spec.text;
    const focused = [...this.buttons.children].findIndex((b) => b === document.activeElement);
    const fresh = spec.actions.map((action) => {
      const button = textButton(action.label, action.act, action.weight);
      if (action.key) {
        button.setAttribute("aria-keyshortcuts", action.key);
        button.append(element("kbd", { "aria-hidden": "true" }, action.key === "Backspace" ? "⌫" : action.key));
      }
      button.disabled = action.disabled ?? false;
      return button;
    });
    this.buttons.replaceChildren(...fresh);
    if (focused >= 0) (fresh[focused]?.disabled === false ? fresh[focused] : fresh.find((b) => !b.disabled))?.focus();
  }
  /** Whether the key meant something. */
  press(event: KeyboardEvent): boolean {
    if (!this.spec) return false;
    const target = event.target as HTMLElement;
    if (event.key === "Escape") {
      event.preventDefault();
      this.spec.cancel();
      return true;
    }
    if (target.matches("button, a, input, textarea, select, summary")) return false;
    const name = event.shiftKey && event.key.length > 1 ? `Shift+${event.key}` : event.key;
    const action = this.spec.actions.find((a) => a.key === name && !a.disabled);
    if (!action) return false;
    event.preventDefault();
    action.act();
    return true;
  }
}
