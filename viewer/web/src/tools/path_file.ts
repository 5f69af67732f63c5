/** Camera path JSON, version 1: what the page writes and `recon render --path` films. Reading takes any text and gives a path that can
 * be played, or a PathError that says what is wrong. */

import { isRigid } from "./notes_data";
import type { CameraPath, Keyframe } from "./path_math";

/** For the visitor. */
export class PathError extends Error {}

export const MAX_PATH_BYTES = 16e6;
/** As in recon's viewer/paths.py. */
export const MOST_KEYFRAMES = 20000;
export const FPS = [0.1, 240] as const;
export const VFOV = [0.5, 170] as const;
const LONGEST_S = 86_400;
/** Keyframes of a path in a link. */
export const MAX_LINK_KEYFRAMES = 40;

/** A keyframe a line: a path of the most keyframes stays within the most bytes. */
export function pathToJson(path: CameraPath): string {
  const { fps, loop, keyframes } = path;
  const rows = keyframes.map(({ time, cam_from_world, vfov_deg, scene_time }) => JSON.stringify({ time, cam_from_world, vfov_deg, scene_time }));
  return `{"recon_path": 1, "fps": ${fps}, "loop": ${loop}, "keyframes": [\n${rows.join(",\n")}\n]}\n`;
}

export function pathFromJson(text: string): CameraPath {
  if (text.length > MAX_PATH_BYTES) throw new PathError(`A camera path has at most ${MAX_PATH_BYTES / 1e6} MB; this file is larger.`);
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    throw new PathError("This is no camera path: it is no JSON.");
  }
  return pathFromValue(raw);
}

export function pathFromValue(raw: unknown): CameraPath {
  const file = asObject(raw, "the file");
  if (file["recon_path"] !== 1) throw new PathError('This is no camera path that the page can read: expected "recon_path": 1.');
  if (typeof file["loop"] !== "boolean") throw new PathError('The path has no "loop", true or false.');
  const list = file["keyframes"];
  if (!Array.isArray(list) || !list.length) throw new PathError('The path has no list of "keyframes".');
  if (list.length > MOST_KEYFRAMES) throw new PathError(`The path has ${list.length} keyframes; the page reads at most ${MOST_KEYFRAMES}.`);
  const keyframes = list.map((item, i) => readKeyframe(asObject(item, `keyframe ${i + 1}`), `keyframe ${i + 1}`));
  for (const [i, { time }] of keyframes.entries()) {
    const before = keyframes[i - 1];
    if (before && !(time - before.time >= 1e-6)) throw new PathError(`Keyframe ${i + 1} does not come after the one before: times must rise.`);
  }
  if (keyframes.at(-1)!.time - keyframes[0]!.time > LONGEST_S) throw new PathError("The path takes longer than a day.");
  return { fps: number(file["fps"], FPS, "fps"), loop: file["loop"], keyframes };
}

function readKeyframe(item: Record<string, unknown>, where: string): Keyframe {
  const matrix = item["cam_from_world"];
  if (!Array.isArray(matrix) || matrix.length !== 16) throw new PathError(`${where}: expected 16 numbers as cam_from_world.`);
  const numbers = matrix.map((v) => number(v, [-1e9, 1e9], `${where}: cam_from_world`));
  if (!isRigid(numbers)) throw new PathError(`${where}: cam_from_world is no pose of a camera.`);
  const moment = item["scene_time"];
  return {
    time: number(item["time"], [-1e9, 1e9], `${where}: time`),
    cam_from_world: numbers,
    vfov_deg: number(item["vfov_deg"], VFOV, `${where}: vfov_deg`),
    scene_time: moment === null || moment === undefined ? null : number(moment, [-1e9, 1e9], `${where}: scene_time`),
  };
}

function asObject(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new PathError(`Expected an object: ${where}.`);
  return value as Record<string, unknown>;
}

function number(value: unknown, [low, high]: readonly [number, number], where: string): number {
  if (typeof value !== "number" || !Number.isFinite(value) || value < low || value > high) throw new PathError(`Expected a number between ${low} and ${high}: ${where}.`);
  return value;
}
