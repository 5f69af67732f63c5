import * as THREE from "three";
import { describe, expect, it } from "vitest";
import { camFromWorld } from "../../src/view/frames";
import { footLevel, isSmall, lifeSize, onTable, type Person, type Scene, scaleLimits, standing, standLevel, tableSpot } from "../../src/xr/arrange";
import { Ground } from "../../src/xr/ground";
import { heading, toPlace, toRoom } from "../../src/xr/locomotion";
import { DEFAULTS, parseComfort, Settings } from "../../src/xr/settings";
import { refusal, sessionInit, support } from "../../src/xr/support";

const v = (x: number, y: number, z: number) => new THREE.Vector3(x, y, z);
const about = (angle: number) => new THREE.Quaternion().setFromAxisAngle(v(0, 1, 0), angle);
const SCENE: Scene = { min: v(-4, -1, -2), max: v(4, 3, 2), floor: -1 };
const PERSON: Person = { head: { position: v(0.5, 1.7, 0.2), quaternion: about(0.4) }, ground: 0 };
const CAMERA = { position: v(2, 2, 3), quaternion: about(-0.9) };
const camera = (y: number) => ({ cam_from_world: camFromWorld({ position: v(0, y, 0), quaternion: about(0) }) });

describe("scale", () => {
  it("is what is known", () => expect(lifeSize(SCENE, 1, [])).toBe(1));
  it("is guessed from how high cameras are held", () => expect(lifeSize(SCENE, null, [camera(2), camera(1.9), camera(9)])).toBeCloseTo(0.5));
  it("stays sensible when that says nothing", () => {
    expect(lifeSize(SCENE, null, [camera(-0.999)]) * 8).toBeCloseTo(40);
    expect(lifeSize({ ...SCENE, floor: null }, null, [camera(1)]) * 8).toBeCloseTo(4);
  });
  it("has limits on both sides of life-size", () => {
    const [min, max] = scaleLimits(SCENE, 1);
    expect(min).toBeLessThanOrEqual(0.1 / 8);
    expect(max).toBeGreaterThanOrEqual(10);
  });
});

describe("what people stand on", () => {
  it("is the floor where cameras were held as high as people are", () => expect(standLevel(SCENE, 1, [camera(0.4), camera(0.6), camera(0.5)])).toBe(-1));
  it("is below a table that was photographed from close above", () => expect(standLevel(SCENE, 1, [camera(-0.5)])).toBeCloseTo(-2));
  it("is unknown without a floor", () => expect(standLevel({ ...SCENE, floor: null }, 1, [camera(1)])).toBeNull());
});

describe("life-size", () => {
  const placed = standing(SCENE, CAMERA, PERSON, 0.5);
  it("puts the floor of the place on that of the room", () => expect(toRoom(placed, v(1, -1, 1)).y).toBeCloseTo(0));
  it("puts the person over the camera's place, looking where it looked", () => {
    const head = toPlace(placed, PERSON.head.position);
    expect(head.x).toBeCloseTo(2);
    expect(head.z).toBeCloseTo(3);
    expect(heading(about(-placed.yaw).multiply(PERSON.head.quaternion))).toBeCloseTo(-0.9);
  });
  it("lifts the person by the height that was chosen", () => expect(toRoom(standing(SCENE, CAMERA, { ...PERSON, ground: -0.3 }, 0.5), v(0, -1, 0)).y).toBeCloseTo(-0.3));
  it("keeps the camera's height where no floor is known", () => {
    const scene = { ...SCENE, floor: null };
    const floating = standing(scene, CAMERA, PERSON, 0.5);
    expect(toPlace(floating, PERSON.head.position).y).toBeCloseTo(2);
    expect(footLevel(scene, floating, PERSON)).toBeCloseTo(2 - 1.7 / 0.5);
  });
  it("does not begin far outside", () => expect(toPlace(standing(SCENE, { ...CAMERA, position: v(900, 2, 0) }, PERSON, 1), PERSON.head.position).x).toBeCloseTo(8));
});

describe("table", () => {
  it("holds the scene at 60 cm, its bottom on the top", () => {
    const at = tableSpot(PERSON);
    const placed = onTable(SCENE, at, 0.3, null);
    expect(8 * placed.scale).toBeCloseTo(0.6);
    const bottom = toRoom(placed, v(0, -1, 0));
    expect(bottom.distanceTo(at)).toBeCloseTo(0);
    expect(at.y).toBeGreaterThan(0.4);
    expect(at.y).toBeLessThan(0.9);
    expect(at.distanceTo(PERSON.head.position)).toBeGreaterThan(0.8);
  });
  it("is for small things", () => expect([isSmall(SCENE, 0.05), isSmall(SCENE, 1)]).toEqual([true, false]));
});

describe("ground", () => {
  const ground = new Ground(-1);
  const step = new THREE.Mesh(new THREE.BoxGeometry(2, 1, 2).translate(5, -0.5, 0));
  ground.takeMesh(step, new THREE.Matrix4());
  it("takes what can be stood on and leaves walls and undersides", () => expect(ground.faces).toBe(2));
  it("is met on the mesh where there is one", () => expect(ground.hit(v(4.7, 1, 0.3), v(4.7, -3, 0.3))!.y).toBeCloseTo(0));
  it("is the floor beside it", () => expect(ground.hit(v(0, 1, 0), v(0, -3, 0))!.y).toBeCloseTo(-1));
  it("is not met by ways that end above it, or come from below", () => {
    expect(ground.hit(v(5, 3, 0), v(5, 2, 0))).toBeNull();
    expect(ground.hit(v(5, -3, 0), v(5, -1.5, 0))).toBeNull();
  });
});

describe("settings", () => {
  it("are remembered", () => {
    const kept = new Map<string, string>();
    const store = { getItem: (key: string) => kept.get(key) ?? null, setItem: (key: string, value: string) => void kept.set(key, value) };
    new Settings(store).change({ turn: "smooth", height: 0.4 });
    expect(new Settings(store).comfort).toEqual({ ...DEFAULTS, turn: "smooth", height: 0.4 });
  });
  it("survive a store that is damaged, or forbidden", () => {
    expect(parseComfort("{")).toEqual(DEFAULTS);
    expect(parseComfort('{"speed": "x", "angle": 7, "hand": 3, "height": 99}')).toEqual({ ...DEFAULTS, height: 1.2 });
    const broken = { getItem: () => null, setItem: () => { throw new Error("full"); } };
    const settings = new Settings(broken);
    settings.change({ speed: 3 });
    expect(settings.comfort.speed).toBe(3);
  });
});

describe("support", () => {
  const xr = (modes: string[]) => ({ isSessionSupported: (mode: string) => Promise.resolve(modes.includes(mode)) }) as unknown as XRSystem;
  it("names the way to https where the page is not secure", async () => expect((await support(xr(["immersive-vr"]), false)).why).toContain("recon serve SITE --host"));
  it("says what there is", async () => {
    expect(await support(xr(["immersive-vr"]), true)).toEqual({ vr: true, ar: false, why: null });
    expect((await support(undefined, true)).why).toContain("headset");
  });
  it("asks for hit tests only in AR", () => {
    expect(sessionInit("immersive-vr", null).optionalFeatures).not.toContain("hit-test");
    expect(sessionInit("immersive-ar", null).optionalFeatures).toContain("hit-test");
  });
  it("explains a refusal", () => expect(refusal(new DOMException("", "NotAllowedError"))).toContain("Allow"));
});
