/** What the parts of the page share. A part is a function `install(page)`; it knows this interface and no other part. */

import type * as THREE from "three";
import type { SparkRenderer } from "@sparkjsdev/spark";
import type { Content } from "./content/content";
import type { Manifest } from "./manifest";
import type { Ui } from "./ui/ui";
import type { Navigation } from "./view/navigation";
import type { Stage } from "./view/stage";
import type { ShareState } from "./share_state";
import type { Units } from "./units";

export interface Page {
  readonly manifest: Manifest;
  /** Canvas, renderer, camera, loop. */
  readonly stage: Stage;
  readonly renderer: THREE.WebGLRenderer;
  readonly spark: SparkRenderer;
  readonly camera: THREE.PerspectiveCamera;
  /** +Y up; lights and what belongs to the frame of three.js. */
  readonly scene: THREE.Scene;
  /** Moves, turns and scales the place as a whole (VR, AR); identity on a flat screen. Child of `scene`. */
  readonly rig: THREE.Group;
  /** Its children stand in the world frame of the files, +Z up. Child of `rig`. */
  readonly world: THREE.Group;
  /** Splats and mesh. */
  readonly content: Content;
  /** How the camera moves. */
  readonly navigation: Navigation;
  /** How lengths are written. */
  readonly units: Units;
  /** Tool bar, panels, messages. */
  readonly ui: Ui;
  /** What a share link restores. */
  readonly share: ShareState;
}
