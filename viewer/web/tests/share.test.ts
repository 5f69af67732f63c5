import { describe, expect, it } from "vitest";
import { ShareState } from "../src/share_state";

const shared = () => {
  const share = new ShareState();
  const seen: unknown[] = [];
  share.register("n", { save: () => 1, load: (value) => (seen.push(value), typeof value === "number") });
  share.register("free", { save: () => undefined, load: (value) => void seen.push(value) });
  return { share, seen };
};
const link = (values: unknown) => `#v=${encodeURIComponent(JSON.stringify(values))}`;

describe("a share link", () => {
  it.each([
    ["none", ""],
    ["none", "#elsewhere"],
    ["whole", link({ n: 3, free: "x" })],
    ["whole", link({ n: 3, later: "a part that this page does not know" })],
    ["partly", link({ n: "three", free: "x" })],
    ["damaged", link({ n: "three" })],
    ["damaged", link([1])],
    ["damaged", "#v="],
    ["damaged", link({ n: 3 }).slice(0, -5)],
    ["damaged", link({ n: 3, free: "x".repeat(200_000) })],
  ])("is %s: %.40s", (state, hash) => expect(shared().share.restore(hash)).toBe(state));
  it("hands each part its value", () => {
    const { share, seen } = shared();
    share.restore(link({ n: 3, free: { a: 1 } }));
    expect(seen).toEqual([3, { a: 1 }]);
  });
});
