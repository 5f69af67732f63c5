import { describe, expect, it } from "vitest";
import type { CapturedCamera } from "../src/manifest";
import { commandFor } from "../src/tools/known_distance";

/** Looks along +Y of the world from (x, -5, 0), 1 rad or so wide. */
function camera(name: string, x: number): CapturedCamera {
  const cam_from_world = [1, 0, 0, -x, 0, 0, -1, 0, 0, 1, 0, 5, 0, 0, 0, 1];
  return { name, cam_from_world, K: [1000, 1000, 500, 500], size: [1000, 1000], split: "train", photo: null, time: null };
}
const CAMERAS = [camera("a.jpg", 0), camera("b.jpg", 1), camera("c.jpg", 20), camera("d.jpg", 21)];
const figure = (x: number) => ({ id: 1, kind: "distance" as const, points: [[x, 0, 0], [x + 0.5, 0, 0]] as [number, number, number][] });

describe("the command that makes a known distance permanent", () => {
  it("names the photos that see the distance that was told, with its metres", () => {
    expect(commandFor(CAMERAS, { figure: figure(0), metres: 1.25, text: "1.25 m" })).toContain('"X,Y@a.jpg X,Y@b.jpg | X,Y@a.jpg X,Y@b.jpg = 1.25"');
    expect(commandFor(CAMERAS, { figure: figure(20), metres: 2, text: "2 m" })).toContain('"X,Y@c.jpg X,Y@d.jpg | X,Y@c.jpg X,Y@d.jpg = 2"');
  });
  it("leaves a gap for what it does not know, and quotes no name that a shell would read", () => {
    expect(commandFor(CAMERAS, null)).toContain("= METRES");
    const named = CAMERAS.map((c) => ({ ...c, name: `$(rm ${c.name})` }));
    expect(commandFor(named, { figure: figure(0), metres: 1, text: "1 m" })).not.toContain("$(");
  });
});
