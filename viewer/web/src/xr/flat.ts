/** What a session changes of the page, and how it is put back: the flat view after a visit is exactly the one before it. */

import * as THREE from "three";
import { SplatEdit, SplatEditRgbaBlendMode, SplatEditSdf, SplatEditSdfType } from "@sparkjsdev/spark";
import type { Page } from "../page";
import { cropBox } from "./arrange";
import { HOME, putRig } from "./locomotion";

/** Metres: nothing nearer to the eyes is drawn, and nothing farther. */
const NEAR = 0.05;
const FAR = 5000;
const STD_DEVS = Math.sqrt(8);

/** Remember the flat view and hand it over to a session; call what comes back when the session has ended. */
export function leaveFlat(page: Page): () => void {
  const { camera, stage, navigation } = page;
  const [position, quaternion] = [camera.position.clone(), camera.quaternion.clone()];
  const { near, far } = camera;
  const { lens } = stage;
  const { enabled } = navigation;
  const splats = splatsForXr(page);
  navigation.enabled = false;
  stage.setClip(NEAR, FAR);
  return () => {
    splats();
    putRig(page.rig, HOME);
    camera.position.copy(position);
    camera.quaternion.copy(quaternion);
    camera.scale.setScalar(1);
    camera.updateMatrixWorld(true);
    stage.setClip(near, far);
    stage.lens = lens;
    stage.resize();
    navigation.enabled = enabled;
    stage.invalidate();
  };
}

/** Three changes to Spark. Its order comes from one eye and is a few frames old: sorted by distance instead of by depth along the view
 * it does not depend on how the head is turned, so that turning the head shows no splats out of order (walking is slower than
 * turning). And it takes the picture of both eyes together for the size of the picture, so that its filter of 0.3 pixels would be
 * half as wide as high; each eye has its own size. And splats end at 1/55 instead of 1/255 of their opacity, which no eye sees and
 * which spares more than a quarter of the pixels. */
function splatsForXr({ spark }: Page): () => void {
  const { sortRadial, onBeforeRender, maxStdDev } = spark;
  spark.sortRadial = true;
  spark.maxStdDev = Math.min(maxStdDev, STD_DEVS);
  spark.onBeforeRender = function (this: typeof spark, renderer, scene, camera, ...rest) {
    onBeforeRender.call(this, renderer, scene, camera, ...rest);
    const { viewport } = camera as THREE.PerspectiveCamera;
    if (viewport && viewport.z > 0) this.uniforms.renderSize.value.set(viewport.z, viewport.w);
  };
  return () => {
    spark.sortRadial = sortRadial;
    spark.onBeforeRender = onBeforeRender;
    spark.maxStdDev = maxStdDev;
    spark.setDirty();
  };
}

/** Only what is inside the scene's box is shown: a model on a table ends where the subject ends. */
export class Crop {
  private readonly edit: SplatEdit;
  private readonly planes = Array.from({ length: 6 }, () => new THREE.Plane());
  private readonly box: { centre: THREE.Vector3; half: THREE.Vector3 };
  /** The clipping planes that materials had before. */
  private readonly materials = new Map<THREE.Material, THREE.Plane[] | null>();
  private readonly clipped: boolean;

  constructor(private readonly page: Page) {
    this.clipped = page.renderer.localClippingEnabled;
    this.box = cropBox(page.manifest.bounds);
    const sdf = new SplatEditSdf({ type: SplatEditSdfType.BOX, opacity: 0 });
    sdf.position.copy(this.box.centre);
    sdf.scale.copy(this.box.half);
    this.edit = new SplatEdit({ rgbaBlendMode: SplatEditRgbaBlendMode.MULTIPLY, invert: true, sdfSmooth: 0, softEdge: 0, sdfs: [sdf] });
    this.edit.add(sdf);
  }
  get on(): boolean {
    return this.edit.parent !== null;
  }
  set on(value: boolean) {
    if (value === this.on) return;
    if (value) this.page.world.add(this.edit);
    else {
      this.edit.removeFromParent();
      for (const [material, planes] of this.materials) material.clippingPlanes = planes;
      this.materials.clear();
    }
    this.page.renderer.localClippingEnabled = value || this.clipped;
    this.page.stage.invalidate();
  }
  /** Clipping planes stand in the frame of three.js and have to follow the place. */
  update(): void {
    if (!this.on) return;
    const { centre, half } = this.box;
    const axes = [new THREE.Vector3(1, 0, 0), new THREE.Vector3(0, 1, 0), new THREE.Vector3(0, 0, 1)];
    axes.forEach((axis, i) => {
      for (const [k, sign] of [-1, 1].entries()) {
        const normal = axis.clone().multiplyScalar(-sign);
        const point = centre.clone().addScaledVector(axis, sign * half.getComponent(i));
        this.planes[2 * i + k]!.setFromNormalAndCoplanarPoint(normal, point).applyMatrix4(this.page.world.matrixWorld);
      }
    });
    if (!this.page.content.mesh.visible) return;
    this.page.content.mesh.traverse((node) => {
      for (const material of [(node as Partial<THREE.Mesh>).material ?? []].flat()) {
        if (!this.materials.has(material)) this.materials.set(material, material.clippingPlanes);
        material.clippingPlanes = this.planes;
      }
    });
  }
}
