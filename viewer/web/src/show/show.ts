/** What is shown: splats, mesh or both, how many splats, colours, background, and what it costs. */

import type { Shown } from "../content/content";
import { PageError } from "../manifest";
import type { Page } from "../page";
import { radioGroup, toggle } from "../ui/fields";
import { element } from "../ui/ui";
import { wordSlider } from "./controls";
import "./show.css";

const ICON = '<path d="M2 12s3.6-6.5 10-6.5S22 12 22 12s-3.6 6.5-10 6.5S2 12 2 12z"/><circle cx="12" cy="12" r="3"/>';
const SHOWN: Record<Shown, string> = { splats: "Splats", mesh: "Mesh", both: "Both" };
const GROUNDS = [
  { value: "#000000", label: "Black" },
  { value: "#7f7f7f", label: "Grey" },
  { value: "#ffffff", label: "White" },
];
const COLOUR = /^#[0-9a-f]{6}$/;

export function installShow(page: Page): void {
  const { content, ui, stage, manifest } = page;
  const refresh: (() => void)[] = [];
  let ground = "#000000";
  const setGround = (colour: string) => {
    ground = colour;
    stage.renderer.setClearColor(colour, 1);
    stage.invalidate();
    for (const each of refresh) each();
  };
  const show = (what: Shown) => {
    content.show(what);
    for (const each of refresh) each();
  };
  ui.addPanel({
    id: "show",
    title: "Show",
    icon: ICON,
    key: "v",
    short: "Show",
    build: (body) => {
      if (content.choices.length > 1) {
        const what = radioGroup("What is shown", content.choices.map((value) => ({ value, label: SHOWN[value] })), content.shown, show);
        what.root.id = "shown";
        refresh.push(() => what.set(content.shown));
        body.append(what.root);
      }
      if (manifest.splats || manifest.moving) body.append(quality(page));
      if (content.hasViewDependentColour) {
        const sh = toggle("Colours change with the view", content.viewDependentColour, (on) => (content.viewDependentColour = on), "view-dependent");
        refresh.push(() => (sh.input.checked = content.viewDependentColour));
        body.append(sh.root);
      }
      body.append(background(setGround, refresh, () => ground), statistics(page));
    },
  });
  if (content.choices.length > 1)
    ui.addKey({
      key: "b",
      does: "Splats, mesh, both in turn",
      act: () => {
        show(content.choices[(content.choices.indexOf(content.shown) + 1) % content.choices.length]!);
        ui.say(SHOWN[content.shown]);
      },
    });
  content.onFault((error) => {
    if (!(error instanceof PageError)) console.error(error);
    ui.say(error instanceof PageError ? error.message : "A part of the place could not be loaded.", 20);
  });
  page.share.register("show", {
    save: () => (content.shown === content.choices[0] && ground === "#000000" && content.viewDependentColour ? undefined : [content.shown, ground, content.viewDependentColour]),
    load: (value) => {
      if (!Array.isArray(value)) return false;
      if (content.choices.includes(value[0] as Shown)) show(value[0] as Shown);
      if (typeof value[1] === "string" && COLOUR.test(value[1])) setGround(value[1]);
      if (value[2] === false) content.viewDependentColour = false;
      return true;
    },
  });
}

function quality(page: Page): HTMLElement {
  const { content } = page;
  const percent = wordSlider(
    "Splats drawn",
    "quality",
    { min: 5, max: 100, step: 5, value: 100 },
    (value) => (value === 100 ? "all" : `${value} %`),
    (value) => content.setBudget(value === 100 ? null : Math.round((content.held * value) / 100)),
  );
  return percent.root;
}

function background(set: (colour: string) => void, refresh: (() => void)[], now: () => string): HTMLElement {
  const own = element("input", { type: "color", id: "ground-own" });
  own.addEventListener("input", () => set(own.value));
  const grounds = radioGroup("Background", GROUNDS, "#000000", set);
  grounds.root.id = "ground";
  grounds.root.append(element("label", { class: "toggle", for: own.id }, element("span", {}, "Another colour"), own));
  const tell = () => {
    own.value = now();
    for (const input of grounds.root.querySelectorAll<HTMLInputElement>("input[type=radio]")) input.checked = input.value === now();
  };
  refresh.push(tell);
  tell();
  return grounds.root;
}

function statistics(page: Page): HTMLElement {
  const cells = ["Splats", "Of published", "Frame", "Picture"].map((name) => [name, element("dd", {}, "–")] as const);
  const list = element("dl", { class: "statistics", "aria-label": "Statistics" }, ...cells.flatMap(([name, cell]) => [element("dt", {}, name), cell]));
  const [drawn, published, frame, picture] = cells.map(([, cell]) => cell) as [HTMLElement, HTMLElement, HTMLElement, HTMLElement];
  let last = -Infinity;
  page.stage.onFrame((seconds) => {
    if (seconds - last < 0.5 || list.offsetParent === null) return;
    last = seconds;
    drawn.textContent = page.content.drawn.toLocaleString("en");
    published.textContent = ((page.manifest.splats ?? page.manifest.moving)?.count ?? page.content.held).toLocaleString("en");
    frame.textContent = page.stage.frameMs === null ? "–" : `${page.stage.frameMs.toFixed(1)} ms`;
    picture.textContent = `${page.stage.canvas.width} × ${page.stage.canvas.height}`;
  });
  return list;
}
