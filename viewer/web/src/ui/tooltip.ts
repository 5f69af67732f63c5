/** One tooltip for all elements with data-tip: their label, and the key that does the same. */

import { element } from "./elements";

const DELAY_MS = 350;
const GAP_PX = 10;

export function startTooltips(root: HTMLElement): void {
  const label = element("span");
  const key = element("kbd");
  const tip = element("div", { class: "tip", "aria-hidden": "true", hidden: "" }, label, key);
  root.append(tip);
  let timer = 0;
  let tabbed = false;
  const hide = () => {
    window.clearTimeout(timer);
    tip.hidden = true;
  };
  const show = (target: Element) => {
    if (!target.isConnected) return;
    label.textContent = target.getAttribute("aria-label");
    const shortcut = target.getAttribute("aria-keyshortcuts");
    key.textContent = shortcut ?? "";
    key.hidden = !shortcut;
    tip.hidden = false;
    place(tip, target.getBoundingClientRect());
  };
  const owner = (event: Event) => (event.target instanceof Element ? event.target.closest("[data-tip]") : null);
  root.addEventListener("pointerover", (event) => {
    if (event.pointerType !== "mouse") return;
    const target = owner(event);
    hide();
    if (target) timer = window.setTimeout(() => show(target), DELAY_MS);
  });
  root.addEventListener("pointerdown", () => ((tabbed = false), hide()), true);
  root.addEventListener("focusin", (event) => {
    const target = owner(event);
    if (tabbed && target?.matches(":focus-visible")) show(target);
  });
  root.addEventListener("focusout", hide);
  window.addEventListener(
    "keydown",
    (event) => {
      tabbed = event.key === "Tab"; // a panel that opens puts the focus somewhere too
      if (event.key === "Escape") hide();
    },
    true,
  );
}

/** Beside the element on the side that has room: left of what stands at the right edge, else above. */
function place(tip: HTMLElement, at: DOMRect): void {
  const own = tip.getBoundingClientRect();
  const left = at.left - own.width - GAP_PX;
  const beside = left > 8 && at.right > window.innerWidth - 80;
  const x = beside ? left : Math.min(Math.max(8, at.left + (at.width - own.width) / 2), window.innerWidth - own.width - 8);
  const above = at.top - own.height - GAP_PX;
  const y = beside ? at.top + (at.height - own.height) / 2 : above > 8 ? above : at.bottom + GAP_PX;
  tip.style.transform = `translate(${Math.round(x)}px, ${Math.round(y)}px)`;
}
