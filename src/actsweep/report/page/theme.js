"use strict";
// Before anything is drawn, so that a dark page never flashes white.
const THEMES = ["auto", "light", "dark"];
const prefersDark = matchMedia("(prefers-color-scheme: dark)");

function chosenTheme() {
  try {
    return THEMES.includes(localStorage.theme) ? localStorage.theme : "auto";
  } catch {
    return "auto"; // some browsers keep nothing for files
  }
}

function applyTheme(theme) {
  const dark = theme === "dark" || (theme === "auto" && prefersDark.matches);
  document.documentElement.dataset.theme = dark ? "dark" : "light";
}

applyTheme(chosenTheme());
