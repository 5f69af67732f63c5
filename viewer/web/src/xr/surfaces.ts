/** Real surfaces that the person looks at, from the headset's hit test. */

import type { Pose } from "../view/frames";
import { poseFrom } from "./input";

export class Surfaces {
  private source: XRHitTestSource | null = null;
  private closed = false;

  constructor(session: XRSession) {
    void this.ask(session);
  }
  private async ask(session: XRSession): Promise<void> {
    try {
      const space = await session.requestReferenceSpace("viewer");
      const source = (await session.requestHitTestSource?.({ space })) ?? null;
      if (this.closed) source?.cancel();
      else this.source = source;
    } catch (error) {
      console.info("no hit test here; the model stands in front of the visitor:", error);
    }
  }
  /** The nearest one, its +Y away from the surface; null where none is known. */
  hit(frame: XRFrame, space: XRReferenceSpace): Pose | null {
    const pose = this.source ? frame.getHitTestResults(this.source)[0]?.getPose(space) : undefined;
    return pose ? poseFrom(pose.transform) : null;
  }
  close(): void {
    this.closed = true;
    this.source?.cancel();
    this.source = null;
  }
}
