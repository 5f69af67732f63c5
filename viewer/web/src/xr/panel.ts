/** The panel on the page: what a headset can do here, how one moves, and comfort settings. */

import type { Page } from "../page";
import { select } from "../ui/fields";
import { element, hint, textButton } from "../ui/ui";
import { heightText, vignetteText } from "./menu_buttons";
import { type Comfort, type Settings, SHARPNESS, SPEEDS, VIGNETTES } from "./settings";
import type { Support } from "./support";

export const ICON_VR = '<path d="M3 8.5A2.5 2.5 0 0 1 5.500 6h13A2.500 2.500 0 0 1 21 8.500v7a2.500 2.500 0 0 1-2.500 2.500h-3l-2-3.200a1.800 1.800 0 0 0-3 0l-2 3.200h-3A2.500 2.500 0 0 1 3 15.500z"/>';
export const ICON_AR = '<path d="M12 7l5 2.900v5.700L12 18.500l-5-2.900V9.900zM12 12.600v5.900M12 12.600L7 9.900M12 12.600l5-2.700"/><path d="M3 7V4.500A1.500 1.500 0 0 1 4.500 3H7M17 3h2.500A1.500 1.500 0 0 1 21 4.500V7M21 17v2.500a1.500 1.500 0 0 1-1.500 1.500H17M7 21H4.500A1.500 1.500 0 0 1 3 19.500V17"/>';
const ICON_COMFORT = '<path d="M4 10.500A2 2 0 0 1 6 8.500h12a2 2 0 0 1 2 2v4a2 2 0 0 1-2 2h-2.600l-1.800-2.600a2 2 0 0 0-3.200 0l-1.800 2.600H6a2 2 0 0 1-2-2z"/><path d="M8 5.500h8M9.500 3h5"/>';

const HELP: readonly (readonly [string, string])[] = [
  ["Walk", "left stick, where you look"],
  ["Turn", "right stick to the side"],
  ["Teleport", "right stick forward or trigger, let go to land; with bare hands, hold a pinch still"],
  ["Grab", "grip button or a moving pinch; two hands turn and scale"],
  ["Menu", "A, B, X or Y; with bare hands, pinch at the other wrist"],
  ["Start again", "press the stick"],
];

export function addPanel(page: Page, settings: Settings, state: () => Support | null, enter: { vr: () => void; ar: () => void }): { refresh: () => void } {
  const top = element("div", { class: "xr-enter" });
  const refresh = () => {
    const now = state();
    const buttons: Node[] = [];
    if (now?.vr) buttons.push(textButton("Enter VR", enter.vr, "primary", ICON_VR));
    if (now?.ar) buttons.push(textButton("Enter AR", enter.ar, now.vr ? "plain" : "primary", ICON_AR));
    top.replaceChildren(...buttons, ...(now === null ? [hint("Looking for a headset…")] : now.why === null ? [] : [hint(now.why)]));
  };
  page.ui.addPanel({
    id: "xr",
    title: "VR and AR",
    short: "Headset",
    icon: ICON_COMFORT,
    key: "z",
    group: "xr",
    order: 2,
    build: (body) => {
      refresh();
      body.append(top, comfortForm(settings), help());
    },
    onOpen: refresh,
  });
  return { refresh };
}

function help(): HTMLElement {
  const list = element("dl", {});
  for (const [what, how] of HELP) list.append(element("dt", {}, what), element("dd", {}, how));
  return element("section", { class: "xr-keys", "aria-label": "How to move" }, element("h3", {}, "How to move"), list);
}

type Choice = { label: string; options: readonly (readonly [string, string])[]; get: () => string; set: (value: string) => void };

function comfortForm(settings: Settings): HTMLElement {
  const form = element("section", { class: "xr-comfort", "aria-label": "Comfort" }, element("h3", {}, "Comfort"));
  const refreshers: (() => void)[] = [];
  for (const choice of choices(settings)) {
    const field = select(choice.label, choice.options.map(([value, label]) => ({ value, label })), choice.get());
    field.input.addEventListener("change", () => choice.set(field.input.value));
    refreshers.push(() => (field.input.value = choice.get()));
    form.append(field.root);
  }
  const refresh = () => refreshers.forEach((act) => act());
  refresh();
  settings.onChange(refresh);
  return form;
}
function choices(settings: Settings): Choice[] {
  const change = (part: Partial<Comfort>) => settings.change(part);
  const numbers = (values: readonly number[], text: (value: number) => string) => values.map((v) => [String(v), text(v)] as const);
  const heights = Array.from({ length: 18 }, (_, i) => Math.round(100 * (-0.5 + 0.1 * i)) / 100);
  return [
    {
      label: "Turning",
      options: [["30", "in steps of 30°"], ["45", "in steps of 45°"], ["smooth", "smoothly"]],
      get: () => (settings.comfort.turn === "smooth" ? "smooth" : String(settings.comfort.angle)),
      set: (value) => change(value === "smooth" ? { turn: "smooth" } : { turn: "snap", angle: value === "45" ? 45 : 30 }),
    },
    { label: "Walking", options: numbers(SPEEDS, (v) => `${v} metres a second`), get: () => String(settings.comfort.speed), set: (v) => change({ speed: Number(v) }) },
    {
      label: "Narrow the view while moving",
      options: numbers(VIGNETTES, vignetteText),
      get: () => String(settings.comfort.vignette),
      set: (v) => change({ vignette: Number(v) }),
    },
    { label: "Height, for who sits", options: numbers(heights, heightText), get: () => String(settings.comfort.height), set: (v) => change({ height: Number(v) }) },
    {
      label: "Main hand",
      options: [["right", "right"], ["left", "left"]],
      get: () => settings.comfort.hand,
      set: (v) => change({ hand: v === "left" ? "left" : "right" }),
    },
    {
      label: "Sharpness (next visit)",
      options: numbers(SHARPNESS, (v) => `${Math.round(100 * v)} %`),
      get: () => String(settings.comfort.sharpness),
      set: (v) => change({ sharpness: Number(v) }),
    },
  ];
}
