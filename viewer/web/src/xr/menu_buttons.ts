/** What the menu in the room offers. */

import type { MenuButton } from "./menu";
import { type Comfort, HEIGHT_STEP, type Settings, SPEEDS, VIGNETTES } from "./settings";
import type { Visit } from "./visit";

export function menuButtons(visit: Visit, settings: Settings, change: (part: Partial<Comfort>) => void): MenuButton[] {
  const comfort = settings.comfort;
  const buttons: MenuButton[] = [
    { id: "turn", label: "Turning", value: turnText(comfort), act: () => change(nextTurn(comfort)) },
    { id: "speed", label: "Walking", value: `${comfort.speed} m/s`, act: () => change({ speed: next(SPEEDS, comfort.speed) }) },
    { id: "vignette", label: "Narrow view", value: vignetteText(comfort.vignette), act: () => change({ vignette: next(VIGNETTES, comfort.vignette) }) },
    { id: "hand", label: "Main hand", value: comfort.hand, act: () => change({ hand: comfort.hand === "right" ? "left" : "right" }) },
    { id: "lower", label: "Lower", value: heightText(comfort.height), act: () => change({ height: comfort.height - HEIGHT_STEP }) },
    { id: "higher", label: "Higher", value: heightText(comfort.height), act: () => change({ height: comfort.height + HEIGHT_STEP }) },
    visit.size === "table"
      ? { id: "size", label: "Life-size", value: visit.trueScale.known ? "true scale" : "guessed scale", act: () => visit.arrange("life") }
      : { id: "size", label: "On a table", value: "60 cm", act: () => visit.arrange("table") },
    { id: "again", label: visit.mode === "immersive-ar" && visit.size === "table" ? "Place again" : "Start again", act: () => visit.arrange() },
    { id: "close", label: "Close menu", act: () => visit.menu.close() },
    { id: "leave", label: visit.mode === "immersive-vr" ? "Leave VR" : "Leave AR", act: () => void visit.session.end() },
  ];
  return buttons;
}

export function next<T>(values: readonly T[], now: T): T {
  return values[(values.indexOf(now) + 1) % values.length]!;
}
export function turnText({ turn, angle }: Comfort): string {
  return turn === "smooth" ? "smooth" : `${angle}° steps`;
}
export function vignetteText(vignette: number): string {
  return vignette === 0 ? "off" : vignette < 1 ? "soft" : "strong";
}
export function heightText(height: number): string {
  return height === 0 ? "as tracked" : `${height < 0 ? "−" : "+"}${Math.round(100 * Math.abs(height))} cm`;
}
/** 30 degree steps, 45 degree steps, smooth. */
function nextTurn({ turn, angle }: Comfort): Partial<Comfort> {
  if (turn === "smooth") return { turn: "snap", angle: 30 };
  return angle === 30 ? { angle: 45 } : { turn: "smooth" };
}
