/** The visitor knows how long something is: this sets the scale of the page, in this browser and in the share link. */

import * as THREE from "three";
import type { CapturedCamera } from "../manifest";
import type { Page } from "../page";
import { select, labelled } from "../ui/fields";
import { element, hint, textButton } from "../ui/ui";
import { ICONS } from "../ui/icons";
import { type Figure, NAMES, valueOf, isWhole } from "./figures";
import { chainLength } from "./geometry";
import { METRES, metresOf, readScale } from "./lengths";
import type { Measure } from "./measure";
import { copyText, recall, remember } from "./store";

export interface KnownDistance {
  /** Whether the scale is the visitor's. */
  readonly active: boolean;
  /** What is to say about the scale. */
  readonly says: string;
  open: () => void;
  reset: () => void;
  howToKeep: () => HTMLElement[];
}

/** What the visitor has told, and of which measurement as it was then. */
export interface Given {
  figure: Figure;
  metres: number;
  text: string;
}

export function distanceDialogPart(page: Page, measure: Measure): KnownDistance {
  const metric = page.manifest.world.scale === "metric";
  const published = metric ? 1 : null;
  let given: Given | null = null;
  let active = false;
  const apply = (scale: number | null) => {
    active = scale !== null;
    if (scale === null) given = null;
    page.units.setScale(scale ?? published);
  };
  const remembered = readScale(recall(page, "scale"));
  if (remembered !== null) apply(remembered);
  page.share.register("scale", {
    save: () => (active ? (page.units.scale ?? undefined) : undefined),
    load: (value) => {
      const scale = readScale(value);
      if (scale !== null) apply(scale); // for this visit: what a link says stays out of the browser's memory
      return scale !== null;
    },
  });
  const use = (figure: Figure, metres: number, text: string) => {
    given = { figure: { ...figure, points: [...figure.points] }, metres, text };
    active = true;
    page.units.setKnownDistance(chainLength(figure.points), metres);
    remember(page, "scale", page.units.scale ?? undefined);
    page.ui.say("All lengths follow the known distance now.");
  };
  return {
    get active() {
      return active;
    },
    get says() {
      if (active) return `Lengths follow ${given ? `your known distance (${given.text})` : "a known distance"}, in this browser and in share links.`;
      return metric ? "This scene is in metres." : "This scene has no known scale: lengths are in its own units. Measure something whose length you know, and tell it.";
    },
    open: () => openDistanceDialog(page, measure, use),
    reset: () => {
      apply(null);
      remember(page, "scale", undefined);
      page.ui.say("The scale is the published one again.");
    },
    howToKeep: () => [
      hint("To make it permanent, mark both ends in two photos and publish again:"),
      element("code", { class: "command" }, commandFor(page.manifest.cameras, given)),
      textButton("Copy the command", () => void copyText(page, "Command", commandFor(page.manifest.cameras, given)), "plain", ICONS.copy),
    ],
  };
}

function openDistanceDialog(page: Page, measure: Measure, use: (figure: Figure, metres: number, text: string) => void): void {
  if (measure.draft && isWhole(measure.draft, measure.floor)) measure.finish();
  const figures = measure.figures.filter((f) => f.kind === "distance" && (valueOf(f, null) ?? 0) > 0);
  const start = () => (page.ui.open("measure"), measure.start("distance"));
  if (!figures.length) {
    page.ui.dialog("known-distance", "Known distance", [element("p", {}, "Measure something first whose length you know: a door, a sheet of paper, a tape on the floor. The longer it is, the better.")], [
      { label: "Measure a distance", weight: "primary", act: start },
    ]);
    return;
  }
  const choices = figures.map((f) => ({ value: String(f.id), label: `${NAMES[f.kind]} ${measure.figures.indexOf(f) + 1}: ${measure.text(f)}` }));
  const chosen = figures.find((f) => f.id === measure.selected) ?? figures[figures.length - 1]!;
  const which = select("Which measurement", choices, String(chosen.id));
  const length = element("input", { type: "text", inputmode: "decimal", id: "known-length", required: "", autocomplete: "off", placeholder: "1.25" });
  const unit = select("Unit", Object.keys(METRES).map((u) => ({ value: u, label: u })), "m");
  const wrong = element("p", { class: "hint warn", role: "alert", hidden: "" }, "Write a length greater than zero, such as 1.25.");
  page.ui.dialog("known-distance", "Known distance", [which.root, element("div", { class: "row" }, labelled("Its true length", length), unit.root), wrong], [
    { label: "Cancel" },
    {
      label: "Set the scale",
      weight: "primary",
      act: () => {
        const metres = metresOf(length.value, unit.input.value);
        const figure = figures.find((f) => String(f.id) === which.input.value);
        wrong.hidden = metres !== null;
        if (metres === null || !figure) return (length.focus(), false);
        use(figure, metres, `${length.value.trim()} ${unit.input.value}`);
        return true;
      },
    },
  ]);
  length.focus();
}

/** The command that makes the scale permanent; the two photos that see the distance from the most different directions stand in it. */
export function commandFor(cameras: readonly CapturedCamera[], given: Given | null): string {
  const [a, b] = given ? photosFor(cameras, given.figure) : ["A.jpg", "B.jpg"];
  return `recon align -w DIR --redo --known-distance "X,Y@${a} X,Y@${b} | X,Y@${a} X,Y@${b} = ${given ? Number(given.metres.toPrecision(6)) : "METRES"}"`;
}

function photosFor(cameras: readonly CapturedCamera[], figure: Figure): [string, string] {
  const ends = [figure.points[0]!, figure.points.at(-1)!].map((p) => new THREE.Vector3(...p));
  const middle = ends[0]!.clone().lerp(ends[1]!, 0.5);
  const seeing = cameras.flatMap((camera) => {
    const view = new THREE.Matrix4().set(...(camera.cam_from_world as Parameters<THREE.Matrix4["set"]>));
    const sees = ends.every((p) => {
      const c = p.clone().applyMatrix4(view);
      const [x, y] = [(camera.K[0] * c.x) / c.z + camera.K[2], (camera.K[1] * c.y) / c.z + camera.K[3]];
      return c.z > 0 && x > 0 && y > 0 && x < camera.size[0] && y < camera.size[1];
    });
    const centre = new THREE.Vector3().applyMatrix4(view.clone().invert());
    return sees ? [{ name: camera.name, towards: centre.sub(middle).normalize() }] : [];
  });
  let best: [string, string] = ["A.jpg", "B.jpg"];
  let widest = 1;
  for (const a of seeing.slice(0, 200))
    for (const b of seeing.slice(0, 200)) {
      const cosine = a.towards.dot(b.towards);
      if (cosine < widest - 1e-9 && a.name < b.name) [best, widest] = [[a.name, b.name], cosine];
    }
  return best.map((name) => (/^[\w./-]+$/.test(name) ? name : "PHOTO")) as [string, string];
}
