import type { Plugin } from "vite";

export interface Package {
  name: string;
  version: string;
  license: string;
  text: string;
}

/** Writes notices.txt beside the built page; stops the build when something in it may not be handed on. */
export function notices(): Plugin;
export function packageOf(file: string): Package;
export function embeddedIn(file: string): string[];
export function cratesIn(code: string): string[];
export function noticesOf(modules: Iterable<string>, code: string): string;
