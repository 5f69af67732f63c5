/** The clock of a scene that moves against a film whose frames come when they are told to; and how many pixels a slow device draws. */

import { describe, expect, it } from "vitest";
import { Player } from "../src/content/player";
import { Sharpness, STEPS } from "../src/view/sharpness";

function film(start = 1, end = 3, fps = 10) {
  const film = { time: start as number | null, settled: true, waits: false, asked: [] as number[], setTime: async (time: number) => void film.asked.push((film.time = time)) };
  const player = new Player({ start, end, fps }, film);
  let now = 100;
  const tick = (seconds: number) => player.tick((now += seconds));
  tick(0);
  return { film, player, tick };
}

describe("a player", () => {
  it("plays as fast as it is told, whatever the display does", () => {
    for (const speed of [0.25, 1, 2] as const) {
      const { film: scene, player, tick } = film();
      player.setSpeed(speed);
      player.play();
      for (const seconds of [0.02, 0.3, 0.05, 0.03]) tick(seconds);
      expect(scene.time).toBeCloseTo(1 + 0.38 * speed); // the first tick begins the clock
    }
  });
  it("loses no time to frames that are being made, and none passes while one is on its way", () => {
    const { film: scene, player, tick } = film();
    player.play();
    tick(0.1);
    scene.settled = false;
    tick(0.1);
    tick(0.1);
    expect(scene.time).toBe(1);
    scene.settled = true;
    tick(0.1);
    expect(scene.time).toBeCloseTo(1.3);
    scene.waits = true;
    tick(0.4);
    scene.waits = false;
    tick(0.1);
    expect(scene.time).toBeCloseTo(1.4);
  });
  it("shows the last frame as long as any other, and goes round, or stops", () => {
    for (const loop of [true, false]) {
      const { film: scene, player, tick } = film();
      player.setLoop(loop);
      player.play();
      tick(0.01);
      for (let i = 0; i < 45; i++) tick(0.05);
      expect(scene.asked).toContain(3);
      expect(Math.max(...scene.asked)).toBe(3);
      expect([player.playing, scene.time! < 1.3]).toEqual([loop, loop]);
      if (loop) continue;
      player.play();
      expect(scene.time).toBe(1); // again from the start
    }
  });
  it("steps by frames that were captured, pausing, round the ends where it loops", () => {
    const { film: scene, player } = film();
    player.play();
    void player.stepBy(1);
    expect([player.playing, player.frame]).toEqual([false, 1]);
    expect(scene.time).toBeCloseTo(1.1);
    void player.stepBy(-1);
    void player.stepBy(-1);
    expect(scene.time).toBe(3);
    void player.stepBy(1);
    expect(scene.time).toBe(1);
    player.setLoop(false);
    void player.stepBy(-1);
    expect(scene.time).toBe(1);
    void player.showFrame(20);
    expect(scene.time).toBe(3);
  });
  it("has speeds that end", () => {
    const { player } = film();
    for (let i = 0; i < 5; i++) player.shift(1);
    expect(player.speed).toBe(2);
    for (let i = 0; i < 9; i++) player.shift(-1);
    expect(player.speed).toBe(0.25);
  });
});

/** Run a device whose frames take `fixed` seconds and `pixels` more for all pixels; returns the shares it was told. */
function device(fixed: number, pixels: number, frames: number) {
  let [share, now] = [1, 0];
  const shares: number[] = [];
  const sharpness = new Sharpness((wanted) => (share = wanted));
  for (let i = 0; i < frames; i++) {
    const frame = fixed + pixels * share * share;
    now += frame;
    sharpness.tick(true, now, frame);
    shares.push(share);
  }
  for (let i = 0; i < 6; i++) sharpness.tick(false, (now += 0.1), null);
  return { shares, rests: share };
}

describe("pixels while a scene plays", () => {
  it("are all of them on a device that keeps up", () => expect(device(0, 0.03, 40)).toEqual({ shares: Array(40).fill(1), rests: 1 }));
  it("are fewer where they take the time, and stay so; at rest all are drawn", () => {
    const { shares, rests } = device(0.01, 0.3, 60);
    expect(shares.at(-1)).toBeLessThan(0.6);
    expect(new Set(shares.slice(20)).size).toBe(1);
    expect(rests).toBe(1);
    expect(device(0, 5, 60).shares.at(-1)).toBe(STEPS.at(-1));
  });
  it("are all of them where something else takes the time", () => expect(device(0.3, 0.001, 60).shares.at(-1)).toBe(1));
});
