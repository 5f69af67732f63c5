/** The worker of a scene that moves: holds its seconds decoded, and says where splats are at a time. Nothing of it runs where pictures are drawn. */

import { type Channel, type Group, type Units, unpackSegment } from "./motion";
import { Poser } from "./pose";

export type Question =
  | { ask: "begin"; units: Units; channels: Channel[]; moving: number }
  | { ask: "segment"; index: number; bytes: Uint8Array<ArrayBuffer>; frames: number }
  | { ask: "forget"; index: number }
  | { ask: "pose"; index: number; share: number; first: Uint32Array<ArrayBuffer>; second: Uint32Array<ArrayBuffer> };

/** The answer to the question of this number: words to draw, nothing, or what is wrong. */
export interface Answer {
  id: number;
  first?: Uint32Array<ArrayBuffer>;
  second?: Uint32Array<ArrayBuffer>;
  fault?: string;
}

const held = new Map<number, Group[]>();
let poser: Poser | null = null;
let channels: Channel[] = [];
let moving = 0;

async function answer(question: Question): Promise<Omit<Answer, "id">> {
  switch (question.ask) {
    case "begin":
      [channels, moving] = [question.channels, question.moving];
      poser = new Poser(question.units, channels);
      return {};
    case "segment":
      held.set(question.index, await unpackSegment(question.bytes, moving, question.frames, channels));
      return {};
    case "forget":
      held.delete(question.index);
      return {};
    case "pose": {
      const { first, second } = question;
      poser!.pose(held.get(question.index)!, question.share, { first, second });
      return { first, second };
    }
  }
}

self.addEventListener("message", ({ data }: MessageEvent<{ id: number; question: Question }>) => {
  answer(data.question)
    .catch((error: unknown) => ({ fault: error instanceof Error ? error.message : String(error) }))
    .then((said: Omit<Answer, "id">) => {
      const words = said.first && said.second ? [said.first.buffer, said.second.buffer] : [];
      self.postMessage({ id: data.id, ...said }, { transfer: words });
    });
});
