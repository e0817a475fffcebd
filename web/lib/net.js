/** Whether the server answers: one truth for the whole page, shown in one place. */

let silent = false;
const listeners = new Set();

/** Calls back with false when the server stops answering, and with true when it is back. */
export function onChange(listener) {
  listeners.add(listener);
}

export function answers() {
  tell(false);
}

export function isSilent() {
  tell(true);
}

function tell(now) {
  if (silent === now) return;
  silent = now;
  for (const listener of listeners) listener(!silent);
}

/** Resolves after so many milliseconds, or rejects as soon as the signal aborts. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}

/** Milliseconds before try number `n` (from 0): 0.3 s, doubling up to 8 s. */
export function backOff(n) {
  return Math.min(8000, 300 * 2 ** n);
}
