/** One file of splats, decoded: what is drawn and what is picked. */

import * as THREE from "three";
import { ExtSplats, SplatFileType, SplatMesh } from "@sparkjsdev/spark";
import { PageError, type SplatFile } from "../manifest";
import { DRAFT_LAYER } from "../view/draft";
import { fetchBytes } from "./fetch";
import { type Pickable, pickable, takeRows } from "./pick";
import { inflateSpz } from "./spz";

export interface LoadedSplats {
  mesh: SplatMesh;
  count: number;
  pick: Pickable;
}

export interface LoadOptions {
  onBytes?: (bytes: number) => void;
  signal?: AbortSignal;
  /** Places in float32 instead of float16. */
  exact: boolean;
  shDegree: number;
}

/** Fetch, check and decode a file. Rejects with a PageError that says what is wrong with it. */
export async function loadSplats(file: SplatFile, { onBytes = () => {}, signal, exact, shDegree }: LoadOptions): Promise<LoadedSplats> {
  return decodeSplats(file.file, await fetchBytes(file, onBytes, signal), file.count, { ...(signal && { signal }), exact, shDegree });
}

/** The same from the bytes of an SPZ file that is called `file`. */
export async function decodeSplats(file: string, fileBytes: Uint8Array<ArrayBuffer>, count: number, { signal, exact, shDegree }: LoadOptions): Promise<LoadedSplats> {
  const pick = pickable(await inflateSpz(file, fileBytes, count));
  signal?.throwIfAborted();
  const mesh = new SplatMesh({ fileBytes, fileType: SplatFileType.SPZ, extSplats: exact, raycastable: false, editable: true });
  mesh.maxSh = shDegree;
  try {
    await mesh.initialized;
  } catch (error) {
    throw new PageError(`${file} is damaged (${error instanceof Error ? error.message : String(error)}). Publish the scene again.`);
  }
  if (signal?.aborted) {
    mesh.dispose();
    signal.throwIfAborted();
  }
  return { mesh, count, pick };
}

/** How many of its splats a mesh draws. */
export function drawnOf({ mesh }: LoadedSplats): number {
  return (mesh.extSplats ?? mesh.packedSplats)?.numSplats ?? 0;
}

/** Draw only the first splats, which are the most important ones. */
export function drawFirst({ mesh, count }: LoadedSplats, share: number): void {
  const source = mesh.extSplats ?? mesh.packedSplats;
  if (source) source.numSplats = Math.floor(count * share);
}

/** Rows of the renderer's textures; arrays of splats are padded to whole rows. */
const ROW = 2048;
const BANDS = ["sh1", "sh2", "sh3a", "sh3b"] as const;

/** Splits an exactly held set into one mesh a group; frees the set. */
export function splitSplats(whole: LoadedSplats, owner: Uint16Array, groups: number): (LoadedSplats | null)[] {
  const source = whole.mesh.extSplats;
  if (!source) throw new Error("only exactly held splats can be split");
  const rows: number[][] = Array.from({ length: groups }, () => []);
  for (let i = 0; i < owner.length; i++) rows[owner[i]!]!.push(i);
  const parts = rows.map((chosen) => {
    if (chosen.length === 0) return null;
    const extra: Record<string, Uint32Array> = {};
    for (const band of BANDS) {
      const values = source.extra[band];
      if (values instanceof Uint32Array) extra[band] = takeWords(values, chosen);
    }
    const extArrays: [Uint32Array, Uint32Array] = [takeWords(source.extArrays[0], chosen), takeWords(source.extArrays[1], chosen)];
    const mesh = new SplatMesh({ extSplats: new ExtSplats({ extArrays, numSplats: chosen.length, extra }), raycastable: false });
    mesh.maxSh = whole.mesh.maxSh;
    return { mesh, count: chosen.length, pick: takeRows(whole.pick, chosen) };
  });
  whole.mesh.dispose();
  return parts;
}

/** The same splats once more, as a draft shows them. */
export function draftOf({ mesh }: LoadedSplats): SplatMesh {
  const { extSplats } = mesh;
  if (!extSplats) throw new Error("only exactly held splats can be a draft");
  const draft = new SplatMesh({ extSplats, raycastable: false });
  draft.maxSh = mesh.maxSh;
  draft.layers.set(DRAFT_LAYER);
  return draft;
}

/** Four words a splat. */
function takeWords(values: Uint32Array, rows: readonly number[]): Uint32Array {
  const taken = new Uint32Array(4 * ROW * Math.ceil(rows.length / ROW));
  rows.forEach((row, i) => taken.set(values.subarray(4 * row, 4 * row + 4), 4 * i));
  return taken;
}

/** Planes of what a camera sees, in the frame of an object. */
export function frustumPlanes(camera: THREE.Camera, frame: THREE.Object3D): [number, number, number, number][] {
  const matrix = new THREE.Matrix4().multiplyMatrices(camera.projectionMatrix, camera.matrixWorldInverse).multiply(frame.matrixWorld);
  return new THREE.Frustum().setFromProjectionMatrix(matrix).planes.map(({ normal: n, constant }) => [n.x, n.y, n.z, constant]);
}
