/** The mesh: loaded when it is first shown, drawn in its own colours, and met by rays. */

import * as THREE from "three";
import { GLTFLoader } from "three/addons/loaders/GLTFLoader.js";
import { acceleratedRaycast, MeshBVH } from "three-mesh-bvh";
import { type MeshFile, PageError } from "../manifest";
import { fetchBytes } from "./fetch";

const GLB_MAGIC = 0x46546c67;
/** Meshes of more triangles than this get a tree, so that a ray need not try them all. */
const TREE_FACES = 20_000;

export class Surface {
  readonly group = new THREE.Group();
  private loading: Promise<void> | null = null;

  constructor(
    readonly file: MeshFile,
    private readonly onShown: () => void,
  ) {
    this.group.quaternion.setFromAxisAngle(new THREE.Vector3(1, 0, 0), Math.PI / 2); // a glTF is +Y up
  }

  /** Rejects with a PageError that says what is wrong with the file. */
  load(onBytes: (bytes: number) => void = () => {}): Promise<void> {
    this.loading ??= this.read(onBytes).catch((error: unknown) => {
      this.loading = null;
      throw error;
    });
    return this.loading;
  }
  /** Where a ray in the frame of three.js meets the mesh first. */
  pick(ray: THREE.Ray): THREE.Vector3 | null {
    this.group.traverse((node) => {
      if (node instanceof THREE.Mesh) plant(node);
    });
    const caster = new THREE.Raycaster(ray.origin, ray.direction);
    caster.firstHitOnly = true;
    return caster.intersectObject(this.group, true)[0]?.point ?? null;
  }

  private async read(onBytes: (bytes: number) => void): Promise<void> {
    const bytes = await fetchBytes(this.file, onBytes);
    checkGlb(this.file.file, bytes);
    let scene: THREE.Group;
    try {
      scene = (await new GLTFLoader().parseAsync(bytes.buffer, "")).scene;
    } catch (error) {
      throw new PageError(`${this.file.file} is damaged (${error instanceof Error ? error.message : String(error)}). Publish the scene again.`);
    }
    scene.traverse((node) => {
      if (node instanceof THREE.Mesh) prepare(node as THREE.Mesh<THREE.BufferGeometry, THREE.Material>);
    });
    this.group.add(scene);
    this.onShown();
  }
}

/** A GLB whose parts all lie in the file itself. */
export function checkGlb(file: string, bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  function fail(what: string): never {
    throw new PageError(`${file} is damaged: ${what}. Publish the scene again.`);
  }
  if (bytes.length < 20 || view.getUint32(0, true) !== GLB_MAGIC || view.getUint32(4, true) !== 2) fail("it is no binary glTF 2");
  if (view.getUint32(8, true) !== bytes.length) fail("it was cut off");
  const length = view.getUint32(12, true);
  if (20 + length > bytes.length) fail("it was cut off");
  let json: { buffers?: { uri?: unknown }[]; images?: { uri?: unknown }[] };
  try {
    json = JSON.parse(new TextDecoder().decode(bytes.subarray(20, 20 + length))) as typeof json;
  } catch {
    fail("its description is no JSON");
  }
  if ([...(json.buffers ?? []), ...(json.images ?? [])].some((part) => part.uri !== undefined)) fail("it names other files");
}

/** Photographs hold their light already: show textures and vertex colours as they are; a bare mesh is lit from the eye. */
function prepare(mesh: THREE.Mesh<THREE.BufferGeometry, THREE.Material>): void {
  const { map = null } = mesh.material as THREE.MeshStandardMaterial;
  const vertexColors = mesh.geometry.hasAttribute("color");
  const side = THREE.DoubleSide;
  mesh.material.dispose();
  mesh.material = map || vertexColors ? new THREE.MeshBasicMaterial({ map, vertexColors, side }) : new THREE.MeshMatcapMaterial({ color: 0xd8d8d8, side });
  if (!mesh.geometry.hasAttribute("normal")) mesh.geometry.computeVertexNormals();
}

/** Give large meshes the tree that makes them quick to ask. */
function plant(mesh: THREE.Mesh): void {
  if (mesh.geometry.boundsTree || (mesh.geometry.index?.count ?? 0) / 3 <= TREE_FACES) return;
  mesh.geometry.boundsTree = new MeshBVH(mesh.geometry, { indirect: true });
  mesh.raycast = acceleratedRaycast;
}
