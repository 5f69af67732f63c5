/** The bottom sheet of a narrow screen: its handle is dragged, or pressed to change between half and tall. */

import { element } from "./elements";

const HALF = 0.44;
const TALL = 0.82;
const CLOSE_BELOW = 0.2;
const SLOP_PX = 4;

export function sheetHandle(sheet: HTMLElement, close: () => void): HTMLButtonElement {
  const handle = element("button", { type: "button", class: "grab", "aria-label": "Make the panel taller" });
  const style = () => (sheet.parentElement ?? sheet).style; // what stands above the sheet follows it
  const set = (share: number) => {
    style().setProperty("--sheet", String(share));
    handle.setAttribute("aria-label", share > HALF ? "Make the panel lower" : "Make the panel taller");
  };
  const share = () => Number(style().getPropertyValue("--sheet") || HALF);
  let from: { y: number; share: number; moved: boolean } | null = null;
  handle.addEventListener("pointerdown", (event) => {
    from = { y: event.clientY, share: share(), moved: false };
    handle.setPointerCapture(event.pointerId);
  });
  handle.addEventListener("pointermove", (event) => {
    if (!from) return;
    const up = from.y - event.clientY;
    from.moved ||= Math.abs(up) > SLOP_PX;
    if (from.moved) style().setProperty("--sheet", String(Math.min(0.9, Math.max(0.08, from.share + up / window.innerHeight))));
  });
  const release = () => {
    if (!from?.moved) return;
    const now = share();
    if (now < CLOSE_BELOW) close();
    set(now < CLOSE_BELOW ? HALF : now > (HALF + TALL) / 2 ? TALL : HALF);
  };
  handle.addEventListener("pointerup", release);
  handle.addEventListener("pointercancel", release);
  handle.addEventListener("click", () => {
    if (!from?.moved) set(share() > HALF ? HALF : TALL);
    from = null;
  });
  return handle;
}
