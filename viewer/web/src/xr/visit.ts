/** One session in a headset, from its first frame to its end. */

import * as THREE from "three";
import type { Page } from "../page";
import type { Pose } from "../view/frames";
import { EYE_HEIGHT, footLevel, isSmall, lifeSize, onTable, type Person, type Scene, scaleLimits, sceneOf, standing, standLevel, tableSpot, tableYaw } from "./arrange";
import { Drawing } from "./draw";
import { Crop, leaveFlat } from "./flat";
import { Gestures } from "./gestures";
import { Ground } from "./ground";
import { type Held, Inputs, poseFrom } from "./input";
import { heading, HOME, type Placement, putRig } from "./locomotion";
import { Menu, type MenuButton } from "./menu";
import { menuButtons } from "./menu_buttons";
import { Pace } from "./pace";
import type { Comfort, Settings } from "./settings";
import type { Mode } from "./support";
import { Surfaces } from "./surfaces";

export type Size = "life" | "table";

const JOINTS = 25;
const SAY_MS = 500;
/** Metres from a wrist that still touch it. */
const WRIST = 0.1;

export class Visit {
  readonly menu: Menu;
  readonly pace: Pace;
  readonly drawing = new Drawing();
  size: Size;
  /** The model on the table still follows the mark on real surfaces. */
  placing = false;
  private readonly scene: Scene;
  private readonly life: number;
  private readonly ground: Ground;
  private readonly gestures: Gestures;
  private readonly inputs: Inputs;
  private readonly crop: Crop;
  private readonly surfaces: Surfaces | null;
  private readonly camera: Pose;
  private readonly back: () => void;
  private readonly stop: () => void;
  private head: Pose | null = null;
  private height: number;
  private begun = false;
  private said = 0;
  private readonly pressed = new Set<object>();

  constructor(
    private readonly page: Page,
    readonly mode: Mode,
    readonly session: XRSession,
    readonly settings: Settings,
    readonly knowsFloor: boolean,
  ) {
    this.camera = page.navigation.pose;
    this.back = leaveFlat(page);
    const { manifest } = page;
    const scene = sceneOf(manifest);
    this.life = lifeSize(scene, page.units.scale, manifest.cameras);
    this.scene = { ...scene, floor: standLevel(scene, this.life, manifest.cameras) };
    this.size = mode === "immersive-ar" || isSmall(this.scene, this.life) ? "table" : "life";
    this.ground = new Ground(this.scene.floor ?? this.scene.min.y);
    this.gestures = new Gestures(HOME, (a, b) => this.groundWithMesh().hit(a, b), scaleLimits(this.scene, this.life));
    this.inputs = new Inputs(session);
    this.crop = new Crop(page);
    this.surfaces = mode === "immersive-ar" ? new Surfaces(session) : null;
    this.menu = new Menu(manifest.title, () => this.buttons());
    this.height = settings.comfort.height;
    this.pace = new Pace(page, session);
    page.scene.add(this.drawing.object, this.menu.object);
    this.stop = page.stage.onFrame((seconds, delta, frame) => {
      if (frame) this.frame(frame, 1000 * seconds, delta);
    });
  }
  get placement(): Placement {
    return this.gestures.placement;
  }
  /** Where the hands hold things (room), by side. */
  grips: { left?: number[]; right?: number[] } = {};
  /** Metres in a unit that count as life-size, and whether that is known or guessed. */
  get trueScale(): { scale: number; known: boolean } {
    return { scale: this.life, known: this.page.units.scale !== null };
  }
  /** Put the place where a visit begins, in this size. */
  arrange(size: Size = this.size): void {
    if (!this.head) return;
    const person = this.person(this.head);
    this.size = size;
    this.placing = size === "table" && this.surfaces !== null;
    if (size === "table") this.setTable(tableSpot(person), tableYaw(person, this.camera));
    else this.gestures.reset(standing(this.scene, this.camera, person, this.life));
    this.ground.floor = footLevel(this.scene, this.placement, person);
    this.crop.on = size === "table" || this.mode === "immersive-ar";
    this.menu.refresh();
  }
  /** Sit higher or lower: the place goes the other way. */
  lift(height: number): void {
    const by = height - this.height;
    this.height = height;
    if (by === 0 || this.size === "table") return;
    const { position, ...rest } = this.placement;
    this.gestures.reset({ ...rest, position: position.clone().setY(position.y - by) });
  }
  end(): void {
    this.stop();
    this.inputs.close();
    this.surfaces?.close();
    this.pace.end();
    this.crop.on = false;
    this.page.scene.remove(this.drawing.object, this.menu.object);
    this.drawing.dispose();
    this.menu.dispose();
    this.back();
  }

  private person(head: Pose): Person {
    return { head, ground: (this.knowsFloor ? 0 : head.position.y - EYE_HEIGHT) - this.height };
  }
  private setTable(at: THREE.Vector3, yaw: number): void {
    const scale = this.mode === "immersive-vr" && isSmall(this.scene, this.life) ? this.life : null;
    this.gestures.reset(onTable(this.scene, at, yaw, scale));
  }
  private frame(frame: XRFrame, time: number, delta: number): void {
    const space = this.page.renderer.xr.getReferenceSpace();
    const viewer = space && frame.getViewerPose(space);
    if (!space || !viewer) return;
    const head = (this.head = poseFrom(viewer.transform));
    if (!this.begun) {
      this.begun = true;
      this.arrange();
    }
    const met = new Map<object, THREE.Vector3>();
    const hands = this.inputs.read(frame, space, (hand) => this.onMenu(hand, met));
    this.useMenu(hands, head);
    this.grips = Object.fromEntries(hands.map((hand) => [hand.side, hand.grip.position.toArray()]));
    const onSurface = this.settle(frame, space, hands, head);
    const comfort = this.settings.comfort;
    const shown = this.gestures.update({
      seconds: delta,
      head,
      hands: onSurface ? hands.map((hand) => ({ ...hand, busy: true })) : hands,
      comfort,
      teleports: this.mode === "immersive-vr",
      ground: this.person(head).ground,
    });
    putRig(this.page.rig, this.placement);
    this.crop.update();
    this.drawing.update(head, hands, shown, met, comfort.vignette, delta);
    this.drawing.joints(hands.map((hand) => joints(hand, frame, space)));
    this.pace.frame(time, frame);
    if (time - this.said < SAY_MS) return;
    this.said = time;
    this.menu.say(`${Math.round(this.pace.framesPerSecond)} pictures a second, at most ${this.pace.count.toLocaleString("en")} splats`);
  }

  private onMenu(hand: Held, met: Map<object, THREE.Vector3>): boolean {
    const hit = this.menu.hit(hand.ray);
    if (hit) met.set(hand.id, hit.at);
    return hit !== null;
  }
  private useMenu(hands: readonly Held[], head: Pose): void {
    let over: MenuButton | null = null;
    for (const hand of hands) {
      const button = hand.busy ? (this.menu.hit(hand.ray)?.button ?? null) : null;
      over ??= button;
      const press = hand.select && !this.pressed.has(hand.id);
      if (hand.select) this.pressed.add(hand.id);
      else this.pressed.delete(hand.id);
      if (press && button) button.act();
      if (hand.menu || (press && !hand.busy && this.atWrist(hand, hands))) this.menu.toggle(head);
      if (hand.again) this.arrange();
    }
    this.menu.hover(over);
    if (this.menu.open) this.menu.refresh();
  }
  /** Tracked hands have no button for the menu: the pinching hand touches the wrist of the other one. */
  private atWrist(hand: Held, hands: readonly Held[]): boolean {
    const { fingers } = hand;
    return fingers !== null && hands.some((other) => other.id !== hand.id && other.fingers !== null && other.fingers.wrist.distanceTo(fingers.tip) < WRIST);
  }
  /** A model that is being placed follows the real surface that is looked at, until a press leaves it there; true while
   * there is a surface. */
  private settle(frame: XRFrame, space: XRReferenceSpace, hands: readonly Held[], head: Pose): boolean {
    const at = this.placing && this.surfaces ? this.surfaces.hit(frame, space) : null;
    this.drawing.surface(at);
    if (!this.placing) return false;
    if (at) {
      this.setTable(at.position, heading(head.quaternion) - heading(this.camera.quaternion));
      this.ground.floor = footLevel(this.scene, this.placement, this.person(head));
    }
    if (hands.some((hand) => hand.select && !hand.busy)) {
      this.placing = false;
      this.menu.refresh();
    }
    return at !== null;
  }
  private buttons(): MenuButton[] {
    return menuButtons(this, this.settings, (change: Partial<Comfort>) => {
      this.settings.change(change);
      this.lift(this.settings.comfort.height);
    });
  }
  private groundWithMesh(): Ground {
    const { mesh } = this.page.content;
    let loaded = false;
    if (!this.ground.asked) mesh.traverse((node) => (loaded ||= (node as Partial<THREE.Mesh>).isMesh === true));
    if (loaded) {
      this.page.rig.updateMatrixWorld(true);
      this.ground.takeMesh(mesh, this.page.rig.matrixWorld.clone().invert());
    }
    return this.ground;
  }
}

function joints(hand: Held, frame: XRFrame, space: XRReferenceSpace): Float32Array | null {
  if (!hand.source.hand || !frame.getJointPose) return null;
  const found = new Float32Array(3 * JOINTS);
  let i = 0;
  for (const joint of hand.source.hand.values()) {
    const at = frame.getJointPose(joint, space)?.transform.position;
    if (!at || i === JOINTS) return null;
    found.set([at.x, at.y, at.z], 3 * i++);
  }
  return i === JOINTS ? found : null;
}
