// The licences of everything in the built page that others wrote. Each stands with its text, as these licences ask. The
// build stops when a package has no licence text, one that is not permissive, or when WebAssembly holds a Rust crate that
// nobody has looked up.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const PERMISSIVE = new Set(["0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BlueOak-1.0.0", "ISC", "MIT", "Zlib"]);

// Rust crates known to be in Spark's WebAssembly, and what they declare on crates.io. Their packages are not on npm.
const CRATES = {
  anyhow: "MIT OR Apache-2.0",
  console_error_panic_hook: "MIT OR Apache-2.0",
  dlmalloc: "MIT OR Apache-2.0",
  fdeflate: "MIT OR Apache-2.0",
  hashbrown: "MIT OR Apache-2.0",
  image: "MIT OR Apache-2.0",
  "image-webp": "MIT OR Apache-2.0",
  indexmap: "Apache-2.0 OR MIT",
  "js-sys": "MIT OR Apache-2.0",
  memchr: "Unlicense OR MIT",
  miniz_oxide: "MIT OR Zlib OR Apache-2.0",
  png: "MIT OR Apache-2.0",
  "rustc-demangle": "MIT OR Apache-2.0",
  serde: "MIT OR Apache-2.0",
  "serde-wasm-bindgen": "MIT",
  serde_core: "MIT OR Apache-2.0",
  serde_json: "MIT OR Apache-2.0",
  smallvec: "MIT OR Apache-2.0",
  "wasm-bindgen": "MIT OR Apache-2.0",
  zip: "MIT",
  "zlib-rs": "Zlib",
};

const MIT = `Permission is hereby granted, free of charge, to any person obtaining a copy of this software and associated
documentation files (the "Software"), to deal in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell copies of the Software, and to permit persons to
whom the Software is furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all copies or substantial portions of the
Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE
WARRANTIES OF MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE AUTHORS OR
COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE,
ARISING FROM, OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE SOFTWARE.`;

const ZLIB = `This software is provided 'as-is', without any express or implied warranty. In no event will the authors be held
liable for any damages arising from the use of this software.

Permission is granted to anyone to use this software for any purpose, including commercial applications, and to alter it
and redistribute it freely, subject to the following restrictions:

1. The origin of this software must not be misrepresented; you must not claim that you wrote the original software. If you
   use this software in a product, an acknowledgment in the product documentation would be appreciated but is not required.
2. Altered source versions must be plainly marked as such, and must not be misrepresented as being the original software.
3. This notice may not be removed or altered from any source distribution.`;

const RULE = "=".repeat(100);

/** The folder of the npm package that a file belongs to. */
function folderOf(file) {
  for (let folder = dirname(file); folder !== dirname(folder); folder = dirname(folder)) {
    const about = join(folder, "package.json");
    if (existsSync(about) && JSON.parse(readFileSync(about, "utf8")).version) return folder;
  }
  throw new Error(`${file} belongs to no npm package`);
}

/** Name, version, licence and its text of the npm package that a file belongs to. */
export function packageOf(file) {
  const folder = folderOf(file);
  const { name, version, license } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
  if (typeof license !== "string" || !license.split(/ OR | AND |[()]/).every((word) => !word || PERMISSIVE.has(word)))
    throw new Error(`${name} ${version} has the licence ${JSON.stringify(license)}, which is not known to be permissive`);
  const texts = readdirSync(folder).filter((entry) => /^(licen[cs]e|copying|notice)/i.test(entry)).sort();
  const text = texts.map((entry) => readFileSync(join(folder, entry), "utf8").trim()).join("\n\n");
  if (text.length < 100) throw new Error(`${name} ${version} has no licence text`);
  return { name, version, license, text };
}

/** npm packages that a package's own build has put into a file, by its source map. */
export function embeddedIn(file) {
  if (!existsSync(`${file}.map`)) return [];
  const { sources } = JSON.parse(readFileSync(`${file}.map`, "utf8"));
  const names = sources.map((source) => /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(source)?.[1]);
  return [...new Set(names.filter((name) => name !== undefined))].sort();
}

/** "name version" of the Rust crates that WebAssembly in base64 mentions where it can fail. */
export function cratesIn(code) {
  const found = new Set();
  for (const [module] of code.matchAll(/AGFzbQ[A-Za-z0-9+/]{1000,}/g))
    for (const [, name, version] of Buffer.from(module, "base64")
      .toString("latin1")
      .matchAll(/\/([A-Za-z0-9_-]+)-(\d+\.\d+\.\d+)\/src\//g))
      found.add(`${name} ${version}`);
  return [...found].sort();
}

/** What stands in the leading comment of a file that three.js carries for others. */
function carriedNotice(file) {
  const comment = /^\s*(\/\*[\s\S]*?\*\/|(?:\/\/.*\n)+)/.exec(readFileSync(file, "utf8"))?.[1] ?? "";
  if (!/MIT|BSD|Apache|ISC|Zlib/i.test(comment)) throw new Error(`${file} is somebody else's, and names no licence`);
  return comment;
}

/** The whole text, from the files in the page and its code. Throws when something may not be handed on. */
export function noticesOf(modules, code) {
  const files = [...new Set([...modules].map((id) => id.replace(/^\0/, "").replace(/[?#].*$/, "")))]
    .filter((id) => id.includes("/node_modules/"))
    .sort();
  const parts = new Map();
  const add = (key, head, text) => parts.set(key, `${RULE}\n${head}\n${RULE}\n\n${text}\n`);
  for (const file of files) {
    const { name, version, license, text } = packageOf(file);
    add(name, `${name} ${version}   (${license})`, text);
    for (const inner of embeddedIn(file)) {
      const home = join(folderOf(file).replace(/\/node_modules\/.*$/, ""), "node_modules", inner, "package.json");
      if (!existsSync(home)) throw new Error(`${name} contains ${inner}, whose licence is not here: add it to devDependencies`);
      const own = packageOf(home);
      add(inner, `${inner}, contained in ${name} in a version that it does not name   (${own.license})`, own.text);
    }
    if (/\/three\/examples\/jsm\/libs\//.test(file)) add(file, `in three: ${file.replace(/^.*\/libs\//, "")}`, carriedNotice(file));
  }
  const crates = cratesIn(code);
  for (const crate of crates)
    if (!(crate.split(" ")[0] in CRATES)) throw new Error(`the page's WebAssembly holds the Rust crate ${crate}: look up its licence`);
  if (crates.length > 0) add("~crates", "Rust crates in Spark's WebAssembly", crateText(crates));
  const about = "The page contains software by others, under these licences. recon's own part is under the Apache License 2.0.";
  return [about, ...[...parts.keys()].sort().map((key) => parts.get(key))].join("\n\n");
}

function crateText(crates) {
  const apache = readFileSync(join(dirname(fileURLToPath(import.meta.url)), "../../../LICENSE"), "utf8").trim();
  const list = crates.map((crate) => `  ${crate}   (${CRATES[crate.split(" ")[0]]})`);
  return [
    "Spark hands on its WebAssembly without a list of what it was made from. These crates are named inside it, with the",
    "licences that they declare on crates.io, where their copyright notices stand:",
    "",
    ...list,
    "",
    "There may be others that leave no name. The Rust standard library is in it (MIT OR Apache-2.0). Where there is a choice,",
    "Apache-2.0 was chosen, and MIT otherwise. The texts of Apache-2.0, MIT and Zlib follow.",
    "",
    apache,
    "",
    "-".repeat(40),
    MIT,
    "",
    "-".repeat(40),
    ZLIB,
  ].join("\n");
}

/** Vite's plugin. */
export function notices() {
  return {
    name: "recon-notices",
    generateBundle(_, bundle) {
      const chunks = Object.values(bundle);
      const modules = chunks.flatMap((chunk) => (chunk.type === "chunk" ? Object.keys(chunk.modules) : []));
      const code = chunks.map((chunk) => (chunk.type === "chunk" ? chunk.code : "")).join("\n");
      this.emitFile({ type: "asset", fileName: "notices.txt", source: noticesOf(modules, code) });
    },
  };
}
