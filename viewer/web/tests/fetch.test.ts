import { afterEach, describe, expect, it, vi } from "vitest";
import { fetchBytes } from "../src/content/fetch";
import { checkGlb } from "../src/content/surface";
import { PageError } from "../src/manifest";
import { fileName } from "../src/file_name";

const FILE = { file: "splats/0000.spz", bytes: 6 };

function body(chunks: number[][], broken = false): ReadableStream<Uint8Array> {
  const left = chunks.map((chunk) => new Uint8Array(chunk));
  return new ReadableStream({
    pull(controller) {
      const next = left.shift();
      if (next) controller.enqueue(next);
      else if (broken) controller.error(new TypeError("network error"));
      else controller.close();
    },
  });
}
function answers(...responses: (() => Response | Promise<Response>)[]) {
  const fetch = vi.fn(async (_url: string, _init?: RequestInit) => (responses.length > 1 ? responses.shift()! : responses[0]!)());
  vi.stubGlobal("fetch", fetch);
  return fetch;
}
afterEach(() => vi.unstubAllGlobals());

describe("fetching a published file", () => {
  it("gives its bytes and says how many have come, whatever Content-Length claims", async () => {
    answers(() => new Response(body([[1, 2], [3, 4, 5, 6]]), { headers: { "Content-Length": "3", "Content-Encoding": "gzip" } }));
    const seen: number[] = [];
    expect([...(await fetchBytes(FILE, (n) => seen.push(n)))]).toEqual([1, 2, 3, 4, 5, 6]);
    expect(seen).toEqual([2, 6]);
  });
  it("refuses another size", async () => {
    answers(() => new Response(body([[1, 2, 3]])));
    await expect(fetchBytes(FILE, () => {})).rejects.toThrow(/3 bytes instead of 6/);
    let pulled = 0;
    const endless = () => new ReadableStream<Uint8Array>({ pull: (c) => (pulled++, c.enqueue(new Uint8Array(4))) });
    answers(() => new Response(endless()));
    await expect(fetchBytes(FILE, () => {})).rejects.toThrow(/more than 6/);
    expect(pulled).toBeLessThan(6);
  });
  it("says what is missing", async () => {
    answers(() => new Response("no", { status: 404 }));
    await expect(fetchBytes(FILE, () => {})).rejects.toThrow(/splats\/0000.spz is missing on the server \(404\)/);
  });
  it("tries again when the connection breaks, once", async () => {
    const fetch = answers(
      () => new Response(body([[1, 2]], true)),
      () => new Response(body([[1, 2, 3, 4, 5, 6]])),
    );
    expect((await fetchBytes(FILE, () => {})).length).toBe(6);
    expect(fetch).toHaveBeenCalledTimes(2);
    const broken = answers(() => new Response(body([[1, 2]], true)));
    await expect(fetchBytes(FILE, () => {})).rejects.toThrow(PageError);
    expect(broken).toHaveBeenCalledTimes(2);
  });
  it("ends when it is told to", async () => {
    const stop = new AbortController();
    vi.stubGlobal("fetch", (_: string, init: RequestInit) => new Promise((_, reject) => init.signal!.addEventListener("abort", () => reject(new DOMException("stopped", "AbortError")))));
    const bytes = fetchBytes(FILE, () => {}, stop.signal);
    stop.abort();
    await expect(bytes).rejects.toThrow(DOMException);
  });
});

describe("a mesh file", () => {
  function glb(json: string, length?: number): Uint8Array {
    const bytes = new Uint8Array(20 + json.length);
    const view = new DataView(bytes.buffer);
    [0x46546c67, 2, length ?? bytes.length, json.length, 0x4e4f534a].forEach((word, i) => view.setUint32(4 * i, word, true));
    bytes.set(new TextEncoder().encode(json), 20);
    return bytes;
  }
  it("is refused when it names other files, is cut off or no GLB", () => {
    expect(() => checkGlb("m.glb", glb('{"buffers":[{"byteLength":4}]}'))).not.toThrow();
    expect(() => checkGlb("m.glb", glb('{"buffers":[{"uri":"https://evil.example/a.bin"}]}'))).toThrow(/names other files/);
    expect(() => checkGlb("m.glb", glb('{"images":[{"uri":"a.png"}]}'))).toThrow(/names other files/);
    expect(() => checkGlb("m.glb", glb("{}", 999))).toThrow(/cut off/);
    expect(() => checkGlb("m.glb", glb("{").subarray(0, 20))).toThrow(PageError);
    expect(() => checkGlb("m.glb", new Uint8Array(30))).toThrow(/no binary glTF/);
  });
});

describe("a picture's file name", () => {
  it("comes from the title and holds nothing that a file system forbids", () => {
    expect(fileName("My  Café / <b>", "png")).toBe("My-Café-b.png");
    expect(fileName("../../..", "png")).toBe("place.png");
    expect(fileName("x".repeat(500), "png")).toHaveLength(84);
  });
});
