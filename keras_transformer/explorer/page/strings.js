// The page's own words, in the language chosen.

const texts = { en: {}, ja: {} };
let language = "en";

export function setTexts(name, entries) {
  texts[name] = entries;
}

export function setLanguage(name) {
  language = name in texts ? name : "en";
  document.documentElement.lang = language;
}

export function currentLanguage() {
  return language;
}

// The text of a key, with {name} replaced by values; English where a text is missing.
export function t(key, values = {}) {
  const text = texts[language][key] ?? texts.en[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => (name in values ? String(values[name]) : whole));
}

// The text of a key, or another text where there is none.
export function tOr(key, other, values = {}) {
  return key in texts.en ? t(key, values) : other;
}

// Writes the texts into elements that name a key: their text, or an attribute of them.
export function translatePage(root) {
  for (const element of root.querySelectorAll("[data-t]")) {
    element.textContent = t(element.dataset.t);
  }
  for (const element of root.querySelectorAll("[data-t-label]")) {
    element.setAttribute("aria-label", t(element.dataset.tLabel));
  }
  for (const element of root.querySelectorAll("[data-t-placeholder]")) {
    element.setAttribute("placeholder", t(element.dataset.tPlaceholder));
  }
}
