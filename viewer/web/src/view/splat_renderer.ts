/** Spark's renderer with many splats in each instance. Spark draws every splat as an instance of four vertices; renderers that begin
 * anew with each instance (all that draw on the CPU, and most GPUs to some degree) then spend their time on beginnings. And a splat's
 * square ends where the splat does: a faint one falls below the least alpha well within the largest number of standard deviations. */

import * as THREE from "three";
import { SparkRenderer, type SparkRendererOptions } from "@sparkjsdev/spark";

/** Splats drawn by one instance. The last instance is filled up with empty ones, so that small scenes want it small. */
const PER_INSTANCE = 512;
const CORNERS = [-1, -1, 1, -1, 1, 1, -1, 1];
const TRIANGLES = [0, 1, 2, 0, 2, 3];

const INSTANCE = "gl_InstanceID";
const EDGE = "adjustedStdDev = maxStdDev;";
const MAIN = "void main() {";

export class SplatRenderer extends SparkRenderer {
  private readonly drawnSplats = { value: 0 };

  /** `layer`: it draws the splats of this layer alone. */
  constructor(
    options: SparkRendererOptions,
    private readonly layer = 0,
  ) {
    super(options);
    this.geometry.dispose();
    this.geometry = batchGeometry();
    this.material.vertexShader = batchShader(this.material.vertexShader);
    this.material.uniforms.drawnSplats = this.drawnSplats;
  }

  override onBeforeRender(renderer: THREE.WebGLRenderer, scene: THREE.Scene, camera: THREE.Camera): void {
    const { mask } = camera.layers;
    if (!renderer.xr.isPresenting) camera.layers.set(this.layer);
    super.onBeforeRender(renderer, scene, camera);
    camera.layers.mask = mask;
    this.drawnSplats.value = this.activeSplats;
    (this.geometry as THREE.InstancedBufferGeometry).instanceCount = Math.ceil(this.activeSplats / PER_INSTANCE);
  }
  /** Collect and sort the splats for a view, whether they are drawn now or not. Resolves when they can be drawn, or at the deadline. */
  async collect(scene: THREE.Scene, camera: THREE.Camera, deadline: number): Promise<void> {
    const view = camera.clone();
    view.layers.set(this.layer);
    await this.update({ scene, camera: view });
    while (!this.collected && performance.now() < deadline) await new Promise((resolve) => setTimeout(resolve, 16));
  }
  /** Whether all splats that stand in the scene are collected and sorted. */
  get collected(): boolean {
    return !this.sorting && !this.sortDirty && this.display.mappingVersion === this.current.mappingVersion;
  }
}

/** PER_INSTANCE squares; z of a corner is the number of its square. */
function batchGeometry(): THREE.InstancedBufferGeometry {
  const geometry = new THREE.InstancedBufferGeometry();
  const squares = Array.from({ length: PER_INSTANCE }, (_, i) => i);
  const corner = (i: number) => [0, 2, 4, 6].flatMap((c) => [CORNERS[c]!, CORNERS[c + 1]!, i]);
  geometry.setAttribute("position", new THREE.Float32BufferAttribute(squares.flatMap(corner), 3));
  geometry.setIndex(squares.flatMap((i) => TRIANGLES.map((t) => 4 * i + t)));
  return geometry;
}

/** Spark's vertex shader, made to read which splat it draws from the instance and the square. Throws when the shader is another one. */
export function batchShader(shader: string): string {
  for (const part of [INSTANCE, EDGE, MAIN]) if (!shader.includes(part)) throw new Error(`Spark's vertex shader has no ${part} any more.`);
  const number = `gl_InstanceID * ${PER_INSTANCE} + int(position.z)`;
  const begin = `uniform int drawnSplats;\n\n${MAIN}
    int splatNumber = ${number};
    if (splatNumber >= drawnSplats) {
        gl_Position = vec4(0.0, 0.0, 2.0, 1.0);
        return;
    }`;
  const edge = "adjustedStdDev = min(maxStdDev, sqrt(2.0 * log(max(1.0, rgba.a / minAlpha))));";
  return shader.replaceAll(INSTANCE, "splatNumber").replace(EDGE, edge).replace(MAIN, begin);
}
