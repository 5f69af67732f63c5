import * as THREE from "three";
import { describe, expect, it } from "vitest";
import { apart, Order, type Sorter } from "../src/view/order";

const at = (x: number, degrees: number) => ({ place: new THREE.Vector3(x, 0, 0), ahead: new THREE.Vector3(0, 0, -1).applyAxisAngle(new THREE.Vector3(0, 1, 0), (degrees * Math.PI) / 180) });

describe("the order of the splats", () => {
  const sorter = { sorting: false, sortedCenter: new THREE.Vector3(-Infinity), sortedDir: new THREE.Vector3() };
  const order = new Order(sorter as Sorter);
  const begin = (x: number, degrees: number) => {
    sorter.sorting = true;
    sorter.sortedCenter.copy(at(x, degrees).place);
    sorter.sortedDir.copy(at(x, degrees).ahead);
  };
  const fits = (x: number, degrees: number) => order.fits(at(x, degrees).place, at(x, degrees).ahead, 1);
  it("fits everything before there is any", () => {
    order.look(0);
    expect(fits(0, 0)).toBe(true);
  });
  it("is that of the sort that has ended, and says how long it took", () => {
    begin(0, 0);
    order.look(10);
    sorter.sorting = false;
    order.look(60);
    expect([fits(0, 0), fits(0.5, 15), fits(0, 40), fits(2, 0)]).toEqual([true, true, false, false]);
    expect(order.ms).toBe(50);
  });
  it("stays the old one while the next sort goes on", () => {
    begin(0, 90);
    order.look(100);
    expect([fits(0, 90), fits(0, 0)]).toEqual([false, true]);
  });
  it("is seen to end when the next sort begins between two looks", () => {
    begin(0, 180);
    order.look(900);
    expect([fits(0, 90), fits(0, 180)]).toEqual([true, false]);
    expect(order.ms).toBe(800);
  });
  it("serves views that are near each other", () => {
    expect(apart(at(0, 0), at(0.9, 19), 1)).toBe(false);
    expect(apart(at(0, 0), at(1.1, 0), 1)).toBe(true);
    expect(apart(at(0, 0), at(0, 21), 1)).toBe(true);
  });
});
