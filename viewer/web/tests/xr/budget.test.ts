import { describe, expect, it } from "vitest";
import { Budget, guessRate, startBudget } from "../../src/xr/budget";

/** A headset that needs base + count * each seconds for a picture and shows it at the next tick, with some noise. */
class Device {
  drawn = 0;
  late = 0;
  frames = 0;
  changes: { at: number; count: number }[] = [];
  private clock = 0;
  private seed = 1;
  private readonly queue: number[] = [];

  constructor(
    readonly budget: Budget,
    readonly rate: number,
    public capacity: number,
    readonly noise = 0.03,
  ) {}
  run(seconds: number): void {
    const until = this.clock + seconds;
    while (this.clock < until) {
      this.queue.push(this.budget.count);
      const count = this.queue.length > 4 ? this.queue.shift()! : this.queue[0]!; // Spark needs some frames to follow
      const work = (0.25 + (0.75 * count) / this.capacity) * (1 + this.noise * (2 * this.random() - 1));
      const ticks = Math.max(1, Math.ceil(work));
      const time = ticks / this.rate;
      this.clock += time;
      this.frames++;
      if (ticks > 1) this.late++;
      if (this.budget.frame(time)) this.changes.push({ at: this.clock, count: this.budget.count });
    }
  }
  forget(): void {
    this.late = this.frames = 0;
    this.changes = [];
  }
  private random(): number {
    this.seed = (this.seed * 16807) % 2147483647;
    return this.seed / 2147483647;
  }
}
const budget = (start: number, max = 2e6, rate = 72) => new Budget({ rate, min: 50_000, max, start });

describe.each([72, 90])("a device at %i Hz", (rate) => {
  it("gets fewer splats quickly when it cannot follow", () => {
    const device = new Device(budget(1e6, 2e6, rate), rate, 300_000);
    device.run(4);
    expect(device.budget.count).toBeLessThan(310_000);
  });
  it("comes to rest near what it can do, with few late frames and few changes", () => {
    const device = new Device(budget(1e6, 2e6, rate), rate, 400_000);
    device.run(60);
    device.forget();
    device.run(240);
    expect(device.budget.count).toBeGreaterThan(0.75 * 400_000);
    expect(device.budget.count).toBeLessThan(1.05 * 400_000);
    expect(device.late / device.frames).toBeLessThan(0.01);
    expect(device.changes.length).toBeLessThan(24);
  });
  it("rises to all splats where nothing is late, and stays there", () => {
    const device = new Device(budget(500_000, 1.5e6, rate), rate, 5e6);
    device.run(90);
    expect(device.budget.count).toBe(1.5e6);
    device.forget();
    device.run(60);
    expect(device.changes).toEqual([]);
  });
  it("recovers after a hot spell", () => {
    const device = new Device(budget(800_000, 2e6, rate), rate, 800_000);
    device.run(60);
    device.capacity = 200_000;
    device.run(10);
    expect(device.budget.count).toBeLessThan(215_000);
    device.capacity = 800_000;
    device.run(400);
    expect(device.budget.count).toBeGreaterThan(600_000);
  });
});

describe("budget", () => {
  it("does not mistake a pause for slowness", () => {
    const steady = budget(700_000);
    for (let i = 0; i < 200; i++) steady.frame(1 / 72);
    const before = steady.count;
    steady.frame(8);
    for (let i = 0; i < 24; i++) steady.frame(1 / 72);
    expect(steady.count).toBeGreaterThanOrEqual(before);
  });
  it("forgives a single late frame", () => {
    const steady = budget(700_000);
    for (let i = 0; i < 140; i++) steady.frame(i % 40 === 7 ? 2 / 72 : 1 / 72);
    expect(steady.count).toBeGreaterThanOrEqual(700_000);
  });
  it("stops at its least and says that it starves", () => {
    const device = new Device(budget(100_000), 72, 1_000);
    device.run(20);
    expect(device.budget.count).toBe(50_000);
    expect(device.budget.starved).toBe(true);
  });
  it("begins with what the target is made for, and with less on a headset", () => {
    expect(startBudget("quest3", "OculusBrowser", 1e6, 3e6)).toBe(700_000);
    expect(startBudget("desktop", "OculusBrowser Quest 3", 5e6, 3e6)).toBe(700_000);
    expect(startBudget("desktop", "Windows", 5e6, 3e6)).toBe(2e6);
    expect(startBudget("quest3", "Quest", 1e6, 10_000)).toBe(10_000);
  });
  it("guesses the rate from quick frames", () => {
    expect(guessRate([1 / 90, 1 / 90, 1 / 45, 1 / 90, 1 / 30])).toBe(90);
    expect(guessRate([1 / 30, 1 / 30, 1 / 15])).toBe(30);
    expect(guessRate([])).toBe(72);
  });
});
