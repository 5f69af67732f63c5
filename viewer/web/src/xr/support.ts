/** Whether this browser can enter VR or AR here, and what to do when it cannot. */

export type Mode = "immersive-vr" | "immersive-ar";

export interface Support {
  vr: boolean;
  ar: boolean;
  /** For the visitor, when neither is there. */
  why: string | null;
}

const NOT_SECURE =
  "Headsets show places only from addresses that begin with https. Start the server with `recon serve SITE --host 0.0.0.0 --tls`, " +
  "open the https address that it prints, and accept its certificate once.";
const NO_HEADSET = "This browser reaches no headset. Open the same address in the browser of a headset (Quest, Pico, Vision Pro), or on an Android phone for AR.";

export async function support(xr: XRSystem | undefined, secure: boolean): Promise<Support> {
  if (!secure) return { vr: false, ar: false, why: NOT_SECURE };
  if (!xr) return { vr: false, ar: false, why: NO_HEADSET };
  const can = (mode: Mode) => xr.isSessionSupported(mode).catch(() => false);
  const [vr, ar] = await Promise.all([can("immersive-vr"), can("immersive-ar")]);
  return { vr, ar, why: vr || ar ? null : NO_HEADSET };
}

/** local-floor when it is there, else local: the session starts either way. */
export function sessionInit(mode: Mode, overlay: HTMLElement | null): XRSessionInit {
  const optional = ["local-floor", "hand-tracking"];
  if (mode === "immersive-ar") optional.push("hit-test");
  const init: XRSessionInit = { requiredFeatures: ["local"], optionalFeatures: optional };
  if (overlay && mode === "immersive-ar") {
    optional.push("dom-overlay");
    init.domOverlay = { root: overlay };
  }
  return init;
}

export async function floorKnown(session: XRSession): Promise<boolean> {
  try {
    await session.requestReferenceSpace("local-floor");
    return true;
  } catch {
    return false;
  }
}

/** What a request for a session failed of, for the visitor. */
export function refusal(error: unknown): string {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError" || name === "SecurityError") return "The browser did not allow it. Allow this page to use the headset, and try again.";
  if (name === "InvalidStateError") return "The headset is already in use by another page.";
  return `The headset could not be entered: ${error instanceof Error ? error.message : String(error)}`;
}
