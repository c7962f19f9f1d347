// How fast to play a live stream so that it comes to the delay that is aimed at, and stays there.

/** This much (s) later than the aim begins to be caught up, until it is nearly there. */
const LATE = 0.12;
const NEARLY = 0.03;
/** Faster playing must not use up the buffer (s): a part comes every 200 ms. */
const RESERVE = 0.3;
/** How fast, and when more than a second is to be caught up. More is heard; each change costs the browser a moment, so there are few. */
const FASTER = 1.05;
const FASTEST = 1.1;

/** hls.js by itself catches up only what it has more than a second of in its buffer, and so never comes nearer to live than that. */
export class Pace {
  #catching = false;

  /**
   * The playback rate where playback is `behind` live, `aim` is the delay it should have, and `ahead` is in the buffer, all in s. Who has gone
   * `back` on purpose stays there. Where key frames are far apart playback may begin as far behind as they are.
   */
  next({ behind, aim, ahead, back = false }) {
    const late = behind - aim;
    if (back || !(late >= NEARLY) || ahead < RESERVE) this.#catching = false;
    else if (late > LATE) this.#catching = true;
    if (!this.#catching) return 1;
    return late > 1 ? FASTEST : FASTER;
  }
}
