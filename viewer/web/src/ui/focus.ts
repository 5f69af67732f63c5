/** Where the focus is, while parts of the page are made anew. */

/** Rebuild a part of the page; the focus stays on the element with the same data-focus, or on the part's next button. */
export function keepFocus(root: HTMLElement, rebuild: () => void): void {
  const focused = root.contains(document.activeElement) ? (document.activeElement as HTMLElement) : null;
  const index = focused ? [...root.querySelectorAll("button, input")].indexOf(focused) : -1;
  const name = focused?.dataset["focus"];
  rebuild();
  if (!focused) return;
  const all = [...root.querySelectorAll<HTMLElement>("button, input")];
  const again = (name && all.find((e) => e.dataset["focus"] === name)) || all[Math.min(index, all.length - 1)];
  (again ?? root.closest(".panel")?.querySelector<HTMLElement>(".body button"))?.focus({ preventScroll: true });
}
