import { describe, expect, it } from "vitest";
import { cleanText, isRigid, MAX_NOTES, MAX_TEXT, MAX_TITLE, type Note, notesFromJson, notesToJson, packNotes, unpackNotes } from "../src/tools/notes_data";

const pose = [0, -1, 0, 1, 0, 0, -1, 2, 1, 0, 0, 3, 0, 0, 0, 1];
const note: Note = { id: 1, at: [1, -2, 0.5], title: "Door", text: "<b>Oak</b>\nSecond line", view: { cam_from_world: pose, vfov_deg: 50 }, time: null, published: false };
const file = (notes: unknown) => JSON.stringify({ recon_notes: 1, notes });

describe("notes in files", () => {
  it("come back as they were, marks and all", () => {
    expect(notesFromJson(notesToJson([note, { ...note, id: 2, view: null, time: 1.25 }]), 1)).toEqual([note, { ...note, id: 2, view: null, time: 1.25 }]);
  });
  it("that are published are marked so", () => expect(notesFromJson(notesToJson([note]), 7, true)[0]).toMatchObject({ id: 7, published: true }));
  it("need neither text nor view", () => expect(notesFromJson(file([{ at: [0, 0, 0] }]), 1)[0]).toMatchObject({ title: "", text: "", view: null }));
  it("lose what is no text: control characters and marks that turn the reading direction", () => {
    expect(cleanText("a\u0000b\u202ec\u2066d\r\ne\tf\u0085")).toBe("abcd\ne\tf");
    expect(notesFromJson(file([{ at: [0, 0, 0], title: "x\u202egpj.exe" }]), 1)[0]!.title).toBe("xgpj.exe");
  });
  const bad: [string, string][] = [
    ["no JSON", "{"],
    ["a list", "[]"],
    ["another version", JSON.stringify({ recon_notes: 2, notes: [] })],
    ["no list", JSON.stringify({ recon_notes: 1, notes: {} })],
    ["too many", file(Array(MAX_NOTES + 1).fill({ at: [0, 0, 0] }))],
    ["a note that is no object", file(["x"])],
    ["no place", file([{ title: "x" }])],
    ["a place of words", file([{ at: ["0", 0, 0] }])],
    ["a place that is far beyond all", file([{ at: [1e12, 0, 0] }])],
    ["a title that is no text", file([{ at: [0, 0, 0], title: { toString: 1 } }])],
    ["a title too long", file([{ at: [0, 0, 0], title: "x".repeat(MAX_TITLE + 1) }])],
    ["a text too long", file([{ at: [0, 0, 0], text: "x".repeat(MAX_TEXT + 1) }])],
    ["a view that is no pose", file([{ at: [0, 0, 0], view: { cam_from_world: pose.map((v) => 2 * v), vfov_deg: 50 } }])],
    ["an angle beyond all", file([{ at: [0, 0, 0], view: { cam_from_world: pose, vfov_deg: 1000 } }])],
    ["more than all bytes", " ".repeat(4_000_001)],
  ];
  it.each(bad)("are refused with %s", (_, text) => expect(() => notesFromJson(text, 1)).toThrow(/note|file|Expected|most/));
});

describe("notes in links", () => {
  it("come back without their views, with their times", () => {
    const notes = [note, { ...note, id: 2, time: 0.5 }];
    expect(unpackNotes(JSON.parse(JSON.stringify(packNotes(notes))), 1)).toEqual(notes.map((n) => ({ ...n, view: null })));
  });
  it("stay out when they are long, or none", () => {
    expect(packNotes([{ ...note, text: "x".repeat(3990) }])).toBeUndefined();
    expect(packNotes([])).toBeUndefined();
  });
  it("leave out what does not fit", () => {
    expect(unpackNotes([null, 1, [0, 0, 0, "t"], [0, 0, "0", "t", "x"], [0, 0, 0, 1, "x"], [0, 0, 0, "t".repeat(200), "x"], [0, 0, 0, "t", "x"]], 3)).toEqual([
      { id: 3, at: [0, 0, 0], title: "t", text: "x", view: null, time: null, published: false },
    ]);
    expect(unpackNotes({ length: 1 }, 1)).toEqual([]);
  });
});

describe("a pose", () => {
  it("is a rotation and a shift", () => {
    expect(isRigid(pose)).toBe(true);
    expect(isRigid(pose.map((v, i) => (i < 3 ? -v : v)))).toBe(false); // a mirror
    expect(isRigid([...pose.slice(0, 15), 2])).toBe(false);
  });
});
