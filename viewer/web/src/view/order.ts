/** For which view the splats that are drawn were sorted. Spark sorts beside the picture: until it is done, the order of an earlier view is
 * drawn. `sortedCenter` and `sortedDir` are those of the sort that began last. */

import * as THREE from "three";

/** What is read of a SparkRenderer. */
export interface Sorter {
  readonly sorting: boolean;
  readonly sortedCenter: THREE.Vector3;
  readonly sortedDir: THREE.Vector3;
}

interface Sight {
  place: THREE.Vector3;
  ahead: THREE.Vector3;
}

export class Order {
  /** Of the picture; null before the first sort has ended. */
  private shown: Sight | null = null;
  private coming: Sight | null = null;
  private began = 0;
  /** Milliseconds that the last sort took. */
  ms = 0;

  constructor(private readonly sorter: Sorter) {}

  /** To be called each frame. */
  look(now: number): void {
    const { sorter, coming } = this;
    const another = coming !== null && !(coming.place.equals(sorter.sortedCenter) && coming.ahead.equals(sorter.sortedDir));
    if (coming && (another || !sorter.sorting)) {
      this.shown = coming;
      this.coming = null;
      this.ms = now - this.began;
    }
    if (sorter.sorting && !this.coming) {
      this.coming = { place: sorter.sortedCenter.clone(), ahead: sorter.sortedDir.clone() };
      this.began = now;
    }
  }
  /** Whether what is drawn was sorted for about this view. */
  fits(place: THREE.Vector3, ahead: THREE.Vector3, far: number): boolean {
    return this.shown === null || !apart(this.shown, { place, ahead }, far);
  }
}

/** Cosine of the angle between two views from which on one order does not serve both. */
const ANOTHER = Math.cos(THREE.MathUtils.degToRad(20));

/** Whether two views differ so much that the order for one looks wrong in the other. `far`: a long step. */
export function apart(a: Sight, b: Sight, far: number): boolean {
  return a.ahead.dot(b.ahead) < ANOTHER || a.place.distanceTo(b.place) > far;
}
