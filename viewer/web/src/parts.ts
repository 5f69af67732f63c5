/** The parts of the page, in the order of their buttons. */

import { installCapture } from "./capture/capture";
import type { Page } from "./page";
import { installHelp } from "./show/help";
import { installHold } from "./show/hold";
import { installKeep } from "./show/keep";
import { installMove } from "./show/move";
import { installShow } from "./show/show";
import { installTime } from "./show/time";
import { installCrop } from "./tools/crop";
import { installMeasure } from "./tools/measure";
import { installNotes } from "./tools/notes";
import { installPath } from "./tools/path";
import { installXr } from "./xr/install";

export const PARTS: readonly ((page: Page) => void)[] = [
  installMove,
  installTime,
  installCapture,
  installShow,
  installMeasure,
  installNotes,
  installCrop,
  installPath,
  installXr,
  installKeep,
  installHelp,
  installHold,
];
