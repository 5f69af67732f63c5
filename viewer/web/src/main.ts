/** The published page. `document.documentElement.dataset.recon` says where it is: loading, coarse, ready, error. */

import "./style.css";
import * as THREE from "three";
import { Content } from "./content/content";
import { readBody } from "./content/fetch";
import { MAX_MANIFEST_BYTES, type Manifest, PageError, parseManifest } from "./manifest";
import type { Page } from "./page";
import { LINK_SAYS, ShareState } from "./share_state";
import { element, Ui } from "./ui/ui";
import { Units } from "./units";
import { YUP_FROM_WORLD } from "./view/frames";
import { Navigation } from "./view/navigation";
import { Stage } from "./view/stage";
import { PARTS } from "./parts";

declare global {
  interface Window {
    /** For tests and for pages that embed this one. */
    recon?: Page;
  }
}

const root = document.documentElement;

async function start(container: HTMLElement): Promise<void> {
  const manifest = await readManifest();
  const stage = new Stage(container, (manifest.splats ?? manifest.moving)?.antialiased ?? false);
  stage.onLost = () => fail(container, new PageError("The graphics driver gave up, which happens when memory runs out. Reload the page, or publish with fewer splats."));
  const rig = new THREE.Group();
  const world = new THREE.Group();
  world.quaternion.copy(YUP_FROM_WORLD);
  rig.add(world);
  stage.scene.add(rig);
  setClip(stage, manifest);
  const ui = new Ui(container, manifest.title);
  const page: Page = {
    manifest,
    stage,
    renderer: stage.renderer,
    spark: stage.spark,
    camera: stage.camera,
    scene: stage.scene,
    rig,
    world,
    content: new Content(manifest, stage, world),
    navigation: new Navigation(manifest, stage),
    units: new Units(manifest.world.scale === "metric"),
    ui,
    share: new ShareState(),
  };
  window.recon = page;
  for (const install of PARTS) install(page);
  page.content.onProgress(({ state, done }) => {
    ui.loading(state === "ready" ? 1 : done);
    if (root.dataset["recon"] !== state && root.dataset["recon"] !== "error") {
      performance.mark(`recon-${state}`);
      root.dataset["recon"] = state;
    }
  });
  restore(page);
  window.addEventListener("hashchange", () => restore(page)); // a link pasted into the tab that shows this place
  await page.content.load();
}

/** Show what the address says. */
function restore({ share, ui }: Page): void {
  const restored = share.restore();
  const says = LINK_SAYS[restored];
  if (says) ui.say(says, 20);
  if (restored === "whole" || restored === "partly") history.replaceState(null, "", location.pathname + location.search); // a reload keeps what was done since
}

async function readManifest(): Promise<Manifest> {
  let response: Response;
  try {
    response = await fetch("./manifest.json");
  } catch {
    throw new PageError("manifest.json cannot be fetched. The page needs a web server: in its folder, `python -m http.server` starts one.");
  }
  if (!response.ok || !response.body) throw new PageError(`manifest.json is missing on the server (${response.status}). Copy the whole published folder.`);
  const bytes = await readBody(response.body, MAX_MANIFEST_BYTES);
  if (bytes === null) throw new PageError("manifest.json is larger than any that recon writes. Publish the scene again.");
  return parseManifest(new TextDecoder().decode(bytes));
}

function setClip(stage: Stage, manifest: Manifest): void {
  const size = new THREE.Vector3(...manifest.bounds.max).distanceTo(new THREE.Vector3(...manifest.bounds.min)) || 1;
  stage.setClip(size * 1e-3, size * 1e3);
}

/** Say what went wrong, instead of a blank page. */
function fail(container: HTMLElement, error: unknown): void {
  const known = error instanceof PageError;
  if (!known) console.error(error);
  const text = known ? error.message : `This page has a fault: ${error instanceof Error ? error.message : String(error)}`;
  root.dataset["recon"] = "error";
  container.querySelector(".failure")?.remove();
  container.append(element("div", { class: "failure", role: "alert" }, element("h2", {}, "This place cannot be shown"), element("p", {}, text)));
}

const app = document.getElementById("app");
if (app) start(app).catch((error: unknown) => fail(app, error));
