/** Notes: what one is, and reading them from files, links and the browser's storage. All of these may be hostile: plain text of
 * limited size comes out, or a NotesError that says what is wrong. */

import type { Triple } from "../manifest";

export interface Note {
  id: number;
  /** World frame of the files. */
  at: Triple;
  title: string;
  text: string;
  /** Where the camera stood: row-major 4x4 cam_from_world; and its angle. Flying to the note goes there. */
  view: { cam_from_world: number[]; vfov_deg: number } | null;
  /** When it was placed, seconds of a scene that moves; null: nothing moves. */
  time: number | null;
  /** Came with the published page: shown to all visitors, and not this visitor's to change. */
  published: boolean;
}

/** For the visitor. */
export class NotesError extends Error {}

export const MAX_NOTES = 500;
export const MAX_TITLE = 120;
export const MAX_TEXT = 4000;
export const MAX_FILE_BYTES = 4e6;
/** Notes whose text is longer than this stay out of links. */
export const MAX_LINK_CHARS = 4000;

/** The file of notes: what "Save notes" writes, "Load notes" reads, and `recon publish --notes FILE` publishes, UTF-8 JSON:
 *
 *     {"recon_notes": 1, "notes": [{"at": [x, y, z], "title": "…", "text": "…", "view": {"cam_from_world": [16 numbers], "vfov_deg": 50} | null, "time": s | null}]}
 *
 * `at` is in the world frame of the published files, in their units; `view` is where the camera stood, row-major, OpenCV, and its vertical
 * angle, 1 to 170; `time` (the key may be missing) is when, in a scene that moves. At most MAX_NOTES notes, MAX_TITLE and MAX_TEXT characters, MAX_FILE_BYTES bytes. Texts are plain text. */
export function notesToJson(notes: readonly Note[]): string {
  const plain = notes.map(({ at, title, text, view, time }) => ({ at, title, text, view, time }));
  return JSON.stringify({ recon_notes: 1, notes: plain }, null, 1) + "\n";
}

export function notesFromJson(text: string, firstId: number, published = false): Note[] {
  if (text.length > MAX_FILE_BYTES) throw new NotesError(`A file of notes has at most ${MAX_FILE_BYTES / 1e6} MB; this one is larger.`);
  let raw: unknown;
  try {
    raw = JSON.parse(text);
  } catch {
    throw new NotesError("This is no file of notes: it is no JSON.");
  }
  const file = asObject(raw, "the file");
  if (file["recon_notes"] !== 1) throw new NotesError('This is no file of notes that the page can read: expected "recon_notes": 1.');
  const list = file["notes"];
  if (!Array.isArray(list)) throw new NotesError('The file has no list called "notes".');
  if (list.length > MAX_NOTES) throw new NotesError(`The file has ${list.length} notes; at most ${MAX_NOTES} are read.`);
  return list.map((item, i) => readNote(asObject(item, `note ${i + 1}`), `note ${i + 1}`, firstId + i, published));
}

function readNote(item: Record<string, unknown>, where: string, id: number, published: boolean): Note {
  const [view, time] = [item["view"], item["time"] ?? null];
  return {
    id,
    at: numbers(item["at"], 3, `${where}: at`) as Triple,
    title: plainText(item["title"] ?? "", MAX_TITLE, `${where}: title`),
    text: plainText(item["text"] ?? "", MAX_TEXT, `${where}: text`),
    view: view === null || view === undefined ? null : readView(asObject(view, `${where}: view`), where),
    time: time === null ? null : numbers([time], 1, `${where}: time`)[0]!,
    published,
  };
}

function readView(view: Record<string, unknown>, where: string): NonNullable<Note["view"]> {
  const [vfov] = numbers([view["vfov_deg"]], 1, `${where}: vfov_deg`);
  if (!(vfov! >= 1 && vfov! <= 170)) throw new NotesError(`${where}: vfov_deg must lie between 1 and 170.`);
  const matrix = numbers(view["cam_from_world"], 16, `${where}: cam_from_world`);
  if (!isRigid(matrix)) throw new NotesError(`${where}: cam_from_world is no pose of a camera.`);
  return { cam_from_world: matrix, vfov_deg: vfov! };
}

/** Whether a row-major 4x4 is a rotation and a translation. */
export function isRigid(m: readonly number[]): boolean {
  const rows = [0, 4, 8].map((i) => [m[i]!, m[i + 1]!, m[i + 2]!]);
  const dot = (a: number[], b: number[]) => a[0]! * b[0]! + a[1]! * b[1]! + a[2]! * b[2]!;
  for (let i = 0; i < 3; i++) for (let j = 0; j <= i; j++) if (Math.abs(dot(rows[i]!, rows[j]!) - (i === j ? 1 : 0)) > 1e-3) return false;
  const [a, b, c] = rows as [number[], number[], number[]];
  const handed = dot(a, [b[1]! * c[2]! - b[2]! * c[1]!, b[2]! * c[0]! - b[0]! * c[2]!, b[0]! * c[1]! - b[1]! * c[0]!]);
  return handed > 0 && m[12] === 0 && m[13] === 0 && m[14] === 0 && m[15] === 1;
}

function asObject(value: unknown, where: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) throw new NotesError(`Expected an object: ${where}.`);
  return value as Record<string, unknown>;
}

function numbers(value: unknown, count: number, where: string): number[] {
  if (!Array.isArray(value) || value.length !== count || !value.every((v) => typeof v === "number" && Number.isFinite(v) && Math.abs(v) < 1e9))
    throw new NotesError(`Expected ${count} number${count === 1 ? "" : "s"}: ${where}.`);
  return value as number[];
}

function plainText(value: unknown, most: number, where: string): string {
  if (typeof value !== "string") throw new NotesError(`Expected a text: ${where}.`);
  if (value.length > most) throw new NotesError(`At most ${most} characters: ${where}.`);
  return cleanText(value);
}

/** Without control characters (lines stay) and without marks that turn the reading direction of what follows. */
export function cleanText(text: string): string {
  return text.replace(/\r\n?/g, "\n").replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g, "");
}

/** Whether two notes say the same of the same place. */
export function keyOf({ at, title, text }: Note): string {
  return JSON.stringify([at.map((x) => x.toFixed(4)), title, text]);
}

/** For a link: [x, y, z, title, text] each, and the time where there is one, or undefined when they are too long for one. */
export function packNotes(notes: readonly Note[]): unknown {
  const packed = notes.map(({ at, title, text, time }) => [...at, title, text, ...(time === null ? [] : [time])]);
  return packed.length && JSON.stringify(packed).length <= MAX_LINK_CHARS ? packed : undefined;
}

/** What a link says; what does not fit is left out. */
export function unpackNotes(value: unknown, firstId: number): Note[] {
  if (!Array.isArray(value)) return [];
  const notes: Note[] = [];
  for (const item of value.slice(0, MAX_NOTES)) {
    if (!Array.isArray(item) || (item.length !== 5 && item.length !== 6)) continue;
    try {
      notes.push(readNote({ at: item.slice(0, 3), title: item[3], text: item[4], time: item[5] }, "note", firstId + notes.length, false));
    } catch (error) {
      if (!(error instanceof NotesError)) throw error;
    }
  }
  return notes;
}
