import { text } from "./text";

/** Runs one asynchronous job at a time: a new one aborts the one before, whose outcome is then ignored. */
export class Task {
  #controller = new AbortController();

  run(job: (signal: AbortSignal) => Promise<void>, onError: (message: string) => void): void {
    this.cancel();
    const { signal } = this.#controller;
    job(signal).catch((error: unknown) => {
      if (signal.aborted) return;
      onError(error instanceof Error ? error.message : text.errors.unreachable);
    });
  }

  cancel(): void {
    this.#controller.abort();
    this.#controller = new AbortController();
  }
}
