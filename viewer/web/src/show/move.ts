/** How to move: orbit, fly or walk; back to the start; the view in a share link. */

import type { Page } from "../page";
import { radioGroup, type RadioGroup } from "../ui/fields";
import { hint, textButton } from "../ui/ui";
import { type Mode, MODES } from "../view/navigation";
import { toYup } from "../view/frames";

const ICON = '<path d="M12 3v18M3 12h18M12 3l-3 3M12 3l3 3M12 21l-3-3M12 21l3-3M3 12l3-3M3 12l3 3M21 12l-3-3M21 12l-3 3"/>';
const NAMES: Record<Mode, string> = { orbit: "Orbit", fly: "Fly", walk: "Walk" };
const ABOUT: Record<Mode, string> = {
  orbit: "Turn round the place. Drag or one finger turns, the right button or two fingers shift, wheel or pinch zooms to the pointer.",
  fly: "Go anywhere. Drag or one finger looks round, W A S D move, Q and E sink and rise, Shift is faster.",
  walk: "Stay on the floor at eye height. Drag or one finger looks round, W A S D or two fingers walk.",
};

export function installMove(page: Page): void {
  const { navigation, ui, content } = page;
  navigation.picker = (x, y) => {
    const picked = content.raycastPixel(x, y);
    return picked && page.rig.localToWorld(toYup(picked.world));
  };
  let modes: RadioGroup<Mode> | null = null;
  const about = hint(ABOUT[navigation.mode]);
  ui.addPanel({
    id: "move",
    title: "Move",
    icon: ICON,
    key: "g",
    short: "Move",
    build: (body) => {
      modes = radioGroup("How to move", MODES.map((mode) => ({ value: mode, label: NAMES[mode] })), navigation.mode, (mode) => navigation.setMode(mode));
      modes.root.id = "modes";
      const reset = textButton("Back to the start", () => navigation.home());
      reset.id = "reset-view";
      body.append(modes.root, about, reset, hint("A double click or double tap flies to that place."));
    },
  });
  MODES.forEach((mode, i) =>
    ui.addKey({
      key: String(i + 1),
      does: `${NAMES[mode]}: ${ABOUT[mode].split(".")[0]!.toLowerCase()}`,
      act: () => {
        navigation.setMode(mode);
        ui.say(`${NAMES[mode]}. ${ABOUT[mode]}`);
      },
    }),
  );
  ui.addKey({ key: "r", does: "Back to the start", act: () => navigation.home() });
  navigation.onMode(() => {
    modes?.set(navigation.mode);
    about.textContent = ABOUT[navigation.mode];
    page.stage.canvas.dataset["mode"] = navigation.mode;
  });
  page.stage.canvas.dataset["mode"] = navigation.mode;
  page.share.register("view", {
    save: () => [navigation.mode, ...navigation.save()],
    load: (value) => {
      if (!Array.isArray(value) || !MODES.includes(value[0] as Mode)) return false;
      const numbers = value.slice(1) as unknown[];
      if (!numbers.every((n) => typeof n === "number")) return false;
      navigation.setMode(value[0] as Mode);
      return navigation.restore(numbers);
    },
  });
}
