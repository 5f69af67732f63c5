/** All keys and gestures. */

import type { Page } from "../page";
import { element } from "../ui/ui";

const ICON = '<circle cx="12" cy="12" r="9"/><path d="M9.2 9.3a2.9 2.9 0 1 1 4.2 2.6c-.9.5-1.4 1-1.4 2"/><path d="M12 17h.01"/>';
const MOVING: readonly (readonly [string, string])[] = [
  ["Arrow keys", "Turn"],
  ["W A S D", "Forward, left, back, right"],
  ["Q, E", "Down, up"],
  ["Shift", "Faster; with a drag: shift the picture"],
  ["Drag, one finger", "Turn"],
  ["Right drag, two fingers", "Shift"],
  ["Wheel, pinch", "Zoom to the pointer"],
  ["Double click, double tap", "Fly there"],
  ["Gamepad", "Sticks move and turn, triggers sink and rise, shoulder buttons step through the cameras, A flies to the middle, B starts over, Y changes the mode"],
  ["Escape", "Close the panel"],
];

export function installHelp(page: Page): void {
  const { ui } = page;
  const list = element("dl", { class: "keys" });
  ui.addPanel({
    id: "help",
    title: "Keys and gestures",
    icon: ICON,
    key: "h",
    group: "page",
    short: "Help",
    build: (body) => body.append(list),
    onOpen: () => {
      const keys = ui.shortcuts.filter(({ key }) => key !== "?").map(({ key, does }) => [keyName(key), does] as const);
      list.replaceChildren(...[...MOVING, ...keys].flatMap(([key, does]) => [element("dt", {}, element("kbd", {}, key)), element("dd", {}, does)]));
    },
  });
  ui.addKey({ key: "?", does: "Keys and gestures", act: () => ui.toggle("help") });
}

function keyName(key: string): string {
  return key === " " ? "Space" : key.length === 1 ? key.toUpperCase() : key;
}
