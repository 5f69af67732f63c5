import * as THREE from "three";
import { describe, expect, it } from "vitest";
import { Draft } from "../src/view/draft";
import { batchShader } from "../src/view/splat_renderer";

/** A view that has been turned `i` times. */
const view = (i: number) => new THREE.Matrix4().makeRotationY(0.01 * i);

describe("Draft", () => {
  const shown: boolean[] = [];
  const start = (slow = false, larger = 25) => {
    shown.length = 0;
    return new Draft((draft) => shown.push(draft), () => larger, slow);
  };

  it("begins after late frames of a moving view, and ends when the view rests", () => {
    const draft = start();
    for (let i = 0; i < 3; i++) draft.tick(view(i), 0.2 * i, false, 0.2);
    expect(draft.active).toBe(true);
    for (let i = 0; i < 30; i++) draft.tick(view(2), 0.5 + i / 60, false, 1 / 60);
    expect(shown).toEqual([true, false]);
  });
  it("does not begin while frames are in time, nor while the view rests", () => {
    const draft = start();
    for (let i = 0; i < 50; i++) draft.tick(view(i), i / 60, false, 1 / 60);
    for (let i = 0; i < 50; i++) draft.tick(view(49), 1 + i, false, 1);
    expect(shown).toEqual([]);
  });
  it("one late frame is a pause", () => {
    const draft = start();
    for (let i = 0; i < 50; i++) draft.tick(view(i), i / 30, false, i === 20 ? 0.3 : 1 / 30);
    expect(shown).toEqual([]);
  });
  it("goes on while a hand holds the view still", () => {
    const draft = start(true);
    draft.tick(view(1), 0, true, 0.2);
    for (let i = 0; i < 50; i++) draft.tick(view(1), i / 10, true, null);
    expect(shown).toEqual([true]);
    draft.tick(view(1), 6, false, null);
    expect(shown).toEqual([true, false]);
  });
  it("a tick that came seconds late is no rest: its input waited", () => {
    const draft = start(true);
    draft.tick(view(1), 0, false, 2);
    draft.tick(view(1), 3, false, 3);
    expect(draft.active).toBe(true);
  });
  it("ends for good when the whole would be quick again", () => {
    const draft = start(true, 2);
    for (let i = 0; i < 20; i++) draft.tick(view(i), i / 60, false, 0.01);
    expect(draft.active).toBe(false);
  });
  it("stops at once", () => {
    const draft = start(true);
    draft.tick(view(1), 0, false, 0.2);
    draft.stop();
    expect(shown).toEqual([true, false]);
  });
});

describe("batchShader", () => {
  it("refuses a shader that it does not know", () => {
    expect(() => batchShader("void main() {}")).toThrow("gl_InstanceID");
  });
  it("leaves no use of the instance but its own", () => {
    const known = "void main() { x = gl_InstanceID; y = gl_InstanceID; adjustedStdDev = maxStdDev; }";
    expect(batchShader(known).match(/gl_InstanceID/g)).toHaveLength(1);
  });
});
