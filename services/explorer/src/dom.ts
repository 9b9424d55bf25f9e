type Child = Node | string | undefined;

/** Make an element: properties are assigned, children appended as nodes or as plain text. */
export function el<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  properties: Partial<HTMLElementTagNameMap[K]> = {},
  ...children: Child[]
): HTMLElementTagNameMap[K] {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children.filter((child) => child !== undefined));
  return element;
}

export function button(label: string, onclick: () => void, className = "button"): HTMLButtonElement {
  return el("button", { type: "button", className, onclick }, label);
}
