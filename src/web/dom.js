// Making elements of the page.

export function add(parent, name, className, text = '') {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  parent.append(made);
  return made;
}
