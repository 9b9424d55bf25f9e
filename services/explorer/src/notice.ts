import { button, el } from "./dom";
import { text } from "./text";

/** One line that says what is going on: loading, nothing here, or what went wrong and how to try again. */
export class Notice {
  readonly element = el("p", { className: "notice", role: "status", hidden: true });

  show(...words: (Node | string)[]): void {
    this.#set("notice", ...words);
  }

  loading(): void {
    this.#set("notice notice-loading", text.loading);
  }

  error(message: string, retry?: () => void): void {
    this.#set("notice notice-error", message, ...(retry ? [" ", button(text.retry, retry, "link")] : []));
  }

  clear(): void {
    this.element.hidden = true;
    this.element.replaceChildren();
  }

  #set(className: string, ...words: (Node | string)[]): void {
    this.element.className = className;
    this.element.hidden = false;
    this.element.replaceChildren(...words);
  }
}
