// The licences of the packages in the page.
import { describe, expect, it } from "vitest";
import { cratesIn, embeddedIn, noticesOf, packageOf } from "../scripts/notices.mjs";

const MODULES = new URL("../node_modules/", import.meta.url).pathname;
const SPARK = `${MODULES}@sparkjsdev/spark/dist/spark.module.js`;
const THREE = `${MODULES}three/build/three.module.js`;

/** WebAssembly as Spark carries it, with paths of crates inside. */
function wasm(...paths: string[]): string {
  return `"${btoa("\0asm\x01\0\0\0" + paths.join("\0") + "\0".repeat(2000))}"`;
}

describe("packages", () => {
  it("are found with their licence's text", () => {
    const three = packageOf(THREE);
    expect(three.name).toBe("three");
    expect(three.license).toBe("MIT");
    expect(three.text).toContain("three.js authors");
  });

  it("inside of other packages are named", () => {
    expect(embeddedIn(SPARK)).toEqual(["fflate"]);
    const text = noticesOf([SPARK, `${THREE}?v=1`, "/page/src/main.ts", "\0vite/helper"], "");
    expect(text).toContain("@sparkjsdev/spark 2.");
    expect(text).toContain("fflate, contained in @sparkjsdev/spark");
    expect(text).toContain("Arjun Barrett");
    expect(text).toContain("three 0.");
  });

  it("whose licence asks for more, or that have none, stop the build", () => {
    expect(() => noticesOf([`${MODULES}axe-core/axe.js`], "")).toThrow(/axe-core .*MPL-2.0/);
    expect(() => packageOf("/nowhere/at/all.js")).toThrow(/no npm package/);
  });

  it("that three.js carries for others bring their own notice", () => {
    const text = noticesOf([`${MODULES}three/examples/jsm/libs/meshopt_decoder.module.js`], "");
    expect(text).toContain("Arseny Kapoulkine");
  });
});

describe("Rust crates", () => {
  it("are read from the WebAssembly", () => {
    const code = wasm("/home/x/.cargo/registry/src/index-1949/zip-7.2.0/src/read.rs", "/rust/deps/dlmalloc-0.2.10/src/a.rs");
    expect(cratesIn(code)).toEqual(["dlmalloc 0.2.10", "zip 7.2.0"]);
    expect(noticesOf([], code)).toContain("zip 7.2.0   (MIT)");
    expect(noticesOf([], code)).toContain("Apache License");
  });

  it("that nobody has looked up stop the build", () => {
    expect(() => noticesOf([], wasm("/x/src/index-1/gpl-thing-1.0.0/src/lib.rs"))).toThrow(/gpl-thing 1.0.0/);
  });
});
