/** VR and AR from the page: buttons where a headset can be reached, a panel that says why where not. */

import "./xr.css";
import type { Page } from "../page";
import { element } from "../ui/ui";
import { addPanel, ICON_AR, ICON_VR } from "./panel";
import { browserStore, Settings } from "./settings";
import { floorKnown, type Mode, refusal, sessionInit, type Support, support } from "./support";
import { Visit } from "./visit";

declare global {
  interface Window {
    /** The visit in a headset that is going on, for tests and for pages that embed this one. */
    reconVisit?: Visit | null;
  }
}

export function installXr(page: Page): void {
  const settings = new Settings(browserStore());
  const overlay = element("div", { class: "xr-overlay", hidden: "" });
  page.ui.root.append(overlay);
  let found: Support | null = null;
  let busy = false;
  const enter = (mode: Mode) => {
    if (busy || page.renderer.xr.isPresenting) return;
    busy = true;
    visit(page, settings, mode, overlay)
      .catch((error: unknown) => page.ui.say(refusal(error), 8))
      .finally(() => (busy = false));
  };
  const panel = addPanel(page, settings, () => found, { vr: () => enter("immersive-vr"), ar: () => enter("immersive-ar") });
  const add = {
    vr: () => page.ui.addButton("Enter VR", ICON_VR, () => enter("immersive-vr"), undefined, { group: "xr", order: 0, short: "VR", id: "enter-vr" }),
    ar: () => page.ui.addButton("Enter AR", ICON_AR, () => enter("immersive-ar"), undefined, { group: "xr", order: 1, short: "AR", id: "enter-ar" }),
  };
  const buttons: { vr?: HTMLButtonElement; ar?: HTMLButtonElement } = {};
  const look = async () => {
    found = await support(navigator.xr, window.isSecureContext);
    for (const mode of ["vr", "ar"] as const) {
      if (found[mode]) buttons[mode] ??= add[mode]();
      if (buttons[mode]) buttons[mode].hidden = !found[mode];
    }
    panel.refresh();
  };
  navigator.xr?.addEventListener("devicechange", () => void look());
  void look();
}

/** Start a session; resolves when it shows its first pictures. */
async function visit(page: Page, settings: Settings, mode: Mode, overlay: HTMLElement): Promise<void> {
  const { xr } = page.renderer;
  const session = await navigator.xr!.requestSession(mode, sessionInit(mode, overlay));
  let running: Visit | null = null;
  try {
    const knowsFloor = await floorKnown(session);
    xr.setReferenceSpaceType(knowsFloor ? "local-floor" : "local");
    xr.setFramebufferScaleFactor(settings.comfort.sharpness);
    const ended = () => {
      xr.removeEventListener("sessionend", ended);
      overlay.hidden = true;
      overlay.replaceChildren();
      running?.end();
      running = window.reconVisit = null;
    };
    xr.addEventListener("sessionend", ended);
    running = window.reconVisit = new Visit(page, mode, session, settings, knowsFloor);
    fillOverlay(overlay, running, session);
    await xr.setSession(session);
  } catch (error) {
    await session.end().catch(() => undefined); // it may have ended by itself
    if (running) {
      running.end();
      window.reconVisit = null;
    }
    throw error;
  }
}

/** Buttons over the picture of a phone's camera, where there is no menu in the room to point at. */
function fillOverlay(overlay: HTMLElement, running: Visit, session: XRSession): void {
  if (session.domOverlayState?.type !== "screen") return;
  const button = (label: string, act: () => void) => {
    const made = element("button", { type: "button" }, label);
    made.addEventListener("beforexrselect", (event) => event.preventDefault());
    made.addEventListener("click", act);
    return made;
  };
  overlay.replaceChildren(
    button("Place again", () => running.arrange("table")),
    button("Life-size", () => running.arrange("life")),
    button("Leave AR", () => void session.end()),
  );
  overlay.hidden = false;
}
