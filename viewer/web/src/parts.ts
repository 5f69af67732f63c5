/** The parts of the page, in the order of their buttons. */

import { installCapture } from "./capture/capture";
import type { Page } from "./page";
import { installHelp } from "./show/help";
import { installKeep } from "./show/keep";
import { installMove } from "./show/move";
import { installShow } from "./show/show";
import { installTime } from "./show/time";
import { installMeasure } from "./tools/measure";
import { installXr } from "./xr/install";

export const PARTS: readonly ((page: Page) => void)[] = [
  installMove,
  installTime,
  installCapture,
  installShow,
  installMeasure,
  installXr,
  installKeep,
  installHelp,
];
